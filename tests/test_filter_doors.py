"""One filter finds the same documents in Python, on the command line, over HTTP and MCP, and in
the frameworks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from command_line import cli, loads  # noqa: F401
from langchain_core.messages import HumanMessage
from llama_index.core.vector_stores import MetadataFilters
from mcp import Client
from served import chat, client

from rag_vqa.integrations.langchain import ChatRagVqa, rag_chain
from rag_vqa.integrations.langchain import ReTRetriever as LangChainRetriever
from rag_vqa.integrations.llamaindex import ReTRetriever as LlamaIndexRetriever
from rag_vqa.integrations.mcp import make_mcp_server
from rag_vqa.pipeline import RagVqa
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.server.engine.engine import Engine
from rag_vqa.server.service import Service
from rag_vqa.types import Query

pytestmark = pytest.mark.filterwarnings("ignore::rag_vqa.errors.NoMatch")
DOCUMENTS = [
    {"id": "a", "text": "A boat.", "metadata": {"kind": "boat", "year": 1780, "price": "12.50",
     "ok": True, "tag": ["red", "blue"], "got": "1998-05-01", "maker": "Family, Given"}},
    {"id": "b", "text": "A cup.", "metadata": {"kind": "cup", "year": 1650, "price": 9,
     "ok": False, "tag": ["blue"], "got": "1997-12-31"}},
    {"id": "c", "text": "A plate.", "metadata": {"kind": "plate", "year": 1801, "tag": "red"}},
]  # fmt: skip
CASES: list[tuple[list[str], dict[str, Any], str]] = [
    (["kind=boat"], {"kind": "boat"}, "a"),
    (["Kind='boat'"], {"Kind": "boat"}, "a"),
    (["kind=cup,plate"], {"kind": ["cup", "plate"]}, "bc"),
    (["year>=1780"], {"year": {">=": 1780}}, "ac"),
    (["year>=1700", "year<1800"], {"year": {">=": 1700, "<": 1800}}, "a"),
    (["year<=1780", "kind=cup"], {"year": {"<=": 1780}, "kind": "cup"}, "b"),
    (["price=12.5"], {"price": 12.5}, "a"),
    (["price>9"], {"price": {">": 9}}, "a"),
    (["ok=False"], {"ok": False}, "b"),
    (["tag=blue"], {"tag": "blue"}, "ab"),
    (["got>=1998-05"], {"got": {">=": "1998-05"}}, "a"),
    (["maker=Family, Given"], {"maker": "Family, Given"}, "a"),
    (["maker=null"], {"maker": None}, "bc"),
    (["kind=bowl"], {"kind": "bowl"}, ""),
]
Find = Callable[[Any], Sequence[str]]


class Doors:
    """Every way to a filter, as a function from the filter to ids."""

    def __init__(self, rag: RagVqa, run_command: Any) -> None:
        self.rag, self.run_command = rag, run_command

    @property
    def service(self) -> Service:
        """A server that has not started."""
        return Service(Engine(self.rag))

    def listed(self, where: Any) -> list[str]:
        return [document.id for document in self.rag.kb.list(where)]

    def searched(self, where: Any) -> list[str]:
        return [hit.document.id for hit in self.rag.kb.search([Query("a")], 9, where)[0]]

    def asked(self, where: Any) -> list[str]:
        return [hit.document.id for hit in self.rag.ask("What?", where=where).hits]

    def langchain(self, where: Any) -> list[str]:
        found = LangChainRetriever(kb=self.rag.kb, k=9, where=where).invoke("a")
        return [str(document.id) for document in found]

    def langchain_chain(self, where: Any) -> list[str]:
        answer = rag_chain(self.rag).invoke({"question": "What?", "where": where})
        return [document.id for document in answer["documents"]]

    def langchain_chat(self, where: Any) -> list[str]:
        message = ChatRagVqa(rag=self.rag).invoke([HumanMessage("What?")], where=where)
        return [hit["id"] for hit in message.response_metadata["rag_vqa"]["hits"]]

    def llamaindex(self, where: Any) -> list[str]:
        return [n.node.node_id for n in LlamaIndexRetriever(self.rag.kb, 9, where).retrieve("a")]

    def http_search(self, where: Any) -> list[str]:
        with client(self.service) as asking:
            response = asking.post("/v1/search", json={"text": "a", "k": 9, "where": where})
        assert response.status_code == 200, response.text
        assert ("notice" in response.json()) == (not response.json()["hits"])
        return [hit["document"]["id"] for hit in response.json()["hits"]]

    def http_chat(self, where: Any) -> list[str]:
        with client(self.service) as asking:
            body = chat("What?", rag_vqa={"where": where})
            found = asking.post("/v1/chat/completions", json=body).json()["rag_vqa"]
        assert ("notice" in found) == (not found["hits"])
        return [hit["document"]["id"] for hit in found["hits"]]

    def mcp(self, where: Any) -> list[str]:
        async def call() -> Any:
            async with Client(make_mcp_server(self.rag)) as asking:
                return await asking.call_tool("search", {"text": "a", "k": 9, "where": where})

        content = asyncio.run(call()).structured_content
        assert bool(content["notice"]) == (not content["documents"])
        return [document["id"] for document in content["documents"]]

    def command(self, where: Any) -> list[str]:
        flags = [arg for text in where for arg in ("--where", text)]
        done = self.run_command("kb", "list", self.rag.kb.path, *flags, "--json")
        assert done.code == 0 and ("Values of" in done.err) == (not done.json)
        return [document["id"] for document in done.json]


DOORS = ("listed", "searched", "asked", "langchain", "langchain_chain", "langchain_chat",
         "llamaindex", "http_search", "http_chat", "mcp")  # fmt: skip


@pytest.fixture
def doors(tmp_path: Path, encoder: Any, reader: Any, cli: Any) -> Iterator[Doors]:  # noqa: F811
    with KnowledgeBase.create(tmp_path / "x.kb", encoder) as kb:
        kb.add(DOCUMENTS)
        yield Doors(RagVqa(kb, reader, k=9), cli)


@pytest.mark.parametrize("door", [*DOORS, "command"])
def test_the_same_filter_finds_the_same_documents(doors: Doors, door: str) -> None:
    find: Find = getattr(doors, door)
    for texts, pairs, due in CASES:
        for where in (texts,) if door == "command" else (texts, pairs):
            assert "".join(sorted(find(where))) == due, where


@pytest.mark.parametrize(
    ("filters", "due"),
    [
        ([("kind", "==", "boat")], "a"),
        ([("kind", "in", ["cup", "plate"])], "bc"),
        ([("tag", "contains", "blue")], "ab"),
        ([("tag", "any", ["blue", "green"])], "ab"),
        ([("year", ">=", 1700), ("year", "<", 1800)], "a"),
        ([("year", ">", 1780), ("kind", "==", "plate")], "c"),
        ([("got", "<=", "1997")], "b"),
        ([("maker", "is_empty", None)], "bc"),
    ],
)
def test_llamaindex_s_own_filters(
    doors: Doors, filters: list[tuple[str, str, Any]], due: str
) -> None:
    named = [{"key": key, "operator": sign, "value": value} for key, sign, value in filters]
    assert "".join(sorted(doors.llamaindex(MetadataFilters.from_dicts(named)))) == due


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ({"kind": {"!=": "boat"}}, "="), ({"yaer": 1780}, "year"), (["kind"], "name=value"),
        (["kind!=boat"], "!="), ({"year": {}}, "year"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_over_http(doors: Doors, where: Any, says: str) -> None:
    with client(doors.service) as asking:
        for path, body in (
            ("/v1/search", {"text": "a", "where": where}),
            ("/v1/chat/completions", chat("What?", rag_vqa={"where": where})),
        ):
            response = asking.post(path, json=body)
            assert response.status_code == 400 and says in response.text


def test_lists_come_in_and_go_out_over_http(doors: Doors) -> None:
    metadata: Mapping[str, Any] = {"tag": ["new", 7, True], "year": [1700, 1900], "one": ["x"]}
    with client(doors.service) as asking:
        new = {"id": "d", "text": "A vase.", "metadata": metadata}
        assert asking.post("/v1/documents", json={"documents": [new]}).json()["added"] == 1
        assert asking.get("/v1/documents/d").json()["metadata"] == metadata
        body = {"text": "a", "where": {"tag": "new"}}
        (hit,) = asking.post("/v1/search", json=body).json()["hits"]
        assert hit["document"]["metadata"] == metadata
        nested = {"id": "e", "text": "A vase.", "metadata": {"tag": [["x"]]}}
        assert asking.post("/v1/documents", json={"documents": [nested]}).status_code == 400
    shown = doors.run_command("kb", "show", doors.rag.kb.path, "d", "--json").json
    assert json.dumps(shown["metadata"], sort_keys=True) == json.dumps(metadata, sort_keys=True)
    lines = doors.run_command("kb", "show", doors.rag.kb.path, "d").out.splitlines()
    assert {"metadata: tag=new", "metadata: tag=7", "metadata: tag=true"} <= set(lines)
