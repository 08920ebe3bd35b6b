"""The engine: which questions are read together, and in which order; the test holds the reader."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from engine_runs import WHOLE, asks, first, found, off, run
from held_reader import PATIENCE, HeldReader

from rag_vqa.pipeline import RagVqa
from rag_vqa.server.engine.engine import Engine
from rag_vqa.server.request_limits import BATCH_PIXELS
from rag_vqa.types import Answer, Hit, Query


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
    assert engine.metrics.batches.counts == [1, 0, 2, 0, 0, 0, 0]


def test_a_batch_holds_so_many_pixels_and_one_picture_at_the_least(
    rag: RagVqa, held: HeldReader
) -> None:
    half = BATCH_PIXELS // 2
    pixels = {"a": half, "b": half, "c": 1, "d": 9 * half, "e": 0, "f": 1}

    async def work(engine: Engine) -> None:
        begun = await first(engine, held)
        waiting = [engine.ask(asks(name, pixels=count)) for name, count in pixels.items()]
        await found(engine, *waiting)
        held.let()
        await asyncio.gather(*(asked.answer() for asked in [begun, *waiting]))

    run(rag, work)
    assert held.batches == [["first"], ["a", "b"], ["c"], ["d"], ["e", "f"]]


def test_one_line_for_those_of_one_kind(rag: RagVqa, held: HeldReader) -> None:
    async def work(engine: Engine) -> None:
        begun = await first(engine, held)
        waiting = [engine.ask(asks(f"q{n}")) for n in range(6)]
        await found(engine, *waiting)
        held.let()
        await asyncio.gather(*(asked.answer() for asked in [begun, *waiting]))

    run(rag, work, batch=2)
    assert held.batches == [["first"], ["q0", "q1"], ["q2", "q3"], ["q4", "q5"]]


def test_who_is_being_retrieved_is_read_with_who_was_found(
    rag: RagVqa, held: HeldReader, encoder: Any
) -> None:
    gate, encode = threading.Event(), encoder.encode_queries

    def gated(queries: list[Query]) -> Any:
        assert gate.wait(PATIENCE)
        return encode(queries)

    async def work(engine: Engine) -> None:
        encoder.encode_queries = gated
        alone = engine.ask(asks("alone"))
        while engine.retrieval_count:  # it is taken, and held
            await asyncio.sleep(0)
        late = [engine.ask(asks("late")), engine.ask(asks("later"))]
        gate.set()
        held.let()
        await asyncio.gather(*(asked.answer() for asked in [alone, *late]))

    run(rag, work)
    assert held.batches == [["alone", "late", "later"]]


def test_two_batches_at_once_where_the_reader_gains_by_it(rag: RagVqa, held: HeldReader) -> None:
    async def work(engine: Engine) -> None:
        asked = [await first(engine, held), await first(engine, held)]  # both are held
        assert engine.reading_count == 2
        asked += [engine.ask(asks(f"q{n}")) for n in range(5)]
        await found(engine, *asked[2:])
        assert engine.waiting_count == 5
        held.let()
        await asyncio.gather(*(one.answer() for one in asked))

    held.parallel_calls = 2
    run(rag, work)
    assert held.batches[:2] == [["first"], ["first"]]


def test_who_is_found_together_is_shared_among_the_threads(rag: RagVqa, held: HeldReader) -> None:
    async def work(engine: Engine) -> None:
        gate = threading.Event()
        held_up = asyncio.create_task(engine.run_in_retriever(lambda: gate.wait(PATIENCE)))
        await asyncio.sleep(0)
        asked = [engine.ask(asks(f"q{n}")) for n in range(4)]
        gate.set()
        await off(held.begins)
        await off(held.begins)  # the second begins while the first is held
        held.let()
        await asyncio.gather(held_up, *(one.answer() for one in asked))

    held.parallel_calls = 2
    run(rag, work)
    assert sorted(held.batches) == [["q0", "q1"], ["q2", "q3"]]


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
