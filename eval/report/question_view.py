"""Everything that a run recorded about one question: hits, prompts, answers, gold.

Knows how to collect it from a ledger. Does not know how it is displayed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rag_vqa.errors import UsageError
from rag_vqa.eval.results.judgement import JudgedAnswer, has_gold, judged_answers, stored_cells
from rag_vqa.eval.results.result_files import scorer_name
from rag_vqa.eval.run.gold import apply_level
from rag_vqa.eval.run.ledger import RETRIEVAL_STAGE, Ledger, example_from_json
from rag_vqa.eval.run.retrieval_stage import StoredHits
from rag_vqa.eval.run.spec import Cell
from rag_vqa.types import Example


@dataclass(frozen=True, slots=True)
class EvidenceView:
    """One document of an answer's evidence, or of the hits.

    Attributes:
        number: its number [n] in the prompt, from 1; 0 if the reader did not see it.
        score: of retrieval; None if the oracle gave it.
        right: it is a gold document.
        dropped: why the document, or one of its pictures, is not in the prompt.
    """

    id: str
    number: int
    score: float | None
    right: bool
    dropped: str = ""


@dataclass(frozen=True, slots=True)
class AnswerView:
    """The answer of one cell to a question.

    Attributes:
        answer: None if there is none; `error` says why.
        evidence: the documents that the cell used, in order.
        prompt: its readable text.
    """

    cell: Cell
    answer: JudgedAnswer | None
    error: str = ""
    evidence: Sequence[EvidenceView] = ()
    prompt: str = ""


@dataclass(frozen=True, slots=True)
class QuestionView:
    """One question with everything that a run recorded about it.

    Attributes:
        found: all hits.
        error: why retrieval failed; "" if it did not.
        answers: one of each cell.
    """

    position: int
    example: Example
    found: Sequence[EvidenceView]
    error: str
    answers: Sequence[AnswerView]


def question_view(ledger: Ledger, identity: str, cell: str | None = None) -> QuestionView:
    """Everything about the question of that id; only of one cell if it is named.

    Raises:
        UsageError: there is no such question or cell.
        Missing: the answers are not scored yet.
    """
    rows = ledger.rows("SELECT position, body FROM examples WHERE id = ?", (identity,))
    row = next(rows, None)
    if row is None:
        raise UsageError(
            f"{ledger.folder} has no question {identity!r}. answers.jsonl lists the ids."
        )
    position, example = row[0], example_from_json(json.loads(row[1]))
    wanted = stored_cells(ledger) if cell is None else [find_cell(ledger, cell)]
    hits = _stored_hits(ledger, position, example)
    ranked = hits.ids if hits else []
    return QuestionView(
        position,
        example,
        [_document_view(example, hits, name) for name in ranked],
        _failure_message(ledger, RETRIEVAL_STAGE, position),
        [answer_view(ledger, one, position) for one in wanted],
    )


def find_cell(ledger: Ledger, name: str) -> Cell:
    """The cell of that name.

    Raises:
        UsageError: there is no such cell; the message lists the names.
    """
    cells = stored_cells(ledger)
    for cell in cells:
        if cell.name == name:
            return cell
    listed = ", ".join(repr(cell.name) for cell in cells) or "none: it only retrieved"
    raise UsageError(f"{ledger.folder} has no cell {name!r}. It has {listed}.")


def answer_view(ledger: Ledger, cell: Cell, position: int) -> AnswerView:
    """The answer of one cell to the question at a position."""
    answer = next(judged_answers(ledger, cell, scorer_name(ledger), position), None)
    if answer is None:
        error = _failure_message(ledger, cell.name, position)
        return AnswerView(cell, None, error or "not answered yet")
    query = "SELECT key FROM answers WHERE cell = ? AND position = ?"
    [(key,)] = ledger.rows(query, (cell.name, position))
    return AnswerView(cell, answer, "", _answer_evidence(ledger, answer), ledger.prompt(key))


def _answer_evidence(ledger: Ledger, row: JudgedAnswer) -> list[EvidenceView]:
    """The documents that a cell used; at the end those that its filter removed."""
    hits = (
        _stored_hits(ledger, row.position, row.example) if row.cell.condition != "oracle" else None
    )
    answer = row.answer
    numbers = {name: number for number, name in enumerate(answer["kept"], 1)}
    found = [
        _document_view(row.example, hits, name, numbers.get(name, 0), _dropped_reason(answer, name))
        for name in answer["documents"]
    ]
    if row.cell.condition == "filtered" and hits:
        left = [name for name in hits.ids[: row.cell.k] if name not in answer["documents"]]
        found += [
            _document_view(row.example, hits, name, 0, "the filter removed it") for name in left
        ]
    return found


def _document_view(
    example: Example, hits: StoredHits | None, name: str, number: int = 0, dropped: str = ""
) -> EvidenceView:
    if hits is None:  # the oracle gives gold documents only
        return EvidenceView(name, number, None, True, dropped)
    score = hits.scores[hits.ids.index(name)] if name in hits.ids else None
    return EvidenceView(name, number, score, has_gold(example, [name], hits.parents), dropped)


def _dropped_reason(answer: Mapping[str, Any], name: str) -> str:
    """Why a document, or its pictures, did not fit into the prompt.

    `dropped` calls pictures `id#1`, `id#2`, …, which may be ids of other documents, too.
    """
    own = re.compile(rf"{re.escape(name)}#\d+")
    reasons = [
        why if what == name else f"a picture: {why}"
        for what, why in answer["dropped"].items()
        if what == name or (own.fullmatch(what) and what not in answer["documents"])
    ]
    return "; ".join(dict.fromkeys(reasons))


def _stored_hits(ledger: Ledger, position: int, example: Example) -> StoredHits | None:
    rows = ledger.rows("SELECT body FROM hits WHERE position = ?", (position,))
    return next(
        (apply_level(ledger, example, StoredHits.from_bytes(body)) for (body,) in rows), None
    )


def _failure_message(ledger: Ledger, stage: str, position: int) -> str:
    query = "SELECT error FROM failed WHERE cell = ? AND position = ?"
    return next((error for (error,) in ledger.rows(query, (stage, position))), "")


def question_picture(example: Example) -> Path | None:
    """The file of the question's picture; None if it has none."""

    image = example.query.image
    return Path(image) if isinstance(image, str | Path) else None
