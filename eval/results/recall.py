"""How well a run retrieved: the metrics of `rag_vqa.retriever.metrics` over all its questions.

Knows which questions count (those that name what is right). Does not know answers.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np

from rag_vqa.eval.intervals import bootstrap
from rag_vqa.eval.run.gold import is_there, level_ids
from rag_vqa.eval.run.ledger import Ledger
from rag_vqa.eval.run.records import example_of
from rag_vqa.eval.run.retrieving import Kept
from rag_vqa.retriever import metrics

DEPTHS = (1, 2, 3, 5, 10, 20, 50, 100)


def recall_of(ledger: Ledger, depth: int) -> dict[str, Any] | None:
    """Recall, share, pseudo-recall, MRR and nDCG@10, each with a 95% interval; None of no hits.

    "recall" is that of M2KR and M-BEIR (any right one among the first K), "share" that of the
    textbooks; see metrics.py. A question whose right documents are not in the knowledge base
    counts, as not found; `gold_there` says how many are.
    """
    depths = [k for k in DEPTHS if k <= depth]
    values = {name: array("d") for name in _names(depths)}
    groups: list[str] = []
    pseudo_groups: list[str] = []
    levels: set[str] = set()
    there = 0
    query = "SELECT e.body, h.body FROM hits h JOIN examples e USING (position) ORDER BY position"
    for question, body in ledger.rows(query):
        example, kept = example_of(json.loads(question)), Kept.read(body)
        group = example.group or example.id
        if any(answer.strip() for answer in example.answers):
            pseudo_groups.append(group)
            for k in depths:
                values[f"pseudo@{k}"].append(0 < kept.answer_at <= k)
        if not example.relevant:
            continue
        groups.append(group)
        levels.add(example.level)
        there += is_there(ledger, example)
        ranked = level_ids(kept.ids, kept.parents, example.level)
        for k in depths:
            values[f"recall@{k}"].append(metrics.hit(ranked, example.relevant, k))
            values[f"share@{k}"].append(metrics.recall(ranked, example.relevant, k))
        values["mrr"].append(metrics.reciprocal_rank(ranked, example.relevant))
        values["ndcg@10"].append(metrics.ndcg(ranked, example.relevant, 10))
    if not groups and not pseudo_groups:
        return None
    return {
        "level": "+".join(sorted(levels)),
        "n": len(groups),
        "gold_there": there,
        "recall": _by_depth(values, "recall", depths, groups),
        "share": _by_depth(values, "share", depths, groups),
        "mrr": _measured(values["mrr"], groups),
        "ndcg@10": _measured(values["ndcg@10"], groups),
        "pseudo": _by_depth(values, "pseudo", depths, pseudo_groups),
        "pseudo_n": len(pseudo_groups),
    }


def _names(depths: Sequence[int]) -> list[str]:
    by_depth = [f"{name}@{k}" for name in ("recall", "share", "pseudo") for k in depths]
    return [*by_depth, "mrr", "ndcg@10"]


def _by_depth(
    values: dict[str, array[float]], name: str, depths: Sequence[int], groups: list[str]
) -> dict[str, Any] | None:
    if not groups:
        return None
    return {str(k): _measured(values[f"{name}@{k}"], groups) for k in depths}


def _measured(values: array[float], groups: list[str]) -> dict[str, Any] | None:
    return measured(np.array(values), groups) if groups else None


def measured(values: Any, groups: Sequence[str]) -> dict[str, Any]:
    """Mean and 95% interval, groups drawn whole; null where there are too few for one."""
    low, high = bootstrap(values, groups)
    interval = None if low != low else [round(low, 6), round(high, 6)]
    return {"value": round(float(np.mean(values)), 6), "ci95": interval}
