"""What a search finds before its documents are read, and how two rankings of it become one.

It knows ranks and scores. It does not know where either comes from.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from rag_vqa.types import Document, Hit, Passage

CONSTANT = 60  # as published: how little the first ranks stand out

T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Found:
    """A document, by id and row, with its best passage, by key, and that one's score.

    Attributes:
        page: the row again, or the parent, where that is what counts.
        scores: by stage, where there was more than one.
    """

    score: float
    id: str
    row: int
    key: int
    page: int | str
    scores: Mapping[str, float] = field(default_factory=dict)


def fuse(rankings: Iterable[Iterable[T]]) -> dict[T, float]:
    """Σ 1 / (60 + rank) of each thing over the rankings that it is in, ranks from 1.

    Source: Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and
    individual Rank Learning Methods", SIGIR 2009.

    >>> fuse([["a", "b"], ["b"]]) == {"a": 1 / 61, "b": 1 / 62 + 1 / 61}
    True
    """
    fused: dict[T, float] = {}
    for ranking in rankings:
        for rank, thing in enumerate(ranking, 1):
            fused[thing] = fused.get(thing, 0.0) + 1 / (CONSTANT + rank)
    return fused


def fused(by_tokens: Sequence[Found], by_words: Sequence[Found]) -> list[Found]:
    """One ranking of two, equal scores by id. What both found is as late interaction found it."""
    stages = {"lexical": by_words, "retrieve": by_tokens}
    scores: dict[int | str, dict[str, float]] = {}
    best: dict[int | str, Found] = {}
    for stage, ranking in stages.items():
        for hit in ranking:
            scores.setdefault(hit.page, {})[stage] = hit.score
            best[hit.page] = hit
    for page, score in fuse([hit.page for hit in ranking] for ranking in stages.values()).items():
        best[page] = replace(best[page], score=score, scores={**scores[page], "fused": score})
    return sorted(best.values(), key=lambda hit: (-hit.score, hit.id))


def hits(
    found: Sequence[Found],
    passages: Mapping[int, tuple[int, Passage]],
    documents: Mapping[int, Document],
) -> list[Hit]:
    """As hits: passages with the rows of their documents by key, documents by row."""
    return [
        Hit(documents[hit.row], passages[hit.key][1], rank, hit.score,
            hit.scores or {"retrieve": hit.score})
        for rank, hit in enumerate(found, 1)
    ]  # fmt: skip
