"""LangChain, beyond its own tests: pictures, evidence, stop sequences, and refused arguments."""

import base64
import importlib
import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.globals import set_llm_cache
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from PIL import Image
from pydantic import ValidationError

from rag_vqa.errors import BadImage, Missing, ReaderError, UsageError
from rag_vqa.integrations.langchain import ChatRagVqa, ReTRetriever, rag_chain, to_query
from rag_vqa.pipeline import RagVqa
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.types import Completion


@pytest.fixture
def rag(birds: Path, encoder: Any, reader: Any) -> Iterator[RagVqa]:
    with KnowledgeBase.open(birds, encoder) as kb:
        yield RagVqa(kb, reader, k=2)


def png() -> str:
    file = io.BytesIO()
    Image.new("RGB", (4, 4), "red").save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def test_documents_say_where_they_are_from(rag) -> None:
    [first] = ReTRetriever(kb=rag.kb).invoke("Where do puffins nest?", k=1)
    assert first.page_content == "puffins nest in burrows on sea cliffs"
    assert first.id == first.metadata["id"] == "puffin"
    assert first.metadata["title"] == "Atlantic puffin" and first.metadata["rank"] == 1
    assert first.metadata["metadata"] == {"lang": "en"}
    hit = rag.search("Where do puffins nest?", k=1)[0]
    assert first.metadata["score"] == hit.score


def test_a_filter_of_the_call_goes_before_the_constructor_s(rag) -> None:
    retriever = ReTRetriever(kb=rag.kb, where={"lang": "de"})
    assert [found.id for found in retriever.invoke("nest")] == ["swift"]
    assert {found.id for found in retriever.invoke("nest", where={"lang": "en"})} == {
        "puffin", "stork",
    }  # fmt: skip


def test_fields_that_are_set_or_copied_anew_are_honoured(rag, tmp_path, encoder) -> None:
    retriever = ReTRetriever(kb=rag.kb, k=3)
    assert len(retriever.invoke("nest")) == 3
    retriever.k = 1
    assert len(retriever.invoke("nest")) == 1
    assert len(retriever.model_copy(update={"k": 2}).invoke("nest")) == 2
    with KnowledgeBase.create(tmp_path / "owls.kb", encoder) as owls:
        owls.add([{"id": "owl", "text": "owls hoot"}])
        other = retriever.model_copy(update={"kb": owls})
        assert [found.id for found in other.invoke("nest")] == ["owl"]
    assert [found.id for found in retriever.invoke("puffins nest")] == ["puffin"]


@pytest.mark.parametrize("call", [lambda kb: ReTRetriever(kb=kb, k=0).invoke("nest"),
                                  lambda kb: ReTRetriever(kb=kb).invoke("nest", k=0)])  # fmt: skip
def test_no_documents_are_no_search(rag, call) -> None:
    with pytest.raises(UsageError, match="k = 0"):
        call(rag.kb)


def test_a_picture_goes_to_the_search(rag, monkeypatch) -> None:
    asked: list[Any] = []
    encode = rag.kb.encoder.encode_queries
    monkeypatch.setattr(
        rag.kb.encoder, "encode_queries", lambda queries: asked.extend(queries) or encode(queries)
    )
    ReTRetriever(kb=rag.kb).invoke("nest", image="photo.jpg")
    ChatRagVqa(rag=rag).invoke(
        [HumanMessage([{"type": "text", "text": "nest"}, {"type": "image", "base64": png(),
                                                         "mime_type": "image/png"}])]
    )  # fmt: skip
    assert asked[0].image == "photo.jpg"
    assert asked[1].image == base64.b64decode(png()) and asked[1].text == "nest"


def test_the_question_is_the_last_human_message() -> None:
    said = [SystemMessage("Be brief."), HumanMessage("one"), AIMessage("1"), HumanMessage("two")]
    assert to_query([*said, AIMessage("2")]).text == "two"
    with pytest.raises(UsageError, match="no question"):
        to_query([SystemMessage("Be brief.")])


def block(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def test_what_is_no_question_is_refused() -> None:
    for url in ("https://example.org/a.png", "file:///etc/passwd", "http:a"):
        with pytest.raises(BadImage, match="addresses are not fetched"):
            to_query([HumanMessage([block(url)])])
    with pytest.raises(BadImage, match="not valid base64"):
        to_query([HumanMessage([{"type": "image", "base64": "%%%", "mime_type": "image/png"}])])
    with pytest.raises(UsageError, match="one picture; this one has 2"):
        to_query([HumanMessage([block(f"data:image/png;base64,{png()}")] * 2)])
    with pytest.raises(UsageError, match="holds 'audio'"):
        to_query([HumanMessage([{"type": "audio", "base64": "", "mime_type": "audio/wav"}])])


def test_the_evidence_comes_with_the_answer(rag) -> None:
    told = ChatRagVqa(rag=rag).invoke("Where do puffins nest?")
    evidence = told.response_metadata["rag_vqa"]
    assert told.text == "In burrows [1]." and evidence["citations"] == [1]
    assert [hit["id"] for hit in evidence["hits"]] == evidence["kept"] == ["puffin", "stork"]
    assert evidence["hits"][0]["text"] == "puffins nest in burrows on sea cliffs"
    assert set(evidence["seconds"]) == {"retrieve", "read"}
    assert told.response_metadata["model_name"] == "fake reader"
    *pieces, last = ChatRagVqa(rag=rag).stream("Where do puffins nest?", k=1)
    assert "".join(piece.text for piece in pieces) == "In burrows [1]." and last.text == ""
    assert len(last.response_metadata["rag_vqa"]["hits"]) == 1


@pytest.mark.parametrize("where", ["constructor", "call"])
def test_stop_texts_and_length_end_an_answer(rag, where) -> None:
    def ask(**limits: Any) -> Any:
        if where == "constructor":
            return ChatRagVqa(rag=rag, **limits).invoke("nest?")
        return ChatRagVqa(rag=rag).invoke("nest?", **limits)

    stopped = ask(stop=[" [1]"])
    assert stopped.text == "In burrows" and stopped.response_metadata["finish_reason"] == "stop"
    assert stopped.response_metadata["rag_vqa"]["citations"] == []
    cut = ask(max_tokens=1)
    assert cut.text == "In" and cut.response_metadata["finish_reason"] == "length"


def test_a_closed_stream_stops_the_reader(rag, reader) -> None:
    reader.says = "word " * 10_000
    stream = ChatRagVqa(rag=rag).stream("nest?")
    next(stream)
    stream.close()
    assert ChatRagVqa(rag=rag).invoke("nest?", max_tokens=1).text == "word"  # it is free again


def test_a_server_s_failure_is_raised(rag, reader, monkeypatch) -> None:
    failed = Completion("", 0, 0, "failed", error="no answer in 60 s")
    monkeypatch.setattr(reader, "generate", lambda *given: [failed])
    with pytest.raises(ReaderError, match="no answer in 60 s"):
        ChatRagVqa(rag=rag).invoke("nest?")


def test_no_answer_comes_out_of_a_cache(rag, reader) -> None:
    set_llm_cache(InMemoryCache())
    try:
        for says in ("one", "two"):
            reader.says = says
            assert ChatRagVqa(rag=rag).invoke("nest?").text == says
    finally:
        set_llm_cache(None)


def test_nothing_is_ignored(rag) -> None:
    for given in ({"temperature": 1}, {"timeout": 60}, {"max_tokens": 0}):
        with pytest.raises(ValidationError):
            ChatRagVqa(rag=rag, **given)
    with pytest.raises(UsageError, match=r"seed: unknown\. Known are k, where, stop"):
        ChatRagVqa(rag=rag).invoke("nest?", seed=1)
    with pytest.raises(UsageError, match=r"kk: unknown\. Known are k, image and where"):
        ReTRetriever(kb=rag.kb).invoke("nest?", kk=3)
    with pytest.raises(UsageError, match="k = -1"):
        ReTRetriever(kb=rag.kb, k=-1)


@pytest.mark.parametrize(
    ("given", "said"),
    [({"max_tokens": 0}, "max_tokens = 0"), ({"max_tokens": -1}, "max_tokens = -1"),
     ({"temperature": 0.7}, "temperature = 0.7: readers are greedy")],
)  # fmt: skip
def test_a_call_is_bound_as_the_constructor_is(rag, reader, given, said) -> None:
    chat = ChatRagVqa(rag=rag)
    with pytest.raises(UsageError, match=said):
        chat.invoke("nest?", **given)
    with pytest.raises(UsageError, match=said):
        list(chat.stream("nest?", **given))
    assert reader.prompts == []
    assert chat.invoke("nest?", temperature=0, max_tokens=1).text == "In"


async def test_it_retrieves_asynchronously_with_the_same_keywords(rag, monkeypatch) -> None:
    asked: list[Any] = []
    search = rag.kb.search
    monkeypatch.setattr(rag.kb, "search", lambda *given: asked.append(given) or search(*given))
    retriever = ReTRetriever(kb=rag.kb)
    given = {"k": 1, "image": "photo.jpg", "where": {"lang": "de"}}
    assert [found.id for found in await retriever.ainvoke("nest", **given)] == ["swift"]
    [([query], k, where)] = asked
    assert (query.text, query.image, k, where) == ("nest", "photo.jpg", 1, {"lang": "de"})
    assert [len(found) for found in await retriever.abatch(["nest", "fly"], k=1)] == [1, 1]
    with pytest.raises(UsageError, match="kk"):
        await retriever.ainvoke("nest", kk=3)


def test_the_chain_gives_text_documents_and_citations(rag) -> None:
    found = (rag_chain(rag) | (lambda told: told)).invoke({"question": "nest?", "k": 1})
    assert found["answer"] == "In burrows [1]." and found["citations"] == [1]
    assert [document.id for document in found["documents"]] == ["puffin"]
    with pytest.raises(UsageError, match="'query'"):
        rag_chain(rag).invoke({"query": "nest?"})
    for no_question in ("nest?", {}, None):
        with pytest.raises(UsageError, match=re.escape(f"this is {no_question!r}.")):
            rag_chain(rag).invoke(no_question)


def test_many_threads_are_answered_one_by_one(rag) -> None:
    chat = ChatRagVqa(rag=rag)
    assert [told.text for told in chat.batch(["nest?"] * 8)] == ["In burrows [1]."] * 8
    found = ReTRetriever(kb=rag.kb).batch(["puffins"] * 8)
    assert {documents[0].id for documents in found} == {"puffin"}


@pytest.mark.parametrize(
    ("module", "library", "extra"),
    [
        ("langchain", "langchain_core.callbacks", "langchain"),
        ("llamaindex", "llama_index.core.retrievers", "llamaindex"),
    ],
)
def test_without_the_extra_its_name_is_said(monkeypatch, module, library, extra) -> None:
    monkeypatch.delitem(sys.modules, f"rag_vqa.integrations.{module}", raising=False)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(Missing, match=rf"rag-vqa\[{extra}\]"):
        importlib.import_module(f"rag_vqa.integrations.{module}")
