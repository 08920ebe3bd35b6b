"""RagVqa with a fake encoder and a fake reader: what flows, in which order, and what stops it."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from rag_vqa import checkpoints, images
from rag_vqa.answer_stream import stream_call
from rag_vqa.errors import BadImage, Missing, ReaderError, UsageError
from rag_vqa.pipeline import RagVqa
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.types import Answer, Query

QUESTION = "where do puffins nest"


@pytest.fixture
def kb(birds: Path, encoder) -> Iterator[KnowledgeBase]:
    with KnowledgeBase.open(birds, encoder) as opened:
        yield opened


@pytest.fixture
def rag(kb: KnowledgeBase, reader) -> RagVqa:
    return RagVqa(kb, reader, k=2)


def test_ask_carries_its_evidence(rag: RagVqa, reader) -> None:
    answer = rag.ask(QUESTION)
    assert answer.text == "In burrows [1]."
    assert (answer.hits[0].document.id, len(answer.hits)) == ("puffin", 2)
    assert answer.prompt is reader.prompts[0]
    assert answer.prompt.kept == answer.hits
    assert answer.citations == (1,)
    assert answer.query.text == QUESTION
    assert set(answer.seconds) == {"retrieve", "select", "read"}
    assert "puffins nest in burrows" in answer.prompt.text


def test_the_three_steps_are_what_ask_does(rag: RagVqa) -> None:
    queries = [Query(QUESTION)]
    hits = rag.select(queries, rag.retrieve(queries))
    [answer] = rag.answer(queries, hits)
    whole = rag.ask(QUESTION)
    assert (answer.text, answer.hits, answer.prompt) == (whole.text, whole.hits, whole.prompt)


def test_ask_many_is_one_batch_in_the_order_of_its_queries(rag: RagVqa, reader) -> None:
    answers = rag.ask_many([Query("storks nest on roofs"), Query("swifts sleep while they fly")])
    assert [answer.hits[0].document.id for answer in answers] == ["stork", "swift"]
    assert reader.batches == [2]
    assert rag.ask_many([]) == []


def test_k_may_be_given_with_the_question_and_exceed_the_corpus(rag: RagVqa) -> None:
    assert len(rag.ask(QUESTION, k=1).hits) == 1
    assert len(rag.search(QUESTION, k=99)) == 3


def test_k_zero_asks_without_retrieval_and_without_an_encoder(birds: Path, reader) -> None:
    # Opened without an encoder: retrieval would have to load one, which does not exist.
    with KnowledgeBase.open(birds) as kb:
        answer = RagVqa(kb, reader, k=0).ask(QUESTION)
    assert answer.hits == ()
    assert answer.prompt.template == "closed-book"
    assert answer.citations == ()


@pytest.mark.parametrize("k", [-1, -100])
def test_negative_k_is_refused(kb: KnowledgeBase, rag: RagVqa, reader, k: int) -> None:
    with pytest.raises(UsageError, match="k = "):
        RagVqa(kb, reader, k=k)
    with pytest.raises(UsageError, match="k = "):
        rag.ask(QUESTION, k=k)
    assert reader.prompts == []


@pytest.mark.parametrize("k", [0, -1, "3", 1.5])
def test_a_search_asks_for_at_least_one(kb: KnowledgeBase, rag: RagVqa, k) -> None:
    with pytest.raises(UsageError, match=f"k = {k!r}: give 1 or more"):
        rag.search(QUESTION, k=k)


def test_k_is_a_number(kb: KnowledgeBase) -> None:
    with pytest.raises(UsageError, match="k = '3'"):
        RagVqa(kb, k="3")  # type: ignore[arg-type]


def test_ask_many_takes_queries(rag: RagVqa) -> None:
    with pytest.raises(UsageError, match=r"ask_many\(\[Query"):
        rag.ask_many([QUESTION])  # type: ignore[list-item]


@pytest.mark.parametrize("bad", ["none.png", b"no picture"])
def test_a_picture_that_cannot_be_read_is_named_by_its_row(
    rag: RagVqa, reader, monkeypatch, tmp_path: Path, bad
) -> None:
    def encode(queries):
        for query in queries:
            if query.image is not None:
                images.load(query.image)

    monkeypatch.setattr(rag.kb.encoder, "encode_queries", encode)
    Image.new("RGB", (2, 2)).save(tmp_path / "good.png")
    queries = [Query(QUESTION, tmp_path / "good.png"), Query(QUESTION), Query(QUESTION, bad)]
    with pytest.raises((BadImage, Missing)) as alone:
        rag.ask(QUESTION, bad)
    with pytest.raises(type(alone.value)) as error:
        rag.ask_many(queries)
    assert str(error.value) == f"queries[2]: {alone.value}"
    assert reader.prompts == []


def test_where_filters(rag: RagVqa) -> None:
    assert [hit.document.id for hit in rag.search(QUESTION, where={"lang": "de"})] == ["swift"]


def test_stream_gives_hits_then_text_then_the_answer(rag: RagVqa) -> None:
    events = list(rag.stream(QUESTION))
    hits, pieces, answer = events[0], events[1:-1], events[-1]
    assert (hits[0].document.id, len(hits)) == ("puffin", 2)
    assert "".join(pieces) == "In burrows [1]."
    assert len(pieces) == 3
    assert isinstance(answer, Answer)
    assert answer.text == rag.ask(QUESTION).text
    assert set(answer.seconds) == {"retrieve", "select", "read"}


def test_pieces_join_to_the_text_of_the_answer(rag: RagVqa, reader) -> None:
    reader.says = "  In burrows"  # the first pieces: "", "", " In"
    _, *pieces, answer = rag.stream(QUESTION)
    assert "".join(pieces) == answer.text == "In burrows"
    assert pieces == ["In", " burrows"]


def test_closing_the_stream_stops_the_reader(rag: RagVqa, reader) -> None:
    reader.says = " ".join(["word"] * 100_000)
    written: list[str] = []
    generate = reader.generate

    def remember(prompts, *given):
        completions = generate(prompts, *given)
        written.append(completions[0].finish)
        return completions

    reader.generate = remember
    events = rag.stream(QUESTION)
    next(events), next(events)
    events.close()
    assert written == ["cancelled"]
    assert not [t for t in threading.enumerate() if t.name == "rag-vqa-stream"]


def test_what_the_reader_raises_comes_out_of_the_stream(rag: RagVqa, reader) -> None:
    def fail(prompts, *given):
        raise ReaderError("out of memory")

    reader.generate = fail
    events = rag.stream(QUESTION)
    next(events)
    with pytest.raises(ReaderError, match="out of memory"):
        list(events)


def test_stream_call_yields_what_is_reported_and_what_is_returned() -> None:
    def call(report) -> int:
        return sum(report(piece) for piece in "ab")

    assert list(stream_call(call)) == ["a", "b", 2]


def test_a_path_is_opened_and_a_reader_is_loaded_only_when_needed(birds: Path) -> None:
    rag = RagVqa(str(birds), "no/such-model")
    assert len(rag.kb) == 3
    rag.kb.close()


def test_the_embedded_reader_is_announced(
    kb: KnowledgeBase, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []
    monkeypatch.setattr("rag_vqa.demo_limits.is_built_in", lambda *_: True)
    monkeypatch.setattr("rag_vqa.pipeline.default_reader", lambda kb: "demo")
    kb.warns = False
    monkeypatch.setattr(
        "rag_vqa.readers.local.reader.LocalReader", lambda *a, **k: loaded.append((a, k))
    )
    monkeypatch.setattr(
        "rag_vqa.readers.factory.model_source", lambda model, role: f"{role}:{model}"
    )
    _ = RagVqa(kb, quantization="int8", max_images=2).reader
    options = {"quantization": "int8", "max_images": 2, "max_new_tokens": 48, "revision": None}
    assert loaded == [(("reader:demo",), options)]
    assert "embedded" in caplog.text
    caplog.clear()
    _ = RagVqa(kb, "demo", quantization="int8", max_images=2, max_new_tokens=None).reader
    assert loaded[1] == loaded[0]
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("model", "level"),
    [("Qwen/Qwen3-VL-8B-Instruct", "INFO"), ("Qwen/Qwen2.5-VL-3B-Instruct", "WARNING")],
)
def test_terms_are_logged_once_and_known_revisions_taken(
    kb: KnowledgeBase, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch,
    model: str, level: str,
) -> None:  # fmt: skip
    loaded = []
    monkeypatch.setattr(
        "rag_vqa.readers.local.reader.LocalReader", lambda *a, **k: loaded.append(k)
    )
    caplog.set_level("INFO", "rag_vqa")
    _ = RagVqa(kb, model).reader
    _ = RagVqa(kb, model, revision="v2").reader
    assert [options["revision"] for options in loaded] == [
        checkpoints.CHECKPOINTS[model].revision,
        "v2",
    ]
    said = [(record.levelname, record.message) for record in caplog.records]
    assert said == [(level, checkpoints.licence_line(model))] * 2


def test_released_retrievers_get_their_tasks_instruction(
    rag: RagVqa, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Query] = []
    manifest = type("Manifest", (), {"source": "aimagelab/ReT-CLIP-ViT-L-14"})()
    monkeypatch.setattr(rag.kb, "manifest", manifest)
    monkeypatch.setattr(rag.kb, "search", lambda queries, k, where: [asked.extend(queries) or []])
    rag.search("where?")
    rag.search(image="a.jpg")
    rag.search("where?", instruction="Find:")
    assert [query.instruction for query in asked] == [
        "Retrieve documents that provide an answer to the question alongside the image:",
        "Identify the document that is connected to this image.:",
        "Find:",
    ]


def test_a_search_for_nothing_is_refused(rag) -> None:
    for nothing in ({}, {"text": " \n"}, {"image": ""}):
        with pytest.raises(UsageError, match="nothing to look for"):
            rag.search(**nothing)


@pytest.mark.parametrize("k", [0, 2])
def test_a_question_that_is_no_text_is_refused_by_name(birds: Path, reader, encoder, k) -> None:
    from rag_vqa.retriever.knowledge_base import KnowledgeBase

    with (
        KnowledgeBase.open(birds, encoder) as kb,
        pytest.raises(UsageError, match=r"text|question"),
    ):
        RagVqa(kb, reader, k=k).ask(None)  # type: ignore[arg-type]
