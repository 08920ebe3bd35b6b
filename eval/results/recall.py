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
    """Recall, share, pseudo-recall, MRR and nDCG@10, each with a 95% interval; None of no hits.

    "recall" is that of M2KR and M-BEIR (any right one among the first K), "share" that of the
    textbooks; see metrics.py. A question whose right documents are not in the knowledge base
    counts, as not found; `gold_there` says how many are. K goes as far as every ranking does: 100
    sections may be of 40 pages, and what is behind them is not known.

    Args:
        depth: documents that were looked for: a ranking of fewer is complete.
    """
    depths = [k for k in RECALL_DEPTHS if k <= depth]
    of_units, of_documents = _RankingDepth(depth), _RankingDepth(depth)
    values = {name: array("d") for name in _metric_names(depths)}
    groups: list[str] = []
    pseudo_groups: list[str] = []
    levels: set[str] = set()
    there = 0
    query = "SELECT e.body, h.body FROM hits h JOIN examples e USING (position) ORDER BY position"
    for question, body in ledger.rows(query):
        example = example_from_json(json.loads(question))
        kept = apply_level(ledger, example, StoredHits.read(body))
        group = example.group or example.id
        if any(answer.strip() for answer in example.answers):
            pseudo_groups.append(group)
            of_documents.add(kept, len(kept.ids))
            for k in depths:
                values[f"pseudo@{k}"].append(0 < kept.answer_at <= k)
        if not example.relevant:
            continue
        groups.append(group)
        names = ranked_units(kept)
        of_units.add(kept, len(names))
        levels.add(example.level)
        there += has_gold_document(ledger, example)
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
        "gold_there": there,
        "recall": _metric_by_depth(values, "recall", of_units.within(depths), groups),
        "share": _metric_by_depth(values, "share", of_units.within(depths), groups),
        "mrr": _mean_or_none(values["mrr"], groups),
        "ndcg@10": _mean_or_none(values["ndcg@10"], groups),
        "pseudo": _metric_by_depth(values, "pseudo", of_documents.within(depths), pseudo_groups),
        "pseudo_n": len(pseudo_groups),
    }


class _RankingDepth:
    """How deep the rankings are that are not complete: all of them, if there are such."""

    def __init__(self, looked: int) -> None:
        self._looked, self._cut, self._longest = looked, looked, 0

    def add(self, kept: StoredHits, length: int) -> None:
        """A ranking of that many names."""
        self._longest = max(self._longest, length)
        if len(kept.ids) >= self._looked:
            self._cut = min(self._cut, length)

    def within(self, depths: Sequence[int]) -> list[int]:
        """Those that every ranking reaches, and some ranking has; at least the first."""
        return [k for k in depths if k <= max(1, min(self._cut, self._longest))]


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
    """Mean and 95% interval, groups drawn whole; null where there are too few for one."""
    low, high = bootstrap(values, groups)
    interval = None if low != low else [round(low, 6), round(high, 6)]
    return {"value": round(float(np.mean(values)), 6), "ci95": interval}
