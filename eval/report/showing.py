"""One question of a run, whole: what was asked, found, shown and said, and what would be right.

Knows how to gather it from a ledger. Does not know how it is put before people.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rag_vqa.errors import UsageError
from rag_vqa.eval.report.reading import scorer_of
from rag_vqa.eval.results.causes import given
from rag_vqa.eval.results.levels import at_level
from rag_vqa.eval.results.rows import Judged, cells, judged
from rag_vqa.eval.run.cells import Cell
from rag_vqa.eval.run.ledger import Ledger
from rag_vqa.eval.run.records import example_of
from rag_vqa.eval.run.retrieving import STAGE, Kept
from rag_vqa.types import Example


@dataclass(frozen=True, slots=True)
class Evidence:
    """One document.

    Attributes:
        number: [n] of the prompt, from 1; 0: the reader did not see it.
        score: of retrieval; None where it was given, not found.
        right: it is among what holds the answer.
        dropped: why it, or a picture of it, did not fit into the prompt.
    """

    id: str
    number: int
    score: float | None
    right: bool
    dropped: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """One answer to a question.

    Attributes:
        answer: None where there is none: `error` says why.
        evidence: what the cell was given, in order.
        prompt: as people read it.
    """

    cell: Cell
    answer: Judged | None
    error: str = ""
    evidence: Sequence[Evidence] = ()
    prompt: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """One question with all that a run knows of it.

    Attributes:
        found: what retrieval found, as deep as the run looked.
        error: why nothing could be searched for.
    """

    position: int
    example: Example
    found: Sequence[Evidence]
    error: str
    told: Sequence[Told]


def question(ledger: Ledger, identity: str, cell: str | None = None) -> Question:
    """Everything on the question of that id; of one cell alone if it is named.

    Raises:
        UsageError: there is no such question, or cell.
        Missing: its answers are not scored yet.
    """
    rows = ledger.rows("SELECT position, body FROM examples WHERE id = ?", (identity,))
    found = next(rows, None)
    if found is None:
        raise UsageError(
            f"{ledger.folder} asks no question {identity!r}. Its ids stand in answers.jsonl."
        )
    position, example = found[0], example_of(json.loads(found[1]))
    wanted = cells(ledger) if cell is None else [named(ledger, cell)]
    kept = _kept(ledger, position, example)
    ranked = kept.ids if kept else []
    return Question(
        position,
        example,
        [_document(example, kept, name) for name in ranked],
        _error(ledger, STAGE, position),
        [told(ledger, one, position) for one in wanted],
    )


def named(ledger: Ledger, name: str) -> Cell:
    """The cell of that name.

    Raises:
        UsageError: there is none; lists those that there are.
    """
    there = cells(ledger)
    for cell in there:
        if cell.name == name:
            return cell
    listed = ", ".join(repr(cell.name) for cell in there) or "none: it only retrieved"
    raise UsageError(f"{ledger.folder} has no cell {name!r}. It has {listed}.")


def told(ledger: Ledger, cell: Cell, position: int) -> Told:
    """What one cell answered to the question at a position."""
    answer = next(judged(ledger, cell, scorer_of(ledger), position), None)
    if answer is None:
        error = _error(ledger, cell.name, position)
        return Told(cell, None, error or "not answered yet")
    query = "SELECT key FROM answers WHERE cell = ? AND position = ?"
    [(key,)] = ledger.rows(query, (cell.name, position))
    return Told(cell, answer, "", _evidence(ledger, answer), ledger.prompt(key))


def _evidence(ledger: Ledger, row: Judged) -> list[Evidence]:
    """What the cell was given; where a filter left some of the first k out, these at the end."""
    kept = _kept(ledger, row.position, row.example) if row.cell.condition != "oracle" else None
    answer = row.answer
    numbers = {name: number for number, name in enumerate(answer["kept"], 1)}
    found = [
        _document(row.example, kept, name, numbers.get(name, 0), _dropped(answer, name))
        for name in answer["documents"]
    ]
    if row.cell.condition == "filtered" and kept:
        left = [name for name in kept.ids[: row.cell.k] if name not in answer["documents"]]
        found += [_document(row.example, kept, name, 0, "the filter left it out") for name in left]
    return found


def _document(
    example: Example, kept: Kept | None, name: str, number: int = 0, dropped: str = ""
) -> Evidence:
    if kept is None:  # the oracle gives what is right
        return Evidence(name, number, None, True, dropped)
    score = kept.scores[kept.ids.index(name)] if name in kept.ids else None
    return Evidence(name, number, score, given(example, [name], kept.parents), dropped)


def _dropped(answer: Mapping[str, Any], name: str) -> str:
    """Why a document, or pictures of it, did not fit: `dropped` names these `id#1`, `id#2`, …,
    which may as well be the ids of other documents."""
    own = re.compile(rf"{re.escape(name)}#\d+")
    reasons = [
        why if what == name else f"a picture: {why}"
        for what, why in answer["dropped"].items()
        if what == name or (own.fullmatch(what) and what not in answer["documents"])
    ]
    return "; ".join(dict.fromkeys(reasons))


def _kept(ledger: Ledger, position: int, example: Example) -> Kept | None:
    rows = ledger.rows("SELECT body FROM hits WHERE position = ?", (position,))
    return next((at_level(ledger, example, Kept.read(body)) for (body,) in rows), None)


def _error(ledger: Ledger, stage: str, position: int) -> str:
    query = "SELECT error FROM failed WHERE cell = ? AND position = ?"
    return next((error for (error,) in ledger.rows(query, (stage, position))), "")


def picture(example: Example) -> Path | None:
    """File of the question's picture; None where it has none."""
    image = example.query.image
    return Path(image) if isinstance(image, str | Path) else None
