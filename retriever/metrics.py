"""Retrieval metrics: pure functions of ranked ids.

Knows ids and texts. Does not know knowledge bases, or where the ids are from. "Recall" has two
meanings: M2KR's and M-BEIR's Recall@K ask whether *any* right document is among the first K, which
is `hit` here. `recall` is the share of the right documents that was found, as in the textbooks
(Manning et al., Introduction to Information Retrieval, 2008, chapter 8) and trec_eval. With one
right document both are the same number.

`ranked` is best first, ties in the order given; an id that occurs twice counts at its first place.
At the level of parents (pages, entities), pass `parents(...)` of the ranking.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from math import log2

from rag_vqa.errors import BadInput, UsageError


def parents(ranked: Iterable[str], parent: Mapping[str, str]) -> list[str]:
    """The parents of a ranking of documents, each once, at the place of its first document.

    Args:
        parent: of each document; a document without one, or with "", is its own parent.

    >>> parents(["a#2", "b#1", "a#1", "c"], {"a#1": "a", "a#2": "a", "b#1": "b"})
    ['a', 'b', 'c']
    """
    return list(dict.fromkeys(parent.get(name) or name for name in ranked))


def hit(ranked: Sequence[str], relevant: Collection[str], k: int) -> float:
    """1 if any right document is among the first k: M2KR's and M-BEIR's Recall@K.

    trec_eval calls it success.

    >>> hit(["a", "b", "c"], {"b", "x"}, 2)
    1.0
    """
    return float(not _relevant_ids(ranked, relevant, k).isdisjoint(ranked[:k]))


def recall(ranked: Sequence[str], relevant: Collection[str], k: int) -> float:
    """The share of the right documents that is among the first k.

    >>> recall(["a", "b", "c"], {"b", "x"}, 2)
    0.5
    """
    right = _relevant_ids(ranked, relevant, k)
    return len(right.intersection(ranked[:k])) / len(right)


def reciprocal_rank(
    ranked: Sequence[str], relevant: Collection[str], k: int | None = None
) -> float:
    """1 / rank of the first right document, 0 if none is found (among the first k).

    Its mean is MRR.

    >>> reciprocal_rank(["a", "b", "c"], {"b", "c"})
    0.5
    """
    depth = max(len(ranked), 1) if k is None else k
    right = _relevant_ids(ranked, relevant, depth)
    return next((1 / rank for rank, name in enumerate(ranked[:depth], 1) if name in right), 0.0)


def ndcg(ranked: Sequence[str], relevant: Collection[str], k: int) -> float:
    """Discounted gain of the first k, 1 / log2(rank + 1) each, as a share of the best possible.

    A document is right or not, without degrees. Source: Järvelin and Kekäläinen, ACM TOIS 20(4),
    2002, with trec_eval's discount, which counts from the first rank.

    >>> ndcg(["a", "b"], {"a"}, 2), round(ndcg(["a", "b"], {"b"}, 2), 4)
    (1.0, 0.6309)
    """
    right, first = _relevant_ids(ranked, relevant, k), ranked[:k]
    places = sorted(first.index(name) for name in right.intersection(first))
    gain = sum(1 / log2(place + 2) for place in places)  # in order: the same sum in every process
    return gain / sum(1 / log2(rank + 1) for rank in range(1, min(k, len(right)) + 1))


def pseudo_hit(texts: Sequence[str], answers: Iterable[str], k: int) -> float | None:
    """M2KR's pseudo-recall@K: 1 if one of the first k texts contains any answer.

    Answers are lower-cased and stripped, texts lower-cased, as in the release of ReT. Empty answers
    are left out: every text contains them.

    Args:
        texts: of the documents, best first.

    Returns:
        None without answers: such a question is not scored.

    >>> pseudo_hit(["The capital is Kingston."], [" kingston "], 1)
    1.0
    """
    _check_depth(k)
    answers = list(answers)
    if not any(answer.strip() for answer in answers):
        return None
    return float(answer_rank(answers, texts[:k]) > 0)


def answer_rank(answers: Iterable[str], texts: Iterable[str]) -> int:
    """Rank, from 1, of the first text that contains an answer, as in `pseudo_hit`; 0 if none does.

    >>> answer_rank([" kingston "], ["An island.", "The capital is Kingston."])
    2
    """
    wanted = [stripped for answer in answers if (stripped := answer.lower().strip())]
    for rank, text in enumerate(texts, 1):
        lower = text.lower()
        if any(answer in lower for answer in wanted):
            return rank
    return 0


def _relevant_ids(
    ranked: Sequence[str], relevant: Collection[str], k: int
) -> set[str] | frozenset[str]:
    """The right documents, each once. Raises if there is nothing to score."""
    _check_depth(k)
    if isinstance(relevant, str) or isinstance(ranked, str):
        raise UsageError("ids come in lists: give a list, not a single text.")
    if not relevant:
        raise BadInput("no document is right for this question: its retrieval cannot be scored.")
    return relevant if isinstance(relevant, set | frozenset) else frozenset(relevant)


def _check_depth(k: int) -> None:
    if k < 1:
        raise UsageError(f"k is {k}: a depth is at least 1.")
