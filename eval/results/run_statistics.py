"""Statistics of a run: retrieval metrics, sums over the answers of each cell, the best cell.

Retrieval metrics count the questions that name their gold documents. The best cell is chosen on one
slice of the questions and reported on the rest; a group of questions is never divided. Otherwise
the choice would flatter itself. Knows hits and judged answers; stores a few numbers of each and no
text.
"""

from __future__ import annotations

import hashlib
import json
import sys
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag_vqa.eval.answers import is_unknown
from rag_vqa.eval.intervals import bootstrap, paired_bootstrap
from rag_vqa.eval.results.judgement import JudgedAnswer
from rag_vqa.eval.run.gold import apply_level, has_gold_document, ranked_units
from rag_vqa.eval.run.ledger import Ledger, example_from_json
from rag_vqa.eval.run.retrieval_stage import StoredHits
from rag_vqa.eval.run.spec import Cell
from rag_vqa.retriever import metrics

RECALL_DEPTHS = (1, 2, 3, 5, 10, 20, 50, 100)
_RANKS = ((1, "1"), (2, "2"), (3, "3"), (5, "4-5"), (10, "6-10"))
_BEYOND_RANKS, _NOT_FOUND = "11+", "not found"
_NO_GOLD_NAMED = -1  # in place of "gold shown": the question names no gold document
_SELECTABLE = ("retrieved", "filtered")  # conditions among which the best cell is chosen


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


class Tally:
    """Counts of a cell's answers; the answers themselves are not stored.

    Attributes:
        positions, scores: of each scored answer, in order.
        groups: the group of each question, see `Example.group`.
    """

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.positions, self.scores = array("q"), array("d")
        self.groups: list[str] = []
        self._kinds: list[str] = []
        self._splits: list[str] = []
        self._ranks: list[str] = []
        self._shown = array("b")
        self._counts: Counter[str] = Counter()
        self._causes: Counter[str] = Counter()
        self._models: Counter[str] = Counter()

    def add(self, row: JudgedAnswer) -> None:
        """Count one answer."""
        example = row.example
        self._count(row)
        if row.score is None:
            return
        self.positions.append(row.position)
        self.scores.append(row.score)
        # Interned: a name that a thousand questions share takes memory once, for all cells.
        self.groups.append(sys.intern(example.group or example.id))
        self._kinds.append(sys.intern(example.kind))
        self._splits.append(sys.intern(example.split))
        self._shown.append(row.gold_shown if example.relevant else _NO_GOLD_NAMED)
        self._ranks.append(_rank_label(row.gold.rank) if example.relevant else "")
        if row.cause:
            self._causes[row.cause] += 1

    def _count(self, row: JudgedAnswer) -> None:
        """The counts that include answers without a score."""
        answer = row.answer
        self._counts["answers"] += 1
        self._counts["tokens_in"] += answer["tokens_in"]
        self._counts["tokens_out"] += answer["tokens_out"]
        self._counts["bem_truncated"] += row.cut
        self._counts["closed_book"] += self.cell.condition != "none" and not answer["documents"]
        self._counts["abstained"] += is_unknown(answer["prediction"])
        if row.example.relevant and answer["citations"]:
            self._counts["cited"] += 1
            self._counts["cited right"] += row.gold_cited
        if answer.get("model"):
            self._models[answer["model"]] += 1

    def result(self, failed: int, official: Any) -> dict[str, Any]:
        """The cell's entry of results.json.

        Args:
            failed: number of questions without an answer.
            official: the benchmark's own aggregate.
        """
        n = len(self.scores)
        scores = np.array(self.scores)
        entry: dict[str, Any] = {
            "cell": self.cell.name,
            "condition": self.cell.condition,
            "k": self.cell.k,
            "template": self.cell.label,
            "repeat": self.cell.repeat,
            "answers": self._counts["answers"],
            "n": n,
            "failed": failed,
            "accuracy": None,
            "ci95": None,
            "official": official,
            "tokens_in": self._counts["tokens_in"],
            "tokens_out": self._counts["tokens_out"],
            "abstained": self._counts["abstained"],
            "citations": self._citation_counts(),
            "causes": dict(sorted(self._causes.items())),
        }
        if n:
            whole = mean_with_interval(scores, self.groups)
            entry |= {"accuracy": whole["value"], "ci95": whole["ci95"]}
        entry["by_kind"] = self._accuracy_by(scores, self._kinds)
        entry["by_split"] = self._accuracy_by(scores, self._splits)
        if self.cell.condition != "none":
            shown = np.array(self._shown)
            entry["given"] = _mean_score(scores[shown == 1])
            entry["not_given"] = _mean_score(scores[shown == 0])
            entry["by_rank"] = {
                name: _mean_score(scores[np.array([rank == name for rank in self._ranks], bool)])
                for name in (*(label for _, label in _RANKS), _BEYOND_RANKS, _NOT_FOUND)
            }
        for name in ("bem_truncated", "closed_book"):
            if self._counts[name]:
                entry[name] = self._counts[name]
        if self._models:
            entry["served"] = dict(sorted(self._models.items()))
        return entry

    def _citation_counts(self) -> dict[str, Any]:
        """Answers that cite, and the share that cites gold; of questions that name their gold."""
        cited, right = self._counts["cited"], self._counts["cited right"]
        return {"n": cited, "correct": round(right / cited, 6) if cited else None}

    def _accuracy_by(self, scores: NDArray[np.float64], labels: Sequence[str]) -> dict[str, Any]:
        """Accuracy of the questions of each label; questions without a label are left out."""
        accuracy = {}
        for label in sorted(set(labels) - {""}):
            indices = [i for i, name in enumerate(labels) if name == label]
            part = mean_with_interval(scores[indices], [self.groups[i] for i in indices])
            accuracy[label] = {"n": len(indices), "accuracy": part["value"], "ci95": part["ci95"]}
        return accuracy


def _mean_score(scores: NDArray[np.float64]) -> dict[str, Any]:
    accuracy = round(float(scores.mean()), 6) if len(scores) else None
    return {"n": len(scores), "accuracy": accuracy}


def _rank_label(rank: int) -> str:
    if not rank:
        return _NOT_FOUND
    return next((label for last, label in _RANKS if rank <= last), _BEYOND_RANKS)


def in_development(group: str, share: float) -> bool:
    """True if a group of questions belongs to the development slice; decided by a hash of its name.

    >>> in_development("Q42", 0.0), in_development("Q42", 1.0)
    (False, True)
    """
    digest = hashlib.sha256(group.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def select_cell(tallies: Sequence[Tally], share: float) -> dict[str, Any] | None:
    """Choose the best retrieved or filtered cell; report every cell on the other questions.

    The choice is made on the development slice, among the questions that all candidates answered.
    None if there is only one candidate, or if a slice is empty.
    """
    choices = [t for t in tallies if t.cell.condition in _SELECTABLE and not t.cell.repeat]
    if len(choices) < 2 or not 0 < share < 1:
        return None
    common = _common_positions([np.array(tally.positions) for tally in choices])
    dev: dict[str, Any] = {}
    for tally in choices:
        inside = _development_mask(tally, share) & np.isin(np.array(tally.positions), common)
        if not inside.any() or _development_mask(tally, share).all():
            return None
        accuracy = round(float(np.array(tally.scores)[inside].mean()), 6)
        dev[tally.cell.name] = {"n": int(inside.sum()), "accuracy": accuracy}
    best = max(dev, key=lambda name: dev[name]["accuracy"])  # the first of equal ones
    slice_name = f"groups whose SHA-256 is below {share:g} of its range"
    test = {
        tally.cell.name: _accuracy_of(tally, ~_development_mask(tally, share)) for tally in tallies
    }
    return {"share": share, "slice": slice_name, "dev": dev, "test": test, "best": best}


def _common_positions(positions: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    found = positions[0]
    for others in positions[1:]:
        found = np.intersect1d(found, others)
    return found


def _development_mask(tally: Tally, share: float) -> NDArray[np.bool_]:
    """(N,): True for each answer whose group belongs to the development slice."""
    return np.array([in_development(group, share) for group in tally.groups], bool)


def _accuracy_of(tally: Tally, mask: NDArray[np.bool_]) -> dict[str, Any]:
    if not mask.any():
        return {"n": 0, "accuracy": None, "ci95": None}
    groups = [group for group, included in zip(tally.groups, mask, strict=True) if included]
    mean = mean_with_interval(np.array(tally.scores)[mask], groups)
    return {"n": len(groups), "accuracy": mean["value"], "ci95": mean["ci95"]}


def paired_differences(
    tallies: Sequence[Tally], selection: Mapping[str, Any] | None
) -> list[dict[str, Any]]:
    """The paired difference of each cell to one cell.

    That one is the chosen cell, else the first retrieved one, else the first.

    Args:
        selection: the result of `select_cell`; the questions that decided it are left out.
    """
    firsts = [tally for tally in tallies if not tally.cell.repeat and len(tally.scores)]
    if len(firsts) < 2:
        return []
    names = [tally.cell.name for tally in firsts]
    retrieved = [tally.cell.name for tally in firsts if tally.cell.condition == "retrieved"]
    best = selection["best"] if selection else (retrieved or names)[0]
    base = firsts[names.index(best)]
    left_out = selection["share"] if selection else 0.0
    return [_paired_difference(tally, base, left_out) for tally in firsts if tally is not base]


def _paired_difference(a: Tally, b: Tally, left_out: float) -> dict[str, Any]:
    """a - b, over the questions that both answered, without the development slice."""

    common, of_a, of_b = np.intersect1d(
        np.array(a.positions), np.array(b.positions), return_indices=True
    )
    rest = ~_development_mask(a, left_out)[of_a]
    common, of_a, of_b = common[rest], of_a[rest], of_b[rest]
    first: NDArray[np.float64] = np.array(a.scores)[of_a]
    second: NDArray[np.float64] = np.array(b.scores)[of_b]
    entry: dict[str, Any] = {"a": a.cell.name, "b": b.cell.name, "n": len(common)}
    if not len(common):
        return {**entry, "difference": None, "ci95": None}
    low, high = paired_bootstrap(first, second, [a.groups[i] for i in of_a])
    interval = None if low != low else [round(low, 6), round(high, 6)]
    return {**entry, "difference": round(float((first - second).mean()), 6), "ci95": interval}
