"""Runs one batch of questions from hits to answers, and warms up both models.

Knows that one question's failure, length, stop or cancellation must not affect the others. Does not
know threads, queues, or how a batch is chosen (engine.py).
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from rag_vqa.answer_stream import StopSequenceFilter
from rag_vqa.cited_answers import cut_answer
from rag_vqa.errors import RagVqaError, ReaderError
from rag_vqa.pipeline import RagVqa
from rag_vqa.server.engine.engine_metrics import EngineMetrics
from rag_vqa.server.engine.request_queue import PendingQuestion
from rag_vqa.types import Answer, Hit, Prompt, Query

_LOGGER = logging.getLogger("rag_vqa")


def each_alone_on_error(
    work: Callable[[Sequence[PendingQuestion]], object],
    batch: Sequence[PendingQuestion],
    metrics: EngineMetrics,
) -> list[PendingQuestion]:
    """Do `work` for the whole batch, or for each question alone if that fails.

    Returns the questions it succeeded for; the others receive their error.
    """
    try:
        work(batch)
        return list(batch)
    except Exception as error:  # noqa: BLE001 - a thread that ends would leave everybody waiting
        if len(batch) == 1:
            _fail_question(batch[0], error, metrics)
            return []
    return [each for one in batch for each in each_alone_on_error(work, [one], metrics)]


def answer_batch(rag: RagVqa, batch: Sequence[PendingQuestion], metrics: EngineMetrics) -> None:
    """Answer the questions of a batch from the hits that they hold."""
    now = time.perf_counter()
    for pending in batch:
        pending.is_reading = True
        pending.seconds["wait"] = now - pending.asked_at - pending.seconds.get("retrieve", 0.0)
    if rag.filter is not None:
        batch = each_alone_on_error(lambda part: _select(rag, part), batch, metrics)
    rows: list[_Row] = []
    each_alone_on_error(
        lambda part: rows.extend([_make_row(rag, pending) for pending in part]), batch, metrics
    )
    _read_rows(rag, rows, metrics)


@dataclass(slots=True)
class _Row:
    """A question in the reader's batch."""

    pending: PendingQuestion
    prompt: Prompt
    text: StopSequenceFilter


def _select(rag: RagVqa, batch: Sequence[PendingQuestion]) -> None:
    start = time.perf_counter()
    selected = rag.select(
        [pending.question.query for pending in batch], [pending.hits for pending in batch]
    )
    seconds = time.perf_counter() - start
    for pending, hits in zip(batch, selected, strict=True):
        pending.hits = tuple(hits)
        pending.seconds["select"] = seconds
        pending.emit(pending.hits)


def _make_row(rag: RagVqa, pending: PendingQuestion) -> _Row:
    prompt = rag.prompt(pending.question.query, pending.hits)
    return _Row(pending, prompt, StopSequenceFilter(pending.emit, pending.question.stop))


def _read_rows(rag: RagVqa, rows: Sequence[_Row], metrics: EngineMetrics) -> None:
    """Run the reader. If the batch fails, rows without any text yet are read again, one by one."""
    rows = [row for row in rows if not row.pending.cancelled]
    if not rows:
        return
    start = time.perf_counter()

    def on_text(number: int, piece: str) -> bool:
        row = rows[number]
        return not row.pending.cancelled and row.text.feed(piece)

    try:
        answers = rag.read(
            [row.pending.question.query for row in rows],
            [row.pending.hits for row in rows],
            [row.prompt for row in rows],
            on_text,
            [row.pending.question.max_tokens for row in rows],
        )
    except Exception as error:  # noqa: BLE001 - as above
        for row in rows:
            if len(rows) == 1 or row.text.has_text:
                _fail_question(row.pending, error, metrics)
            else:
                _read_rows(rag, [row], metrics)
        return
    metrics.record_batch(len(rows), time.perf_counter() - start)
    for row, answer in zip(rows, answers, strict=True):
        try:
            _finish_row(row, answer, metrics)
        except Exception as error:  # noqa: BLE001 - as above
            _fail_question(row.pending, error, metrics)


def _finish_row(row: _Row, answer: Answer, metrics: EngineMetrics) -> None:
    pending = row.pending
    if pending.cancelled:
        return
    if answer.finish == "failed":
        _fail_question(pending, ReaderError(answer.error), metrics)
        return
    row.text.flush()
    if row.text.stopped:
        answer = cut_answer(answer, row.text.text)
    answer = replace(answer, seconds={**pending.seconds, **answer.seconds})
    metrics.record_answer(answer)
    pending.emit(answer)


def _fail_question(pending: PendingQuestion, error: Exception, metrics: EngineMetrics) -> None:
    metrics.count("failed")
    if isinstance(error, RagVqaError):
        pending.fail(error)
        return
    # The exception's message may quote the question, which must not be logged: kind and place only.
    place = traceback.extract_tb(error.__traceback__)[-1]
    _LOGGER.error(
        "%s at %s:%s, while answering", type(error).__name__, place.filename, place.lineno
    )
    pending.fail(RagVqaError("The question could not be answered: an internal error, now logged."))


def warm_retriever(rag: RagVqa) -> tuple[Hit, ...]:
    """Retrieve for a grey picture; () if the pipeline does not retrieve."""
    return tuple(rag.retrieve([_blank_query()])[0]) if rag.k else ()


def warm_reader(rag: RagVqa, hits: Sequence[Hit]) -> None:
    """Read a batch of one and a batch of two: a model may take another code path for each."""
    prompt = rag.prompt(_blank_query(), hits)
    for rows in (1, 2):
        rag.read([_blank_query()] * rows, [hits] * rows, [prompt] * rows, None, [2] * rows)


def _blank_query() -> Query:
    from PIL import Image

    return Query("What is this?", Image.new("RGB", (64, 64), "grey"))
