"""The engine over a reader that is held by events: batches, order, queue, cancelling, failures."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from held_reader import PATIENCE, HeldReader

from rag_vqa.errors import BadImage, RagVqaError, UsageError
from rag_vqa.pipeline import RagVqa
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.server.engine import Asked, Busy, Closing, Engine, Question
from rag_vqa.types import Answer, Hit, Query

WHOLE = "word 0 word 1 word 2 word 3"


@pytest.fixture
def held() -> HeldReader:
    return HeldReader()


@pytest.fixture
def rag(birds: Path, encoder: Any, held: HeldReader) -> Iterator[RagVqa]:
    with KnowledgeBase.open(birds, encoder) as kb:
        yield RagVqa(kb, held, k=2)


def run(
    rag: RagVqa, work: Callable[[Engine], Awaitable[None]], stop: float = 0, **options: int
) -> Engine:
    """`work` with a started engine, in a loop of its own."""

    async def whole() -> Engine:
        engine = Engine(rag, **options)
        if isinstance(rag.reader, HeldReader):
            rag.reader.let(4)  # warming up: two batches of two tokens
        await engine.start()
        if isinstance(rag.reader, HeldReader):
            await off(rag.reader.begins)
            await off(rag.reader.begins)
            rag.reader.batches.clear()
        try:
            async with asyncio.timeout(PATIENCE):
                await work(engine)
        finally:
            if isinstance(rag.reader, HeldReader):
                rag.reader.let()
            await engine.stop(stop)
        return engine

    return asyncio.run(whole())


def asks(text: str, **given: Any) -> Question:
    return Question(Query(text), **given)


async def off(call: Callable[[], object]) -> None:
    """Wait for a thread without holding up the loop."""
    await asyncio.to_thread(call)


async def refused(work: Awaitable[object], why: str) -> None:
    with pytest.raises(RagVqaError, match=why):
        await work


async def first(engine: Engine, held: HeldReader) -> Asked:
    """A question whose batch has begun and is held."""
    asked = engine.ask(asks("first"))
    await off(held.begins)
    return asked


async def found(engine: Engine, *asked: Asked) -> None:
    """All of them are retrieved, and in line for the reader."""
    for one in asked:
        assert isinstance(await anext(one), tuple)
    await engine.in_retriever(lambda: None)


def test_events_are_hits_then_pieces_then_the_answer(rag: RagVqa, held: HeldReader) -> None:
    async def work(engine: Engine) -> None:
        asked = engine.ask(asks("puffins nest where"))
        held.let()
        hits, *pieces, answer = [event async for event in asked]
        assert [hit.document.id for hit in hits] == ["puffin", "stork"]
        assert pieces == ["word 0", " word 1", " word 2", " word 3"]
        assert isinstance(answer, Answer) and answer.text == WHOLE and answer.hits == hits
        assert set(answer.seconds) == {"wait", "retrieve", "read"}
        assert [event async for event in asked] == []

    run(rag, work)


def test_who_waits_is_read_together_in_order_and_not_more_than_a_batch(
    rag: RagVqa, held: HeldReader
) -> None:
    async def work(engine: Engine) -> None:
        begun = await first(engine, held)
        waiting = [engine.ask(asks(f"q{n}", k=n % 2 + 1)) for n in range(7)]
        await found(engine, *waiting)
        held.let()
        answers = await asyncio.gather(*(asked.answer() for asked in [begun, *waiting]))
        assert [answer.query.text for answer in answers[1:]] == [f"q{n}" for n in range(7)]
        assert [len(answer.hits) for answer in answers[1:]] == [1, 2, 1, 2, 1, 2, 1]

    engine = run(rag, work, batch=4)
    assert [len(batch) for batch in held.batches] == [1, 4, 3]
    assert sorted(held.batches[1] + held.batches[2]) == [f"q{n}" for n in range(7)]
    assert engine.figures.batches.counts == [1, 0, 2, 0, 0, 0, 0]


def test_one_line_for_those_of_one_kind(rag: RagVqa, held: HeldReader) -> None:
    async def work(engine: Engine) -> None:
        begun = await first(engine, held)
        waiting = [engine.ask(asks(f"q{n}")) for n in range(6)]
        await found(engine, *waiting)
        held.let()
        await asyncio.gather(*(asked.answer() for asked in [begun, *waiting]))

    run(rag, work, batch=2)
    assert held.batches == [["first"], ["q0", "q1"], ["q2", "q3"], ["q4", "q5"]]


def test_each_has_its_own_length_and_stop_texts(rag: RagVqa, held: HeldReader) -> None:
    async def work(engine: Engine) -> None:
        begun = await first(engine, held)
        asked = [
            engine.ask(asks("short", max_tokens=2)),
            engine.ask(asks("stops", stop=("d 2", "never"))),
            engine.ask(asks("whole", max_tokens=9, stop=("word 3!",))),
        ]
        await found(engine, *asked)
        held.let()
        short, stops, whole = await asyncio.gather(*(one.answer() for one in asked))
        assert (short.text, short.finish) == ("word 0 word 1", "length")
        assert (stops.text, stops.finish) == ("word 0 word 1 wor", "stop")
        assert whole.text == WHOLE
        await begun.answer()

    run(rag, work)
    assert len(held.batches[1]) == 3


def test_no_retrieval_is_no_hits_and_another_prompt(rag: RagVqa, held: HeldReader) -> None:
    async def work(engine: Engine) -> None:
        held.let()
        given = await engine.ask(asks("where", hits=())).answer()
        none = await engine.ask(asks("where", k=0)).answer()
        assert given.hits == none.hits == ()
        assert given.prompt.template == none.prompt.template == "closed-book"
        hits = tuple(await engine.search(Query("storks")))[:1]
        assert (await engine.ask(asks("where", hits=hits)).answer()).hits == hits

    run(rag, work)


def test_a_full_queue_says_when_to_come_back(rag: RagVqa, held: HeldReader) -> None:
    async def work(engine: Engine) -> None:
        begun = await first(engine, held)
        waiting = [engine.ask(asks(f"q{n}")) for n in range(3)]
        with pytest.raises(Busy) as busy:
            engine.ask(asks("too many"))
        assert busy.value.retry_after >= 1
        assert (engine.waiting, engine.reading) == (3, 1)
        waiting[1].cancel()
        waiting.append(engine.ask(asks("now there is room")))
        waiting[1] = begun
        await found(engine, waiting[0], *waiting[2:])
        held.let()
        await asyncio.gather(*(asked.answer() for asked in waiting))

    engine = run(rag, work, queue=3)
    assert held.batches == [["first"], ["q0", "q2", "now there is room"]]
    counts = engine.figures.counts
    assert (counts["refused"], counts["cancelled"], counts["answered"]) == (1, 1, 4)


def test_one_that_is_cancelled_ends_alone_and_at_once(rag: RagVqa, held: HeldReader) -> None:
    async def work(engine: Engine) -> None:
        held.words = 1000
        begun = await first(engine, held)
        gone, stays = engine.ask(asks("gone")), engine.ask(asks("stays", max_tokens=3))
        await found(engine, gone, stays)
        begun.cancel()
        assert engine.reading == 0  # its place is free, before its batch knows
        held.let(1)  # a batch of which nobody is left ends with this step
        await off(held.begins)
        held.let(1)
        assert [await anext(gone), await anext(stays)] == ["word 0", "word 0"]
        gone.cancel()
        assert [event async for event in gone] == []
        held.let(2)
        assert (await stays.answer()).text == "word 0 word 1 word 2"

    engine = run(rag, work)
    assert held.batches == [["first"], ["gone", "stays"]]
    assert engine.figures.counts["cancelled"] == 2


def test_cancelling_the_task_that_waits_cancels_the_question(rag: RagVqa, held: HeldReader) -> None:
    async def work(engine: Engine) -> None:
        begun = await first(engine, held)
        task = asyncio.create_task(engine.ask(asks("gone")).answer())
        await asyncio.sleep(0)
        assert engine.waiting == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert engine.waiting == 0
        held.let()
        await begun.answer()

    run(rag, work)
    assert held.batches == [["first"]]


def test_a_search_waits_for_no_answer(rag: RagVqa, held: HeldReader) -> None:
    async def work(engine: Engine) -> None:
        await first(engine, held)  # and is never let go on
        hits = await engine.search(Query("storks nest"), 1)
        assert [hit.document.id for hit in hits] == ["stork"]
        with pytest.raises(UsageError, match="nothing to look for"):
            await engine.search(Query(" "))

    run(rag, work)


def test_what_is_wrong_with_one_is_told_to_that_one(
    rag: RagVqa, held: HeldReader, encoder: Any, caplog: Any
) -> None:
    encode = encoder.encode_queries

    def opening(queries: list[Query]) -> Any:
        if any(query.image == b"no picture" for query in queries):
            raise BadImage("no picture")
        return encode(queries)

    encoder.encode_queries = opening

    async def work(engine: Engine) -> None:
        begun = await first(engine, held)
        bad = engine.ask(Question(Query("bad", b"no picture")))
        named = engine.ask(asks("named", where={"nobody has this": 1}))
        fails, good = engine.ask(asks("fails")), engine.ask(asks("good"))
        await found(engine, fails, good)
        held.fails = "fails"
        held.let()
        with pytest.raises(BadImage):
            await bad.answer()
        with pytest.raises(UsageError, match="nobody has this"):
            await named.answer()
        with pytest.raises(RagVqaError, match="an error of ours"):
            await fails.answer()
        assert (await good.answer()).text == (await begun.answer()).text == WHOLE
        assert (await engine.ask(asks("after")).answer()).text == WHOLE

    with caplog.at_level(logging.DEBUG):
        engine = run(rag, work)
    assert engine.figures.counts["failed"] == 3
    assert "ValueError at" in caplog.text and "secret" not in caplog.text


def test_what_was_told_is_not_told_again(rag: RagVqa, held: HeldReader) -> None:
    async def work(engine: Engine) -> None:
        held.fails_late = "late"
        asked = engine.ask(asks("late"))
        held.let()
        pieces = []
        with pytest.raises(RagVqaError):
            async for event in asked:
                pieces.append(event)
        assert pieces[1:] == ["word 0"]

    run(rag, work)
    assert held.batches == [["late"]]


def test_a_filter_is_asked_in_the_readers_thread_and_its_hits_are_told(
    rag: RagVqa, held: HeldReader
) -> None:
    asked_in: list[str] = []

    class Second:
        name = "the second"

        def __call__(self, queries: Any, hits: Any) -> list[list[Hit]]:
            asked_in.append(threading.current_thread().name)
            return [list(found[1:]) for found in hits]

    async def work(engine: Engine) -> None:
        held.let()
        hits, *_, answer = [event async for event in engine.ask(asks("puffins nest"))]
        assert [hit.document.id for hit in hits] == ["stork"]
        assert answer.hits == hits and "select" in answer.seconds
        prompt = await engine.prompt(asks("puffins nest"))
        assert [hit.document.id for hit in prompt.kept] == ["stork"]

    rag.filter = Second()
    run(rag, work)
    assert asked_in and all(name.startswith("rag-vqa-reader") for name in asked_in)


def test_stopping_finishes_what_was_asked(rag: RagVqa, held: HeldReader) -> None:
    answers: list[Answer] = []

    async def work(engine: Engine) -> None:
        begun = await first(engine, held)
        waiting = engine.ask(asks("waits"))
        stopping = asyncio.create_task(engine.stop(PATIENCE))
        await asyncio.sleep(0)
        assert not engine.ready
        with pytest.raises(Closing):
            engine.ask(asks("too late"))
        with pytest.raises(Closing):
            await engine.search(Query("too late"))
        held.let()
        answers.extend([await begun.answer(), await waiting.answer()])
        await stopping

    run(rag, work)
    assert [answer.text for answer in answers] == [WHOLE, WHOLE]


def test_stopping_gives_up_what_takes_too_long(rag: RagVqa, held: HeldReader) -> None:
    async def work(engine: Engine) -> None:
        begun = await first(engine, held)
        waiting = engine.ask(asks("waits"))
        call = asyncio.create_task(engine.add([]))
        await call
        await engine.stop(0.01)
        for asked in (begun, waiting):
            with pytest.raises(Closing):
                async for _ in asked:
                    pass

    run(rag, work)
    assert held.batches == [["first"]]


def test_what_another_process_adds_is_found_and_the_snapshot_is_told(
    rag: RagVqa, held: HeldReader, birds: Path, encoder: Any
) -> None:
    async def work(engine: Engine) -> None:
        before = engine.figures.commit
        with KnowledgeBase.open(birds, encoder) as other:
            other.add([{"id": "owl", "text": "owls hunt at midnight"}])
        held.let()
        answer = await engine.ask(asks("owls hunt at midnight")).answer()
        assert answer.hits[0].document.id == "owl"
        assert engine.figures.commit == before + 1
        assert 0 <= engine.figures.snapshot_age < PATIENCE

    run(rag, work)


def test_documents_come_and_go(rag: RagVqa) -> None:
    async def work(engine: Engine) -> None:
        report = await engine.add([{"id": "owl", "text": "owls hunt at midnight"}, {"text": "x"}])
        assert report.added == 1 and len(report.rejected) == 1
        assert (await engine.search(Query("owls"), 1))[0].document.id == "owl"
        assert await engine.delete("owl") == 1
        assert await engine.get("owl") is None
        assert (await engine.get("swift")).title == "Common swift"

    run(rag, work)


def test_another_writer_is_named(rag: RagVqa, birds: Path, encoder: Any) -> None:
    async def work(engine: Engine) -> None:
        with KnowledgeBase.open(birds, encoder) as other, other.store.writing():
            adding = engine.add([{"id": "owl", "text": "owls"}])
            await refused(adding, "Another process is writing")

    run(rag, work)


@pytest.mark.parametrize("wrong", [{"queue": 0}, {"batch": 0}])
def test_an_engine_that_cannot_be_meant(rag: RagVqa, wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="1 or more"):
        Engine(rag, **wrong)


def test_questions_that_cannot_be_meant(rag: RagVqa) -> None:
    async def work(engine: Engine) -> None:
        with pytest.raises(UsageError, match="max_tokens = 0"):
            engine.ask(asks("x", max_tokens=0))
        with pytest.raises(UsageError, match="k = -1"):
            await engine.ask(asks("x", k=-1)).answer()
        assert engine.waiting == 0

    run(rag, work)


@pytest.mark.slow
def test_ten_thousand_questions_leave_nothing_behind(
    birds: Path, encoder: Any, reader: Any
) -> None:
    grown: list[float] = []

    async def thousand(engine: Engine) -> None:
        for _ in range(0, 1000, 10):
            asked = [engine.ask(asks(f"where do puffins nest {n}")) for n in range(10)]
            asked[0].cancel()
            await asyncio.gather(*(one.answer() for one in asked[1:]))
            reader.prompts.clear()
        gc.collect()

    async def work(engine: Engine) -> None:
        await thousand(engine)
        tracemalloc.start()
        await thousand(engine)
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(8):
            await thousand(engine)
        grown.append(tracemalloc.get_traced_memory()[0] - before)
        tracemalloc.stop()

    with KnowledgeBase.open(birds, encoder) as kb:
        start = time.perf_counter()
        run_plain(RagVqa(kb, reader, k=2), work)
    print(f"8,000 questions: {grown[0]:,} bytes more, {time.perf_counter() - start:.0f} s")
    assert grown[0] < 8 * 2**20


def run_plain(rag: RagVqa, work: Callable[[Engine], Awaitable[None]]) -> None:
    async def whole() -> None:
        engine = Engine(rag)
        await engine.start()
        await work(engine)
        await engine.stop(1)

    asyncio.run(whole())
