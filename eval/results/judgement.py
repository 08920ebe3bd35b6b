"""Judgement: the score of each answer, and one cause for each failure.

Knows which answers lack a score (a slow scorer resumes where it stopped), and what a question
needed, what was found, shown and answered. The first cause that holds, in the order of `Cause`, is
the cause. Does not know the rules of scoring (`rag_vqa.eval.scorers`), or sums.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from rag_vqa.errors import UsageError
from rag_vqa.eval.answers import strip_citations
from rag_vqa.eval.run.gold import apply_level, has_gold_document
from rag_vqa.eval.run.ledger import Ledger, example_from_json
from rag_vqa.eval.run.retrieval_stage import StoredHits
from rag_vqa.eval.run.spec import Cell
from rag_vqa.formats.benchmark import Scored, Scorer
from rag_vqa.types import Example

_SCORE_BATCH = 256
# Cell, position, key, question, answer.
_UnscoredRow: TypeAlias = tuple[str, int, str, Example, str]
Cause: TypeAlias = Literal[
    "scorer-sensitive",  # a more lenient scorer would accept it: look at the form of the answer
    "image missing",  # the question's picture does not exist
    "answered though unanswerable",
    "no evidence given",  # the condition is "none"
    "no gold named",  # the question does not name its gold documents
    "gold not in the knowledge base",
    "not retrieved",  # not among the first k; `rank` and `gap` say how far off
    "filtered",  # retrieved, and removed by the filter
    "dropped by the budget",  # retrieved, and did not fit into the prompt
    "misread",  # the reader saw the gold document
]
_TWO_HOP = "2_hop"  # Encyclopedic-VQA: the first page leads to the second, which has the answer


def score_answers(
    ledger: Ledger, scorer: Scorer, on_progress: Callable[[int], object] | None = None
) -> None:
    """Score the answers that this scorer has not scored yet; each batch is one transaction.

    Raises:
        BadInput: the reference answers of a question are invalid.
    """
    done = 0
    for batch in _unscored_rows(ledger, scorer.name):
        _score_batch(ledger, scorer, batch)
        done += len(batch)
        if on_progress is not None:
            on_progress(done)


def has_answer(example: Example) -> bool:
    """True if the question has a reference answer. Own questions need none; they get no score."""
    return bool(example.answers or example.references or example.unanswerable)


def check_scorable(ledger: Ledger, scorer: Scorer) -> None:
    """Check the reference answers of all questions before the first one is asked.

    Raises:
        BadInput: this scorer cannot score one of the questions.
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
    """The part of an answer that is scored: without citations, which official rules would read as
    numbers. Other numbers in brackets stay."""
    return strip_citations(prediction, citations)


def scored_answers(ledger: Ledger, cell: Cell, scorer: str) -> Iterator[Scored]:
    """The scored answers of a cell, in the order of the questions."""
    query = """SELECT e.body, a.body, s.score FROM scores s JOIN answers a USING (cell, position)
        JOIN examples e USING (position) WHERE s.scorer = ? AND s.cell = ? ORDER BY s.position"""
    for question, body, score in ledger.rows(query, (scorer, cell.name)):
        yield example_from_json(json.loads(question)), _scored_text_of(body), score


@dataclass(frozen=True, slots=True)
class GoldRank:
    """The rank of a question's first gold document among its hits.

    Attributes:
        rank: counted from 1, at the question's level; 0 if no gold document was found.
        gap: how much its score is below that of the last document shown. None if it was shown
            or not found.
    """

    rank: int = 0
    gap: float | None = None


def gold_ids(example: Example, hits: StoredHits) -> list[str]:
    """Ids of the gold documents among hits, which `apply_level` has adapted to the question."""
    return [i for i in hits.ids if hits.parents.get(i, i) in example.relevant]


def find_gold(example: Example, cell: Cell, hits: StoredHits | None) -> GoldRank:
    """The rank of the first gold document, and the gap in cells that show k documents."""
    if hits is None or not example.relevant:
        return GoldRank()
    gold = gold_ids(example, hits)
    if not gold:
        return GoldRank()
    index = hits.ids.index(gold[0])
    rank = len({hits.parents.get(i, i) for i in hits.ids[: index + 1]})
    gap = None
    if cell.condition in ("retrieved", "filtered") and index >= cell.k:
        gap = hits.scores[cell.k - 1] - hits.scores[index]
    return GoldRank(rank, gap)


def has_gold(example: Example, documents: Iterable[str], parents: Mapping[str, str]) -> bool:
    """True if any of these documents is gold. `parents`: as `apply_level` leaves them."""
    return any(parents.get(name, name) in example.relevant for name in documents)


def has_all_gold(example: Example, documents: Iterable[str], parents: Mapping[str, str]) -> bool:
    """True if these documents suffice: any gold one, or both pages of a two-hop question."""
    if example.kind != _TWO_HOP:
        return has_gold(example, documents, parents)
    return set(example.relevant) <= {parents.get(name, name) for name in documents}


def cause_of(
    example: Example,
    cell: Cell,
    answer: dict[str, Any],
    hits: StoredHits | None,
    *,
    lenient: bool,
    gold_exists: bool,
    gold_shown: bool,
) -> Cause:
    """The cause of a failure.

    Args:
        answer: as `ledger.answer_json` writes it.
        hits: None in cells without retrieval.
        lenient: a more lenient scorer would accept the answer.
        gold_exists: the knowledge base holds a gold document.
        gold_shown: the prompt held all gold documents that are needed, see `has_all_gold`.
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
    if not gold_exists:
        return "gold not in the knowledge base"
    if gold_shown:
        return "misread"
    if cell.condition != "oracle" and not _in_first_k(example, cell, hits):
        return "not retrieved"
    return "dropped by the budget" if _reached_prompt_builder(example, answer, hits) else "filtered"


def _in_first_k(example: Example, cell: Cell, hits: StoredHits | None) -> bool:
    return hits is not None and has_all_gold(example, hits.ids[: cell.k], hits.parents)


def _reached_prompt_builder(
    example: Example, answer: dict[str, Any], hits: StoredHits | None
) -> bool:
    """True if the prompt's builder got all gold documents that are needed (oracle: always)."""
    return hits is None or has_all_gold(example, answer["documents"], hits.parents)


@dataclass(frozen=True, slots=True)
class JudgedAnswer:
    """One answer with its score and the cause of its failure.

    Attributes:
        answer: as `ledger.answer_json` writes it: prediction, documents, kept, dropped, …
        score: None if the question has no reference answer.
        lenient: a more lenient scorer would accept the answer.
        cut: the scorer read only the beginning of the answer.
        gold: rank of the first gold document.
        gold_shown: the prompt held all gold documents that are needed.
        gold_cited: the answer cites a gold document.
        cause: why the score is below 1; "" if it is not.
    """

    position: int
    example: Example
    cell: Cell
    answer: dict[str, Any]
    score: float | None
    lenient: bool
    cut: bool
    gold: GoldRank
    gold_shown: bool
    gold_cited: bool
    cause: Cause | str


def stored_cells(ledger: Ledger) -> list[Cell]:
    """All cells of a run, in the order of the table."""
    return [Cell(**fields) for fields in ledger.meta("cells", [])]


class QuestionCache:
    """The last question with its hits; cells that are read side by side share it."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._position = -1
        self._gold_exists: bool | None = None  # None: not looked up, as only failures need it

    def decode(
        self, position: int, question: str, hits: bytes | None
    ) -> tuple[Example, StoredHits | None]:
        """Question and hits from the ledger's bytes, which are the same for each cell."""
        if position != self._position:
            example = example_from_json(json.loads(question))
            stored = None if hits is None else StoredHits.from_bytes(hits)
            if stored is not None:
                stored = apply_level(self._ledger, example, stored)
            self._position, self._last, self._gold_exists = position, (example, stored), None
        return self._last

    def gold_exists(self) -> bool:
        """True if the knowledge base holds a gold document of the last question."""
        if self._gold_exists is None:
            self._gold_exists = has_gold_document(self._ledger, self._last[0])
        return self._gold_exists


def all_judged_answers(ledger: Ledger, scorer: str) -> Iterator[JudgedAnswer]:
    """All answers: by question, then in the order of the cells."""
    cache = QuestionCache(ledger)
    streams = [judged_answers(ledger, cell, scorer, cache=cache) for cell in stored_cells(ledger)]
    # Rows of equal position keep the order of the streams.
    yield from heapq.merge(*streams, key=lambda row: row.position)


def judged_answers(
    ledger: Ledger,
    cell: Cell,
    scorer: str,
    position: int | None = None,
    cache: QuestionCache | None = None,
) -> Iterator[JudgedAnswer]:
    """The answers of a cell, in the order of the questions; or only that at `position`."""
    cache = cache or QuestionCache(ledger)
    only = "" if position is None else f"AND a.position = {int(position)}"
    query = f"""
        SELECT a.position, e.body, a.body, s.score, s.lenient, s.cut, h.body FROM answers a
        JOIN examples e USING (position)
        LEFT JOIN scores s ON s.scorer = ? AND s.cell = a.cell AND s.position = a.position
        LEFT JOIN hits h ON h.position = a.position
        WHERE a.cell = ? {only} ORDER BY a.position"""
    for row_position, question, body, *scores, hits in ledger.rows(query, (scorer, cell.name)):
        (example, stored), answer = cache.decode(row_position, question, hits), json.loads(body)
        score, lenient, cut = scores
        if score is None and has_answer(example):
            raise UsageError(
                f"{ledger.folder} is not scored yet. Score it: rag-vqa eval report {ledger.folder}"
            )
        marks = score, bool(lenient), bool(cut)
        yield _judge(cache, cell, row_position, example, answer, marks, stored)


def _judge(
    cache: QuestionCache,
    cell: Cell,
    position: int,
    example: Example,
    answer: dict[str, Any],
    marks: tuple[float | None, bool, bool],
    hits: StoredHits | None,
) -> JudgedAnswer:
    score, lenient, cut = marks
    cited = [answer["kept"][number - 1] for number in answer["citations"]]
    if cell.condition == "oracle":  # all its documents are gold
        gold_shown, gold_cited = bool(answer["kept"]), bool(cited)
    else:
        parents = hits.parents if hits else {}
        gold_shown = has_all_gold(example, answer["kept"], parents)
        gold_cited = has_gold(example, cited, parents)
    cause: Cause | str = ""
    if score is not None and score < 1:
        cause = cause_of(
            example,
            cell,
            answer,
            hits if cell.condition != "oracle" else None,
            lenient=lenient,
            gold_exists=cell.condition == "none" or cache.gold_exists(),
            gold_shown=gold_shown,
        )
    return JudgedAnswer(
        position=position,
        example=example,
        cell=cell,
        answer=answer,
        score=score,
        lenient=lenient,
        cut=cut,
        gold=find_gold(example, cell, hits),
        gold_shown=gold_shown,
        gold_cited=gold_cited,
        cause=cause,
    )
