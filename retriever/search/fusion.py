"""Fusion: one ranking of documents out of late interaction's and that of words.

Knows two ways. By ranks, which suits any retriever, whatever its scores mean. By scores, for the
embedded retriever: it knows the kind of question and recognises a picture, but no names. Does not
know how either ranking is computed, nor what is on disk.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from rag_vqa.types import Document, Hit, Passage

T = TypeVar("T", bound=Hashable)

# Documents of each ranking that are fused by rank, or k if that is more. Where one of the two knows
# nothing, the documents that both rank low by chance outweigh the other's best ones. So this is
# small; it was chosen on the demo's development half, in English and in German.
FUSION_DEPTH = 10
RRF_CONSTANT = 60  # as published: the larger, the less the first ranks stand out
SCORED_DOCUMENTS = 100  # of each ranking that are fused by score, or k if that is more
SAMPLED_PASSAGES = 256  # whose mean score is an unrelated passage's
# How many words that only one passage has outweigh the best match of late interaction: without a
# picture in the flag world, whose sections it tells apart; without a picture elsewhere, where it
# knows nothing; with a picture elsewhere. Chosen on the dev questions of the demo and the museum.
RARE_WORDS, RARE_WORDS_ALONE, RARE_WORDS_WITH_PICTURE = 1.0, 0.1, 4.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A document that a search found, before it is read from the store.

    Attributes:
        score: of its best passage.
        row, key: the document's row, and the key of its best passage.
        page: the row again, or the document's parent if pages are ranked.
        scores: by stage, if there was more than one.
    """

    score: float
    id: str
    row: int
    key: int
    page: int | str
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Scales:
    """What the two scores of one query are measured by.

    Attributes:
        unrelated, best: late interaction's score of an unrelated passage and of the best one.
        words: BM25 that counts as much as the difference of these two.
    """

    unrelated: float
    best: float
    words: float


def reciprocal_rank_fusion(rankings: Iterable[Iterable[T]]) -> dict[T, float]:
    """Σ 1 / (60 + rank) of each item over the rankings that have it, ranks from 1.

    Source: Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and
    individual Rank Learning Methods", SIGIR 2009.

    >>> reciprocal_rank_fusion([["a", "b"], ["b"]]) == {"a": 1 / 61, "b": 1 / 62 + 1 / 61}
    True
    """
    fused: dict[T, float] = {}
    for ranking in rankings:
        for rank, item in enumerate(ranking, 1):
            fused[item] = fused.get(item, 0.0) + 1 / (RRF_CONSTANT + rank)
    return fused


def fuse_rankings(by_tokens: Sequence[Candidate], by_words: Sequence[Candidate]) -> list[Candidate]:
    """One ranking of two, equal scores by id.

    A document in both keeps the passage that late interaction found.
    """
    stages = {"lexical": by_words, "retrieve": by_tokens}
    scores: dict[int | str, dict[str, float]] = {}
    best: dict[int | str, Candidate] = {}
    for stage, ranking in stages.items():
        for found in ranking:
            scores.setdefault(found.page, {})[stage] = found.score
            best[found.page] = found
    pages = ([found.page for found in ranking] for ranking in stages.values())
    for page, score in reciprocal_rank_fusion(pages).items():
        best[page] = replace(best[page], score=score, scores={**scores[page], "fused": score})
    return sorted(best.values(), key=lambda found: (-found.score, found.id))


def fuse_scores(
    by_tokens: Sequence[Candidate], by_words: Sequence[Candidate], scales: Scales
) -> list[Candidate]:
    """One ranking of two that score the same documents, by the sum of both scores on one scale.

    Late interaction's best passage gets 1 and an unrelated one 0, so most others are below 0. A
    document without the question's words is missing in `by_words`, and gets 0 from it. A document
    with them keeps the passage that has them.

    Source: a convex combination of normalised scores, as in Bruch, Gai and Ingber, "An Analysis of
    Fusion Functions for Hybrid Retrieval", TOIS 2023.

    >>> seen = [Candidate(20.0, "a", 1, 1, 1), Candidate(10.0, "b", 2, 2, 2)]
    >>> named = [Candidate(9.0, "b", 2, 2, 2)]
    >>> [(c.id, c.score) for c in fuse_scores(seen, named, Scales(5.0, 20.0, 6.0))]
    [('b', 1.8333333333333333), ('a', 1.0)]
    """
    lexical = {found.row: found for found in by_words}
    width = scales.best - scales.unrelated
    fused = []
    for found in by_tokens:
        score = (found.score - scales.unrelated) / width if width > 0 else 0.0
        scores = {"retrieve": found.score}
        if (words := lexical.get(found.row)) is not None:
            score += words.score / scales.words
            scores["lexical"] = words.score
        key = found.key if words is None else words.key
        fused.append(replace(found, key=key, score=score, scores={**scores, "fused": score}))
    return sorted(fused, key=lambda found: (-found.score, found.id))


def to_hits(
    ranked: Sequence[Candidate],
    passages: Mapping[int, tuple[int, Passage]],
    documents: Mapping[int, Document],
) -> list[Hit]:
    """Candidates as hits, ranks from 1.

    Args:
        passages: by key, each with its document's row.
        documents: by row.
    """
    return [
        Hit(documents[found.row], passages[found.key][1], rank, found.score,
            found.scores or {"retrieve": found.score})
        for rank, found in enumerate(ranked, 1)
    ]  # fmt: skip
