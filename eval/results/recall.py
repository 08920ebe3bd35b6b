"""Retrieval figures of a run: the metrics of `rag_vqa.retriever.metrics` over all questions.

Knows which questions count: those that name their gold documents. Does not know answers.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np

from rag_vqa.eval.intervals import bootstrap
from rag_vqa.eval.run.gold import apply_level, has_gold_document, ranked_units
from rag_vqa.eval.run.ledger import Ledger, example_from_json
from rag_vqa.eval.run.retrieval_stage import StoredHits
from rag_vqa.retriever import metrics

RECALL_DEPTHS = (1, 2, 3, 5, 10, 20, 50, 100)


def measure_retrieval(ledger: Ledger, depth: int) -> dict[str, Any] | None:
    """Recall, share, pseudo-recall, MRR and nDCG@10, each with a 95% interval.

    None if no question counts. "recall" is that of M2KR and M-BEIR (any gold document among the
    first K), "share" that of the textbooks; see metrics.py. A question whose gold documents are
    not in the knowledge base counts as not found; `gold_there` is the number of the others. K stops
    at the K that every ranking reaches: 100 sections may belong to 40 pages, and the 41st page is
    unknown.

    Args:
        depth: number of documents that were searched for; a shorter ranking is complete.
    """
    depths = [k for k in RECALL_DEPTHS if k <= depth]
    unit_depth, document_depth = _RankingDepth(depth), _RankingDepth(depth)
    values = {name: array("d") for name in _metric_names(depths)}
    groups: list[str] = []
    pseudo_groups: list[str] = []
    levels: set[str] = set()
    gold_exists = 0
    query = "SELECT e.body, h.body FROM hits h JOIN examples e USING (position) ORDER BY position"
    for question, body in ledger.rows(query):
        example = example_from_json(json.loads(question))
        hits = apply_level(ledger, example, StoredHits.from_bytes(body))
        group = example.group or example.id
        if any(answer.strip() for answer in example.answers):
            pseudo_groups.append(group)
            document_depth.add(hits, len(hits.ids))
            for k in depths:
                values[f"pseudo@{k}"].append(0 < hits.answer_at <= k)
        if not example.relevant:
            continue
        groups.append(group)
        names = ranked_units(hits)
        unit_depth.add(hits, len(names))
        levels.add(example.level)
        gold_exists += has_gold_document(ledger, example)
        for k in depths:
            values[f"recall@{k}"].append(metrics.hit(names, example.relevant, k))
            values[f"share@{k}"].append(metrics.recall(names, example.relevant, k))
        values["mrr"].append(metrics.reciprocal_rank(names, example.relevant))
        values["ndcg@10"].append(metrics.ndcg(names, example.relevant, 10))
    if not groups and not pseudo_groups:
        return None
    return {
        "level": "+".join(sorted(levels)),
        "n": len(groups),
        "gold_there": gold_exists,
        "recall": _metric_by_depth(values, "recall", unit_depth.limit(depths), groups),
        "share": _metric_by_depth(values, "share", unit_depth.limit(depths), groups),
        "mrr": _mean_or_none(values["mrr"], groups),
        "ndcg@10": _mean_or_none(values["ndcg@10"], groups),
        "pseudo": _metric_by_depth(values, "pseudo", document_depth.limit(depths), pseudo_groups),
        "pseudo_n": len(pseudo_groups),
    }


class _RankingDepth:
    """The depth that all rankings reach, except complete ones, which end for want of documents."""

    def __init__(self, searched: int) -> None:
        self._searched, self._shortest, self._longest = searched, searched, 0

    def add(self, hits: StoredHits, length: int) -> None:
        """Count a ranking of `length` names."""
        self._longest = max(self._longest, length)
        if len(hits.ids) >= self._searched:
            self._shortest = min(self._shortest, length)

    def limit(self, depths: Sequence[int]) -> list[int]:
        """The depths that every incomplete ranking reaches, and any ranking; at least 1."""
        return [k for k in depths if k <= max(1, min(self._shortest, self._longest))]


def _metric_names(depths: Sequence[int]) -> list[str]:
    by_depth = [f"{name}@{k}" for name in ("recall", "share", "pseudo") for k in depths]
    return [*by_depth, "mrr", "ndcg@10"]


def _metric_by_depth(
    values: dict[str, array[float]], name: str, depths: Sequence[int], groups: list[str]
) -> dict[str, Any] | None:
    if not groups:
        return None
    return {str(k): _mean_or_none(values[f"{name}@{k}"], groups) for k in depths}


def _mean_or_none(values: array[float], groups: list[str]) -> dict[str, Any] | None:
    return mean_with_interval(np.array(values), groups) if groups else None


def mean_with_interval(values: Any, groups: Sequence[str]) -> dict[str, Any]:
    """Mean and 95% bootstrap interval over groups; the interval is None if there are too few."""

    low, high = bootstrap(values, groups)
    interval = None if low != low else [round(low, 6), round(high, 6)]
    return {"value": round(float(np.mean(values)), 6), "ci95": interval}
