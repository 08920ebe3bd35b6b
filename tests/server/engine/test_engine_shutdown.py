"""The engine: questions that are cancelled, refused, failed or stopped leave nothing behind."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from engine_runs import WHOLE, asks, first, found, off, run
from held_reader import PATIENCE, HeldReader

from rag_vqa.errors import BadImage, RagVqaError, UsageError
from rag_vqa.pipeline import RagVqa
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.server.engine.engine import Engine
from rag_vqa.server.engine.request_queue import Question, QueueFull, ShuttingDown
from rag_vqa.types import Answer, Hit, Query


def test_a_full_queue_says_when_to_come_back(rag: RagVqa, held: HeldReader) -> None:
    async def work(engine: Engine) -> None:
        begun = await first(engine, held)
        waiting = [engine.ask(asks(f"q{n}")) for n in range(3)]
        with pytest.raises(QueueFull) as busy:
            engine.ask(asks("too many"))
        assert busy.value.retry_after >= 1
        assert (engine.waiting_count, engine.reading_count) == (3, 1)
        waiting[1].cancel()
        waiting.append(engine.ask(asks("now there is room")))
        waiting[1] = begun
        await found(engine, waiting[0], *waiting[2:])
        held.let()
        await asyncio.gather(*(asked.answer() for asked in waiting))

    engine = run(rag, work, queue=3)
    assert held.batches == [["first"], ["q0", "q2", "now there is room"]]
    counts = engine.metrics.counts
    assert (counts["refused"], counts["cancelled"], counts["answered"]) == (1, 1, 4)


def test_one_that_is_cancelled_ends_alone_and_at_once(rag: RagVqa, held: HeldReader) -> None:
    async def work(engine: Engine) -> None:
        held.words = 1000
        begun = await first(engine, held)
        gone, stays = engine.ask(asks("gone")), engine.ask(asks("stays", max_tokens=3))
        await found(engine, gone, stays)
        begun.cancel()
        assert engine.reading_count == 0  # its place is free, before its batch knows
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
    assert engine.metrics.counts["cancelled"] == 2


def test_cancelling_the_task_that_waits_cancels_the_question(rag: RagVqa, held: HeldReader) -> None:
    async def work(engine: Engine) -> None:
        begun = await first(engine, held)
        task = asyncio.create_task(engine.ask(asks("gone")).answer())
        await asyncio.sleep(0)
        assert engine.waiting_count == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert engine.waiting_count == 0
        held.let()
        await begun.answer()

    run(rag, work)
    assert held.batches == [["first"]]


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
        with pytest.raises(RagVqaError, match="an internal error"):
            await fails.answer()
        assert (await good.answer()).text == (await begun.answer()).text == WHOLE
        assert (await engine.ask(asks("after")).answer()).text == WHOLE

    with caplog.at_level(logging.DEBUG):
        engine = run(rag, work)
    assert engine.metrics.counts["failed"] == 3
    assert "ValueError at" in caplog.text and "secret" not in caplog.text


def test_what_fails_after_reading_is_told_to_that_one(
    rag: RagVqa, held: HeldReader, monkeypatch: Any
) -> None:
    async def work(engine: Engine) -> None:
        begun = await first(engine, held)
        asked = [engine.ask(asks(text)) for text in ("breaks", "good")]
        await found(engine, *asked)
        record = engine.metrics.record_answer

        def breaking(answer: Answer) -> None:
            if answer.query.text == "breaks":
                raise ValueError("secret")
            record(answer)

        monkeypatch.setattr(engine.metrics, "record_answer", breaking)
        held.let()
        with pytest.raises(RagVqaError, match="an internal error"):
            await asked[0].answer()
        assert (await asked[1].answer()).text == (await begun.answer()).text == WHOLE

    run(rag, work)


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


def test_stopping_gives_up_what_was_asked(rag: RagVqa, held: HeldReader, monkeypatch: Any) -> None:
    searching, searched = threading.Event(), threading.Event()

    async def work(engine: Engine) -> None:
        begun = await first(engine, held)
        waiting = engine.ask(asks("waits"))
        await found(engine, waiting)

        def search(*_: object, **__: object) -> list[Hit]:
            searching.set()
            assert searched.wait(PATIENCE)
            return []

        monkeypatch.setattr(engine.rag, "search", search)
        calls = [asyncio.create_task(engine.search(Query(text))) for text in ("runs", "waits")]
        await off(searching.wait)
        engine.stop()
        assert not engine.ready
        for asked in (begun, waiting):
            with pytest.raises(ShuttingDown):
                async for _ in asked:
                    pass
        for ended in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(ended, ShuttingDown)
        with pytest.raises(ShuttingDown):
            engine.ask(asks("too late"))
        with pytest.raises(ShuttingDown):
            await engine.search(Query("too late"))
        searched.set()

    run(rag, work)
    assert held.batches == [["first"]]


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
        assert engine.waiting_count == 0

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
        engine.stop()

    asyncio.run(whole())
