"""Scores of a run's answers, kept in its ledger: a scorer that takes long goes on where it was.

Knows which answers lack a score. Does not know rules (`rag_vqa.eval.scoring`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TypeAlias

from rag_vqa.eval.answers import strip_citations
from rag_vqa.eval.run.cells import Cell
from rag_vqa.eval.run.ledger import Ledger
from rag_vqa.eval.run.records import example_of
from rag_vqa.eval.scoring import Scored, Scorer
from rag_vqa.types import Example

_BATCH = 256
_Row: TypeAlias = tuple[str, int, str, Example, str]  # cell, position, key, question, answer


def score_answers(
    ledger: Ledger, scorer: Scorer, on_progress: Callable[[int], object] | None = None
) -> None:
    """Score whatever has no score by this scorer yet, a batch a transaction.

    Raises:
        BadInput: a question whose right answers cannot be scored by.
    """
    done = 0
    for batch in _unscored(ledger, scorer.name):
        _score(ledger, scorer, batch)
        done += len(batch)
        if on_progress is not None:
            on_progress(done)


def has_answer(example: Example) -> bool:
    """Whether the question says what is right; own sets need not, and are then not scored."""
    return bool(example.answers or example.references or example.unanswerable)


def check_scorable(ledger: Ledger, scorer: Scorer) -> None:
    """Look at what is right before anything is asked.

    Raises:
        BadInput: a question that this scorer cannot score.
    """
    for _, example in ledger.examples():
        if has_answer(example):
            scorer.check(example)


def _score(ledger: Ledger, scorer: Scorer, batch: Sequence[_Row]) -> None:
    batch = [row for row in batch if has_answer(row[3])]
    examples, texts = [row[3] for row in batch], [row[4] for row in batch]
    scores = scorer.score(examples, texts)
    rows = [
        (
            scorer.name, cell, position, key, score,
            score < 1 and scorer.lenient(example, text), scorer.cut(example, text),
        )
        for (cell, position, key, example, text), score in zip(batch, scores, strict=True)
    ]  # fmt: skip
    with ledger.commit():
        ledger.write("INSERT OR REPLACE INTO scores VALUES (?, ?, ?, ?, ?, ?, ?)", rows)


def _unscored(ledger: Ledger, scorer: str) -> Iterator[list[_Row]]:
    query = """
        SELECT a.cell, a.position, a.key, e.body, a.body FROM answers a
        JOIN examples e USING (position)
        LEFT JOIN scores s ON s.scorer = ? AND s.cell = a.cell AND s.position = a.position
        WHERE (s.key IS NULL OR s.key <> a.key) AND (a.cell, a.position) > (?, ?)
        ORDER BY a.cell, a.position LIMIT ?"""
    last: tuple[str, int] = ("", -1)
    while rows := list(ledger.rows(query, (scorer, *last, _BATCH))):
        yield [
            (cell, position, key, example_of(json.loads(example)), _said(body))
            for cell, position, key, example, body in rows
        ]
        last = rows[-1][0], rows[-1][1]


def _said(body: str) -> str:
    answer = json.loads(body)
    return said(answer["prediction"], answer["citations"])


def said(prediction: str, citations: Collection[int]) -> str:
    """What is scored of an answer. A citation is no part of it: official rules would read [1] as a
    number. Other numbers in brackets are."""
    return strip_citations(prediction, citations)


def scored(ledger: Ledger, cell: Cell, scorer: str) -> Iterator[Scored]:
    """The scored answers of a cell, in the order of the questions."""
    query = """SELECT e.body, a.body, s.score FROM scores s JOIN answers a USING (cell, position)
        JOIN examples e USING (position) WHERE s.scorer = ? AND s.cell = ? ORDER BY s.position"""
    for question, body, score in ledger.rows(query, (scorer, cell.name)):
        yield example_of(json.loads(question)), _said(body), score
