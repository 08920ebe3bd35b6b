"""A batch of questions, from their hits to their answers, each told to whoever asked.

It knows that one question's failure, length, end or cancelling is no other's matter. It does not
know threads, queues, or who is in a batch.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rag_vqa.errors import RagVqaError, ReaderError
from rag_vqa.prompts.citations import cited
from rag_vqa.server.figures import Figures
from rag_vqa.server.question import Asked
from rag_vqa.telling import Telling
from rag_vqa.types import Answer, Prompt

if TYPE_CHECKING:
    from rag_vqa.pipeline import RagVqa

_log = logging.getLogger("rag_vqa")


def apart(
    work: Callable[[Sequence[Asked]], object], batch: Sequence[Asked], figures: Figures
) -> list[Asked]:
    """Do `work` for all together, or where that fails for each alone.

    Returns: those it was done for; the others are told what went wrong.
    """
    try:
        work(batch)
        return list(batch)
    except Exception as error:  # noqa: BLE001 - a thread that ends would leave everybody waiting
        if len(batch) == 1:
            _fail(batch[0], error, figures)
            return []
    return [asked for one in batch for asked in apart(work, [one], figures)]


def read(rag: RagVqa, batch: Sequence[Asked], figures: Figures) -> None:
    """Answer all of a batch, from the hits that they have."""
    now = time.perf_counter()
    for asked in batch:
        asked.reading = True
        asked.seconds["wait"] = now - asked.since - asked.seconds.get("retrieve", 0.0)
    if rag.filter is not None:
        batch = apart(lambda some: _select(rag, some), batch, figures)
    rows: list[_Row] = []
    apart(lambda some: rows.extend([_row(rag, asked) for asked in some]), batch, figures)
    _answer(rag, rows, figures)


@dataclass(slots=True)
class _Row:
    asked: Asked
    prompt: Prompt
    telling: Telling


def _select(rag: RagVqa, batch: Sequence[Asked]) -> None:
    start = time.perf_counter()
    found = rag.select([asked.question.query for asked in batch], [asked.hits for asked in batch])
    seconds = time.perf_counter() - start
    for asked, hits in zip(batch, found, strict=True):
        asked.hits = tuple(hits)
        asked.seconds["select"] = seconds
        asked.tell(asked.hits)


def _row(rag: RagVqa, asked: Asked) -> _Row:
    prompt = rag.prompt(asked.question.query, asked.hits)
    return _Row(asked, prompt, Telling(asked.tell, asked.question.stop))


def _answer(rag: RagVqa, rows: Sequence[_Row], figures: Figures) -> None:
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
            if len(rows) == 1 or row.telling.spoke:
                _fail(row.asked, error, figures)
            else:
                _answer(rag, [row], figures)
        return
    figures.batch(len(rows), time.perf_counter() - start)
    for row, answer in zip(rows, answers, strict=True):
        try:
            _done(row, answer, figures)
        except Exception as error:  # noqa: BLE001 - as above
            _fail(row.asked, error, figures)


def _done(row: _Row, answer: Answer, figures: Figures) -> None:
    if row.asked.cancelled:
        return
    if answer.finish == "failed":
        _fail(row.asked, ReaderError(answer.error), figures)
        return
    row.telling.end()
    seconds = {**row.asked.seconds, **answer.seconds}
    answer = replace(_cut(answer, row.telling), seconds=seconds)
    figures.answer(answer, seconds)
    row.asked.tell(answer)


def _cut(answer: Answer, telling: Telling) -> Answer:
    """The answer up to its stop text, if one came."""
    if not telling.stopped:
        return answer
    text = telling.text.strip()
    there, invalid = cited(text, len(answer.prompt.kept))
    return replace(answer, text=text, finish="stop", citations=there, invalid_citations=invalid)


def _fail(asked: Asked, error: Exception, figures: Figures) -> None:
    figures.count("failed")
    if isinstance(error, RagVqaError):
        asked.fail(error)
        return
    # Its words may be the question's, which nobody is to log: what it is, and where.
    at = traceback.extract_tb(error.__traceback__)[-1]
    _log.error("%s at %s:%s, while answering", type(error).__name__, at.filename, at.lineno)
    asked.fail(RagVqaError("The question could not be answered: an error of ours, now logged."))
