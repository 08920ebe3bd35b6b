"""Words are searched as needed through every door: the same hits with the same scores."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from PIL import Image
from served import chat, client, data_url, picture

from rag_vqa.integrations.langchain import ReTRetriever as LangChainRetriever
from rag_vqa.integrations.llamaindex import ReTRetriever as LlamaIndexRetriever
from rag_vqa.integrations.mcp import make_mcp_server
from rag_vqa.pipeline import RagVqa
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.server.engine.engine import Engine
from rag_vqa.server.service import Service
from rag_vqa.types import Hit, Query

pytestmark = pytest.mark.filterwarnings("ignore::rag_vqa.errors.DemoLimits")
ASKED = "Who made the tulip vase?"
DOCUMENTS = [
    {"id": "vase", "title": "Tulip vase", "text": "Oppermaat of Harne.", "metadata": {"room": 1}},
    {"id": "jug", "title": "Beer jug", "text": "Found in a latrine.", "metadata": {"room": 2}},
    {"id": "bowl", "title": "Bowl", "text": "A tulip inside.", "metadata": {"room": 2}},
    {"id": "clock", "title": "Clock", "text": "It strikes.", "metadata": {"room": 1}},
]
Scores = list[tuple[str, float, float]]  # id, score, "lexical" or 0


@pytest.fixture
def rag(tmp_path: Path, encoder: Any, reader: Any) -> Iterator[RagVqa]:
    encoder.source = "demo"  # so that words are searched
    with KnowledgeBase.create(tmp_path / "x.kb", encoder) as kb:
        kb.add(DOCUMENTS)
        yield RagVqa(kb, reader, k=3)


def scores_of(hits: Any) -> Scores:
    return [
        (hit.document.id, hit.score, hit.scores.get("lexical", 0.0))
        if isinstance(hit, Hit)
        else (hit.get("id") or hit["document"]["id"], hit["score"], hit["scores"].get("lexical", 0))
        for hit in hits
    ]


@pytest.fixture
def due(rag: RagVqa) -> Scores:
    """What the knowledge base finds."""
    found = scores_of(rag.kb.search([Query(ASKED)], 3)[0])
    assert found[0][0] == "vase" and found[0][2] > 0
    return found


def test_python(rag: RagVqa, due: Scores) -> None:
    assert scores_of(rag.search(ASKED)) == due
    assert scores_of(rag.ask(ASKED).hits) == due
    first, *_ = rag.stream(ASKED)
    assert scores_of(first) == due


def test_many_questions_of_all_kinds_at_once(rag: RagVqa, due: Scores) -> None:
    photo = Image.new("RGB", (8, 8), "green")
    queries = [
        Query(ASKED),
        Query("And this?", photo),
        Query(ASKED, photo),
        Query("What is this?", photo),
    ]
    answers = rag.ask_many(queries)
    assert scores_of(answers[0].hits) == due
    for query, answer in zip(queries, answers, strict=True):
        assert scores_of(answer.hits) == scores_of(rag.retrieve([query])[0])
    assert ["fused" in answer.hits[0].scores for answer in answers] == [True, False, True, False]


def test_a_filter(rag: RagVqa) -> None:
    (hits,) = rag.kb.search([Query(ASKED)], 3, {"room": 2})
    assert [hit.document.id for hit in hits] == ["bowl", "jug"]


def test_frameworks(rag: RagVqa, due: Scores) -> None:
    found = LangChainRetriever(kb=rag.kb, k=3).invoke(ASKED)
    assert scores_of(document.metadata | {"id": document.id} for document in found) == due
    nodes = LlamaIndexRetriever(rag.kb, 3).retrieve(ASKED)
    assert [(n.node.node_id, n.score) for n in nodes] == [(name, score) for name, score, _ in due]


def test_mcp(rag: RagVqa, due: Scores) -> None:
    async def call() -> Any:
        async with Client(make_mcp_server(rag)) as asking:
            return await asking.call_tool("search", {"text": ASKED, "k": 3})

    found = asyncio.run(call()).structured_content["documents"]
    assert [(one["id"], one["score"]) for one in found] == [(n, score) for n, score, _ in due]


def test_http_and_the_engine_s_batches(rag: RagVqa, due: Scores) -> None:
    """A batch mixes questions with pictures and without: each finds what it finds alone."""
    shown = data_url(picture())
    with client(Service(Engine(rag))) as asking:
        found = asking.post("/v1/search", json={"text": ASKED, "k": 3}).json()["hits"]
        assert scores_of(found) == due
        bodies = [chat(ASKED), chat(ASKED, shown), chat("What is this?", shown)] * 4

        def ask(body: dict[str, Any]) -> str:
            answer = asking.post("/v1/chat/completions", json=body).json()
            return json.dumps(scores_of(answer["rag_vqa"]["hits"]))

        alone = [ask(body) for body in bodies[:3]]
        with ThreadPoolExecutor(6) as pool:
            assert list(pool.map(ask, bodies)) == alone * 4
        assert json.loads(alone[0]) == [list(row) for row in due]


def test_a_writer_beside_searches(rag: RagVqa) -> None:
    """Every search sees a whole commit, and the last one all documents."""
    with ThreadPoolExecutor(3) as pool:
        found = [pool.submit(rag.search, "harpsichord") for _ in range(20)]
        for number in range(8):
            rag.kb.add([{"id": f"h{number}", "title": "Harpsichord", "text": f"No. {number}."}])
        for search in found:
            assert len(search.result()) == 3
    assert all(hit.document.id.startswith("h") for hit in rag.search("harpsichord", k=8))
