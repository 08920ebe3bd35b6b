"""Every answer of a cell with its question, its score and its cause, one at a time.

Knows how a ledger's tables belong together. Does not know what is made of the rows.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rag_vqa.errors import UsageError
from rag_vqa.eval.results.causes import Cause, Found, cause_of, enough, found, given
from rag_vqa.eval.results.levels import at_level
from rag_vqa.eval.results.scores import has_answer
from rag_vqa.eval.run.cells import Cell
from rag_vqa.eval.run.gold import is_there
from rag_vqa.eval.run.ledger import Ledger
from rag_vqa.eval.run.records import example_of
from rag_vqa.eval.run.retrieving import Kept
from rag_vqa.types import Example


@dataclass(frozen=True, slots=True)
class Judged:
    """One answer.

    Attributes:
        answer: as the ledger has it: prediction, documents, kept, dropped, …
        shown: whether what is needed was in the prompt.
        cited: whether a right document is cited.
        score: None where the question does not say what is right.
        cut: the scorer read only its beginning.
        cause: of a failure (a score below 1); "" of any other answer.
    """

    position: int
    example: Example
    cell: Cell
    answer: dict[str, Any]
    score: float | None
    lenient: bool
    cut: bool
    found: Found
    shown: bool
    cited: bool
    cause: Cause | str


def cells(ledger: Ledger) -> list[Cell]:
    """All that the ledger answers, in the order of the table."""
    return [Cell(**fields) for fields in ledger.meta("cells", [])]


class Asked:
    """The last question with its hits: cells that go through a run side by side share it."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._place = -1

    def at(self, place: int, question: str, hits: bytes | None) -> tuple[Example, Kept | None]:
        """From the ledger's bytes, which are the same for each cell."""
        if place != self._place:
            example = example_of(json.loads(question))
            kept = None if hits is None else at_level(self._ledger, example, Kept.read(hits))
            self._place, self._last = place, (example, kept)
        return self._last


def all_judged(ledger: Ledger, scorer: str) -> Iterator[Judged]:
    """All answers: by question, then in the order of the cells."""
    asked = Asked(ledger)
    streams = [judged(ledger, cell, scorer, asked=asked) for cell in cells(ledger)]
    yield from heapq.merge(*streams, key=lambda row: row.position)  # equal ones: by stream


def judged(
    ledger: Ledger,
    cell: Cell,
    scorer: str,
    position: int | None = None,
    asked: Asked | None = None,
) -> Iterator[Judged]:
    """The answers of a cell, in the order of the questions; of one position alone if given."""
    asked = asked or Asked(ledger)
    one = "" if position is None else f"AND a.position = {int(position)}"
    query = f"""
        SELECT a.position, e.body, a.body, s.score, s.lenient, s.cut, h.body FROM answers a
        JOIN examples e USING (position)
        LEFT JOIN scores s ON s.scorer = ? AND s.cell = a.cell AND s.position = a.position
        LEFT JOIN hits h ON h.position = a.position
        WHERE a.cell = ? {one} ORDER BY a.position"""
    for place, question, body, *scored, hits in ledger.rows(query, (scorer, cell.name)):
        (example, kept), answer = asked.at(place, question, hits), json.loads(body)
        score, lenient, cut = scored
        if score is None and has_answer(example):
            raise UsageError(
                f"{ledger.folder}: not scored yet: rag-vqa eval report {ledger.folder}"
            )
        marks = score, bool(lenient), bool(cut)
        yield _judged(ledger, cell, place, example, answer, marks, kept)


def _judged(
    ledger: Ledger,
    cell: Cell,
    position: int,
    example: Example,
    answer: dict[str, Any],
    marks: tuple[float | None, bool, bool],
    kept: Kept | None,
) -> Judged:
    score, lenient, cut = marks
    cited = [answer["kept"][number - 1] for number in answer["citations"]]
    if cell.condition == "oracle":  # whatever is given is right
        shown, right = bool(answer["kept"]), bool(cited)
    else:
        parents = kept.parents if kept else {}
        shown = enough(example, answer["kept"], parents)
        right = given(example, cited, parents)
    used = kept if cell.condition != "oracle" else None
    cause: Cause | str = ""
    if score is not None and score < 1:
        there = cell.condition == "none" or is_there(ledger, example)
        cause = cause_of(
            example, cell, answer, used, lenient=lenient, gold_there=there, shown=shown
        )
    return Judged(
        position,
        example,
        cell,
        answer,
        score,
        lenient,
        cut,
        found(example, cell, kept),
        shown,
        right,
        cause,
    )
