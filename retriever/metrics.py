"""Retrieval metrics: pure functions of ids in the order in which they were found.

Knows ids and texts. Does not know knowledge bases, or where the ids are from. What is called
"recall" differs: M2KR's Recall@K and M-BEIR's Recall@K ask whether *any* right one is among the
first K, which is `hit` here; `recall` is the share of the right ones that is found, as in the
textbooks (Manning et al., Introduction to Information Retrieval, 2008, chapter 8) and trec_eval.
They are the same number where one document is right.

`ranked` is best first, ties in the order given; an id that stands twice counts where it is first.
At the level of parents (pages, entities), hand over `parents(...)` of the ranking.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from math import log2

from rag_vqa.errors import BadInput, UsageError


def parents(ranked: Iterable[str], parent: Mapping[str, str]) -> list[str]:
    """The parents of a ranking of documents, each once, where its first document stands.

    Args:
        parent: of each document; one that is not there, or has "", stands for itself.

    >>> parents(["a#2", "b#1", "a#1", "c"], {"a#1": "a", "a#2": "a", "b#1": "b"})
    ['a', 'b', 'c']
    """
    return list(dict.fromkeys(parent.get(name) or name for name in ranked))


def hit(ranked: Sequence[str], relevant: Collection[str], k: int) -> float:
    """1 if any right one is among the first k: Recall@K of M2KR and M-BEIR, trec_eval's success.

    >>> hit(["a", "b", "c"], {"b", "x"}, 2)
    1.0
    """
    return float(not _right(ranked, relevant, k).isdisjoint(ranked[:k]))


def recall(ranked: Sequence[str], relevant: Collection[str], k: int) -> float:
    """The share of the right ones that is among the first k.

    >>> recall(["a", "b", "c"], {"b", "x"}, 2)
    0.5
    """
    right = _right(ranked, relevant, k)
    return len(right.intersection(ranked[:k])) / len(right)


def reciprocal_rank(
    ranked: Sequence[str], relevant: Collection[str], k: int | None = None
) -> float:
    """1 / rank of the first right one, 0 if none is there (among the first k); its mean is MRR.

    >>> reciprocal_rank(["a", "b", "c"], {"b", "c"})
    0.5
    """
    depth = max(len(ranked), 1) if k is None else k
    right = _right(ranked, relevant, depth)
    return next((1 / rank for rank, name in enumerate(ranked[:depth], 1) if name in right), 0.0)


def ndcg(ranked: Sequence[str], relevant: Collection[str], k: int) -> float:
    """Discounted gain of the first k, 1 / log2(rank + 1) each, as a share of the best possible.

    Right or not, without degrees. Source: Järvelin and Kekäläinen, ACM TOIS 20(4), 2002, with
    trec_eval's discount, which counts from the first rank.

    >>> ndcg(["a", "b"], {"a"}, 2), round(ndcg(["a", "b"], {"b"}, 2), 4)
    (1.0, 0.6309)
    """
    right, shown = _right(ranked, relevant, k), ranked[:k]
    places = sorted(shown.index(name) for name in right.intersection(shown))
    gain = sum(1 / log2(place + 2) for place in places)  # in order: the same sum in every process
    return gain / sum(1 / log2(rank + 1) for rank in range(1, min(k, len(right)) + 1))


def pseudo_hit(texts: Sequence[str], answers: Iterable[str], k: int) -> float | None:
    """M2KR's pseudo-recall@K: 1 if any answer stands in one of the first k texts.

    An answer is lower-cased and stripped, a text lower-cased, as the release of ReT does. An empty
    answer would stand in every text: it is left out.

    Args:
        texts: of the documents, best first.

    Returns:
        None without answers: the question is not scored.

    >>> pseudo_hit(["The capital is Kingston."], [" kingston "], 1)
    1.0
    """
    _check_depth(k)
    answers = list(answers)
    if not any(answer.strip() for answer in answers):
        return None
    return float(answer_rank(answers, texts[:k]) > 0)


def answer_rank(answers: Iterable[str], texts: Iterable[str]) -> int:
    """Rank, from 1, of the first text in which an answer stands, as `pseudo_hit` looks; 0: none.

    >>> answer_rank([" kingston "], ["An island.", "The capital is Kingston."])
    2
    """
    wanted = [stripped for answer in answers if (stripped := answer.lower().strip())]
    for rank, text in enumerate(texts, 1):
        lower = text.lower()
        if any(answer in lower for answer in wanted):
            return rank
    return 0


def _right(ranked: Sequence[str], relevant: Collection[str], k: int) -> set[str] | frozenset[str]:
    """The right ones, each once; what cannot be scored is refused."""
    _check_depth(k)
    if isinstance(relevant, str) or isinstance(ranked, str):
        raise UsageError("ids come in lists, a single text is none.")
    if not relevant:
        raise BadInput("no document is right for this question: it cannot be scored by retrieval.")
    return relevant if isinstance(relevant, set | frozenset) else frozenset(relevant)


def _check_depth(k: int) -> None:
    if k < 1:
        raise UsageError(f"k is {k}: a depth is at least 1.")
