"""Runs an engine in its own event loop, with a reader that the test holds, and asks questions."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from held_reader import PATIENCE, HeldReader

from rag_vqa.errors import RagVqaError
from rag_vqa.pipeline import RagVqa
from rag_vqa.server.engine.engine import Engine
from rag_vqa.server.engine.request_queue import PendingQuestion, Question
from rag_vqa.types import Query

WHOLE = "word 0 word 1 word 2 word 3"


def run(rag: RagVqa, work: Callable[[Engine], Awaitable[None]], **options: int) -> Engine:
    """Run `work` with a started engine, in its own event loop."""
    reader: Any = rag.reader

    async def whole() -> Engine:
        engine = Engine(rag, **options)
        warming = 2 if reader.parallel_calls == 1 else 6  # batches of two tokens
        reader.let(2 * warming)
        await engine.start()
        for _ in range(warming):
            await off(reader.begins)
        reader.batches.clear()
        try:
            async with asyncio.timeout(PATIENCE):
                await work(engine)
        finally:
            reader.let()
            engine.stop()
        return engine

    return asyncio.run(whole())


def asks(text: str, **given: Any) -> Question:
    return Question(Query(text), **given)


async def off(call: Callable[[], object]) -> None:
    """Wait for a thread without blocking the loop."""
    await asyncio.to_thread(call)


async def found(engine: Engine, *asked: PendingQuestion) -> None:
    """Wait until all of them are retrieved and queued for the reader."""
    for one in asked:
        assert isinstance(await anext(one), tuple)
    await engine.run_in_retriever(lambda: None)


async def refused(work: Awaitable[object], why: str) -> None:
    with pytest.raises(RagVqaError, match=why):
        await work


async def first(engine: Engine, held: HeldReader) -> PendingQuestion:
    """Ask a question, and wait until its batch has begun and is held."""
    asked = engine.ask(asks("first"))
    await off(held.begins)
    return asked
