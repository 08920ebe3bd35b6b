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
from typing import TYPE_CHECKING

from rag_vqa.answer_stream import StopSequenceFilter
from rag_vqa.errors import RagVqaError, ReaderError
from rag_vqa.prompts.citations import parse_citations
from rag_vqa.server.engine.engine_metrics import EngineMetrics
from rag_vqa.server.engine.request_queue import PendingQuestion
from rag_vqa.types import Answer, Hit, Prompt, Query

if TYPE_CHECKING:
    from rag_vqa.pipeline import RagVqa

_LOGGER = logging.getLogger("rag_vqa")


def each_alone_on_error(
    work: Callable[[Sequence[PendingQuestion]], object],
    batch: Sequence[PendingQuestion],
    figures: EngineMetrics,
) -> list[PendingQuestion]:
    """Do `work` for all together, or where that fails for each alone.

    Returns: those it was done for; the others are told what went wrong.
    """
    try:
        work(batch)
        return list(batch)
    except Exception as error:  # noqa: BLE001 - a thread that ends would leave everybody waiting
        if len(batch) == 1:
            _fail_question(batch[0], error, figures)
            return []
    return [asked for one in batch for asked in each_alone_on_error(work, [one], figures)]


def answer_batch(rag: RagVqa, batch: Sequence[PendingQuestion], figures: EngineMetrics) -> None:
    """Answer all of a batch, from the hits that they have."""
    now = time.perf_counter()
    for asked in batch:
        asked.reading = True
        asked.seconds["wait"] = now - asked.since - asked.seconds.get("retrieve", 0.0)
    if rag.filter is not None:
        batch = each_alone_on_error(lambda some: _select(rag, some), batch, figures)
    rows: list[_Row] = []
    each_alone_on_error(
        lambda some: rows.extend([_make_row(rag, asked) for asked in some]), batch, figures
    )
    _read_rows(rag, rows, figures)


@dataclass(slots=True)
class _Row:
    asked: PendingQuestion
    prompt: Prompt
    telling: StopSequenceFilter


def _select(rag: RagVqa, batch: Sequence[PendingQuestion]) -> None:
    start = time.perf_counter()
    found = rag.select([asked.question.query for asked in batch], [asked.hits for asked in batch])
    seconds = time.perf_counter() - start
    for asked, hits in zip(batch, found, strict=True):
        asked.hits = tuple(hits)
        asked.seconds["select"] = seconds
        asked.tell(asked.hits)


def _make_row(rag: RagVqa, asked: PendingQuestion) -> _Row:
    prompt = rag.prompt(asked.question.query, asked.hits)
    return _Row(asked, prompt, StopSequenceFilter(asked.tell, asked.question.stop))


def _read_rows(rag: RagVqa, rows: Sequence[_Row], figures: EngineMetrics) -> None:
    """Where reading all of them fails, each that was told nothing yet is read alone."""
    rows = [row for row in rows if not row.asked.cancelled]
    if not rows:
        return
    start = time.perf_counter()

    def on_text(number: int, piece: str) -> bool:
        row = rows[number]
        return not row.asked.cancelled and row.telling.hear(piece)

    try:
        answers = rag.read(
            [row.asked.question.query for row in rows],
            [row.asked.hits for row in rows],
            [row.prompt for row in rows],
            on_text,
            [row.asked.question.max_tokens for row in rows],
        )
    except Exception as error:  # noqa: BLE001 - as above
        for row in rows:
            if len(rows) == 1 or row.telling.has_text:
                _fail_question(row.asked, error, figures)
            else:
                _read_rows(rag, [row], figures)
        return
    figures.batch(len(rows), time.perf_counter() - start)
    for row, answer in zip(rows, answers, strict=True):
        try:
            _finish_row(row, answer, figures)
        except Exception as error:  # noqa: BLE001 - as above
            _fail_question(row.asked, error, figures)


def _finish_row(row: _Row, answer: Answer, figures: EngineMetrics) -> None:
    if row.asked.cancelled:
        return
    if answer.finish == "failed":
        _fail_question(row.asked, ReaderError(answer.error), figures)
        return
    row.telling.end()
    seconds = {**row.asked.seconds, **answer.seconds}
    answer = replace(_cut_at_stop(answer, row.telling), seconds=seconds)
    figures.answer(answer, seconds)
    row.asked.tell(answer)


def _cut_at_stop(answer: Answer, telling: StopSequenceFilter) -> Answer:
    """The answer up to its stop text, if one came."""
    if not telling.stopped:
        return answer
    text = telling.text.strip()
    there, invalid = parse_citations(text, len(answer.prompt.kept))
    return replace(answer, text=text, finish="stop", citations=there, invalid_citations=invalid)


def _fail_question(asked: PendingQuestion, error: Exception, figures: EngineMetrics) -> None:
    figures.count("failed")
    if isinstance(error, RagVqaError):
        asked.fail(error)
        return
    # Its words may be the question's, which nobody is to log: what it is, and where.
    at = traceback.extract_tb(error.__traceback__)[-1]
    _LOGGER.error("%s at %s:%s, while answering", type(error).__name__, at.filename, at.lineno)
    asked.fail(RagVqaError("The question could not be answered: an error of ours, now logged."))


def warm_retriever(rag: RagVqa) -> tuple[Hit, ...]:
    """What it finds for a grey picture; nothing where nothing is retrieved."""
    return tuple(rag.retrieve([_blank_query()])[0]) if rag.k else ()


def warm_reader(rag: RagVqa, hits: Sequence[Hit]) -> None:
    """A batch of one and one of two: a model may go other ways for them."""
    prompt = rag.prompt(_blank_query(), hits)
    for rows in (1, 2):
        rag.read([_blank_query()] * rows, [hits] * rows, [prompt] * rows, None, [2] * rows)


def _blank_query() -> Query:
    from PIL import Image

    return Query("What is this?", Image.new("RGB", (64, 64), "grey"))
