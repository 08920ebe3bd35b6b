"""Judgement: the score of each answer, and one cause for each failure.

Knows which answers lack a score (a slow scorer resumes where it stopped), and what a question
needed, what was found, shown and answered. The first cause that holds, in the order of `Cause`, is
the cause. Does not know the rules of scoring (`rag_vqa.eval.scoring`), or sums.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from rag_vqa.errors import UsageError
from rag_vqa.eval.answers import strip_citations
from rag_vqa.eval.run.conditions import Cell
from rag_vqa.eval.run.gold import apply_level, has_gold_document
from rag_vqa.eval.run.ledger import Ledger, example_from_json
from rag_vqa.eval.run.retrieval_stage import StoredHits
from rag_vqa.formats.benchmark import Scored, Scorer
from rag_vqa.types import Example

_SCORE_BATCH = 256
_UnscoredRow: TypeAlias = tuple[
    str, int, str, Example, str
]  # cell, position, key, question, answer
Cause: TypeAlias = Literal[
    "scorer-sensitive",  # a laxer reading would count it: look at the form, not at the evidence
    "image missing",  # the question's picture is not there
    "answered though unanswerable",  # nothing is right to say, and something was said
    "no evidence given",  # the condition gives none
    "no gold named",  # the question does not say what would have been right to find
    "gold not in the knowledge base",
    "not retrieved",  # among the first k; `rank` and `gap` say how far off
    "filtered",  # found, and the filter left it out
    "dropped by the budget",  # found, and it did not fit into the prompt
    "misread",  # the reader was shown it
]
_TWO_HOP = "2_hop"  # Encyclopedic-VQA's: the answer is on the second page, found by the first


def score_answers(
    ledger: Ledger, scorer: Scorer, on_progress: Callable[[int], object] | None = None
) -> None:
    """Score whatever has no score by this scorer yet, a batch a transaction.

    Raises:
        BadInput: a question whose right answers cannot be scored by.
    """
    done = 0
    for batch in _unscored_rows(ledger, scorer.name):
        _score_batch(ledger, scorer, batch)
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


def _score_batch(ledger: Ledger, scorer: Scorer, batch: Sequence[_UnscoredRow]) -> None:
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


def _unscored_rows(ledger: Ledger, scorer: str) -> Iterator[list[_UnscoredRow]]:
    query = """
        SELECT a.cell, a.position, a.key, e.body, a.body FROM answers a
        JOIN examples e USING (position)
        LEFT JOIN scores s ON s.scorer = ? AND s.cell = a.cell AND s.position = a.position
        WHERE (s.key IS NULL OR s.key <> a.key) AND (a.cell, a.position) > (?, ?)
        ORDER BY a.cell, a.position LIMIT ?"""
    last: tuple[str, int] = ("", -1)
    while rows := list(ledger.rows(query, (scorer, *last, _SCORE_BATCH))):
        yield [
            (cell, position, key, example_from_json(json.loads(example)), _scored_text_of(body))
            for cell, position, key, example, body in rows
        ]
        last = rows[-1][0], rows[-1][1]


def _scored_text_of(body: str) -> str:
    answer = json.loads(body)
    return scored_text(answer["prediction"], answer["citations"])


def scored_text(prediction: str, citations: Collection[int]) -> str:
    """What is scored of an answer. A citation is no part of it: official rules would read [1] as a
    number. Other numbers in brackets are."""
    return strip_citations(prediction, citations)


def scored_answers(ledger: Ledger, cell: Cell, scorer: str) -> Iterator[Scored]:
    """The scored answers of a cell, in the order of the questions."""
    query = """SELECT e.body, a.body, s.score FROM scores s JOIN answers a USING (cell, position)
        JOIN examples e USING (position) WHERE s.scorer = ? AND s.cell = ? ORDER BY s.position"""
    for question, body, score in ledger.rows(query, (scorer, cell.name)):
        yield example_from_json(json.loads(question)), _scored_text_of(body), score


@dataclass(frozen=True, slots=True)
class GoldRank:
    """Where the right documents of a question stand.

    Attributes:
        rank: of the first right one in all that was found, at the question's level, from 1;
            0: it is not among them.
        gap: what it scored below the last document that was shown; None where it was shown, or
            was not found at all.
    """

    rank: int = 0
    gap: float | None = None


def gold_ids(example: Example, kept: StoredHits) -> list[str]:
    """Documents among those found that are right; `kept` is of `levels.at_level`."""
    return [i for i in kept.ids if kept.parents.get(i, i) in example.relevant]


def find_gold(example: Example, cell: Cell, kept: StoredHits | None) -> GoldRank:
    """Where the first right document stands; of cells that show k documents, how far off."""
    if kept is None or not example.relevant:
        return GoldRank()
    right = gold_ids(example, kept)
    if not right:
        return GoldRank()
    place = kept.ids.index(right[0])
    rank = len({kept.parents.get(i, i) for i in kept.ids[: place + 1]})
    gap = None
    if cell.condition in ("retrieved", "filtered") and place >= cell.k:
        gap = kept.scores[cell.k - 1] - kept.scores[place]
    return GoldRank(rank, gap)


def has_gold(example: Example, shown: Iterable[str], parents: Mapping[str, str]) -> bool:
    """Whether any of these documents is right; `parents` are of `levels.at_level`."""
    return any(parents.get(name, name) in example.relevant for name in shown)


def has_all_gold(example: Example, shown: Iterable[str], parents: Mapping[str, str]) -> bool:
    """Whether these documents can answer: of two hops both pages are needed, else any right one."""
    if example.kind != _TWO_HOP:
        return has_gold(example, shown, parents)
    return set(example.relevant) <= {parents.get(name, name) for name in shown}


def cause_of(
    example: Example,
    cell: Cell,
    answer: dict[str, Any],
    kept: StoredHits | None,
    *,
    lenient: bool,
    gold_there: bool,
    shown: bool,
) -> Cause:
    """The cause of a failure.

    Args:
        answer: as the ledger has it.
        kept: what was found; None of cells without retrieval.
        lenient: a laxer scorer would count the answer.
        gold_there: the knowledge base holds what is right.
        shown: what is needed was in the prompt, see `has_all_gold`.
    """
    if lenient:
        return "scorer-sensitive"
    if example.missing:
        return "image missing"
    if example.unanswerable:
        return "answered though unanswerable"
    if cell.condition == "none":
        return "no evidence given"
    if not example.relevant:
        return "no gold named"
    if not gold_there:
        return "gold not in the knowledge base"
    if shown:
        return "misread"
    if cell.condition != "oracle" and not _in_first_k(example, cell, kept):
        return "not retrieved"
    return "dropped by the budget" if _reached_prompt_builder(example, answer, kept) else "filtered"


def _in_first_k(example: Example, cell: Cell, kept: StoredHits | None) -> bool:
    return kept is not None and has_all_gold(example, kept.ids[: cell.k], kept.parents)


def _reached_prompt_builder(
    example: Example, answer: dict[str, Any], kept: StoredHits | None
) -> bool:
    """Whether what is needed got as far as the prompt's builder (oracle: always)."""
    return kept is None or has_all_gold(example, answer["documents"], kept.parents)


@dataclass(frozen=True, slots=True)
class JudgedAnswer:
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
    found: GoldRank
    shown: bool
    cited: bool
    cause: Cause | str


def stored_cells(ledger: Ledger) -> list[Cell]:
    """All that the ledger answers, in the order of the table."""
    return [Cell(**fields) for fields in ledger.meta("cells", [])]


class QuestionCache:
    """The last question with its hits: cells that go through a run side by side share it."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._place = -1
        self._there: bool | None = None  # looked up for failures alone, once a question

    def at(
        self, place: int, question: str, hits: bytes | None
    ) -> tuple[Example, StoredHits | None]:
        """From the ledger's bytes, which are the same for each cell."""
        if place != self._place:
            example = example_from_json(json.loads(question))
            kept = (
                None if hits is None else apply_level(self._ledger, example, StoredHits.read(hits))
            )
            self._place, self._last, self._there = place, (example, kept), None
        return self._last

    def is_there(self) -> bool:
        """Whether the knowledge base holds what the last question asks for."""
        if self._there is None:
            self._there = has_gold_document(self._ledger, self._last[0])
        return self._there


def all_judged_answers(ledger: Ledger, scorer: str) -> Iterator[JudgedAnswer]:
    """All answers: by question, then in the order of the cells."""
    asked = QuestionCache(ledger)
    streams = [judged_answers(ledger, cell, scorer, asked=asked) for cell in stored_cells(ledger)]
    yield from heapq.merge(*streams, key=lambda row: row.position)  # equal ones: by stream


def judged_answers(
    ledger: Ledger,
    cell: Cell,
    scorer: str,
    position: int | None = None,
    asked: QuestionCache | None = None,
) -> Iterator[JudgedAnswer]:
    """The answers of a cell, in the order of the questions; of one position alone if given."""
    asked = asked or QuestionCache(ledger)
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
        yield _judge(asked, cell, place, example, answer, marks, kept)


def _judge(
    asked: QuestionCache,
    cell: Cell,
    position: int,
    example: Example,
    answer: dict[str, Any],
    marks: tuple[float | None, bool, bool],
    kept: StoredHits | None,
) -> JudgedAnswer:
    score, lenient, cut = marks
    cited = [answer["kept"][number - 1] for number in answer["citations"]]
    if cell.condition == "oracle":  # whatever is given is right
        shown, right = bool(answer["kept"]), bool(cited)
    else:
        parents = kept.parents if kept else {}
        shown = has_all_gold(example, answer["kept"], parents)
        right = has_gold(example, cited, parents)
    used = kept if cell.condition != "oracle" else None
    cause: Cause | str = ""
    if score is not None and score < 1:
        there = cell.condition == "none" or asked.is_there()
        cause = cause_of(
            example, cell, answer, used, lenient=lenient, gold_there=there, shown=shown
        )
    return JudgedAnswer(
        position,
        example,
        cell,
        answer,
        score,
        lenient,
        cut,
        find_gold(example, cell, kept),
        shown,
        right,
        cause,
    )
