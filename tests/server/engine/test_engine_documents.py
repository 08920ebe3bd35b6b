"""The engine: searches and document changes while questions are being read."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from engine_runs import asks, first, refused, run
from held_reader import PATIENCE, HeldReader

from rag_vqa.errors import UsageError
from rag_vqa.pipeline import RagVqa
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.server.engine.engine import Engine
from rag_vqa.server.engine.request_queue import QueueFull
from rag_vqa.types import Query


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


def test_a_search_waits_for_no_answer(rag: RagVqa, held: HeldReader) -> None:
    async def work(engine: Engine) -> None:
        await first(engine, held)  # and is never let go on
        hits = await engine.search(Query("storks nest"), 1)
        assert [hit.document.id for hit in hits] == ["stork"]
        with pytest.raises(UsageError, match="nothing to look for"):
            await engine.search(Query(" "))

    run(rag, work)


def test_what_another_process_adds_is_found_and_the_snapshot_is_told(
    rag: RagVqa, held: HeldReader, birds: Path, encoder: Any
) -> None:
    async def work(engine: Engine) -> None:
        before = engine.metrics.commit
        with KnowledgeBase.open(birds, encoder) as other:
            other.add([{"id": "owl", "text": "owls hunt at midnight"}])
        held.let()
        answer = await engine.ask(asks("owls hunt at midnight")).answer()
        assert answer.hits[0].document.id == "owl"
        assert engine.metrics.commit == before + 1
        assert 0 <= engine.metrics.snapshot_age < PATIENCE

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
        with KnowledgeBase.open(birds, encoder) as other, other.store.hold_writer_lock():
            adding = engine.add([{"id": "owl", "text": "owls"}])
            await refused(adding, "Another process is writing")

    run(rag, work)


def test_documents_are_read_however_many_are_asked_for(rag: RagVqa, held: HeldReader) -> None:
    async def work(engine: Engine) -> None:
        found = await asyncio.gather(*(engine.get("puffin") for _ in range(100)))
        assert all(document is not None for document in found)
        searches = [engine.search(Query("storks")) for _ in range(3)]
        *_, refused = await asyncio.gather(*searches, return_exceptions=True)
        assert isinstance(refused, QueueFull)

    engine = run(rag, work, queue=2)
    assert engine.metrics.counts["refused"] == 0  # of questions, which these are not


def test_a_search_says_what_answers_stand_on(rag: RagVqa, held: HeldReader) -> None:
    async def work(engine: Engine) -> None:
        before = engine.metrics.commit
        await engine.add([{"id": "wren", "text": "wrens nest in hedges"}])
        await engine.search(Query("wrens"))
        assert engine.metrics.commit > before

    run(rag, work)
