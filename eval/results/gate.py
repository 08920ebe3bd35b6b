"""Figures of a run by name, and whether they reach what was asked: for programs that must stop.

Knows results.json. Does not know how a figure came about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rag_vqa.errors import UsageError
from rag_vqa.eval.results.recall import DEPTHS

_OF_ANSWERS = ("accuracy", "citations", "abstention_precision", "abstention_recall")
_OF_HITS = ("recall", "share", "pseudo")
KNOWN = {*_OF_ANSWERS, "mrr", "ndcg@10", *(f"{name}@{k}" for name in _OF_HITS for k in DEPTHS)}
_ORDER = ("filtered", "retrieved", "oracle", "none")  # whose accuracy is "the" accuracy


def main_cell(results: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The cell that stands for the run: the selected one, else the first of _ORDER."""
    cells: list[Mapping[str, Any]] = [cell for cell in results["cells"] if not cell["repeat"]]
    if results["selection"]:
        return next(cell for cell in cells if cell["cell"] == results["selection"]["best"])
    return min(cells, key=lambda cell: _ORDER.index(cell["condition"]), default=None)


def reported(results: Mapping[str, Any], cell: Mapping[str, Any]) -> Mapping[str, Any]:
    """n, accuracy and ci95 of a cell: where one of them was chosen, on the questions that it was
    not chosen on."""
    chosen = results["selection"]
    return cell if chosen is None else chosen["test"].get(cell["cell"], cell)


def figures(results: Mapping[str, Any]) -> dict[str, float]:
    """All figures that a limit can be set on: recall@K, share@K, pseudo@K, mrr, ndcg@10, and of
    the main cell accuracy (as `reported`), citations, abstention_precision, abstention_recall."""
    found: dict[str, float | None] = {}
    recall = results["recall"] or {}
    for name in _OF_HITS:
        for k, measured in (recall.get(name) or {}).items():
            found[f"{name}@{k}"] = measured["value"]
    for name in ("mrr", "ndcg@10"):
        found[name] = (recall.get(name) or {}).get("value")
    cell = main_cell(results)
    if cell is not None:
        abstention = (cell["official"] or {}).get("abstention") or {}
        found["accuracy"] = reported(results, cell)["accuracy"]
        found["citations"] = cell["citations"]["correct"]
        found["abstention_precision"] = abstention.get("precision")
        found["abstention_recall"] = abstention.get("recall")
    return {name: value for name, value in found.items() if value is not None}


def parse(limits: Sequence[str]) -> dict[str, float]:
    """`["accuracy=.8"]` as limits; a percent sign is not understood, .8 is.

    Raises:
        UsageError: no figure of a run, or no number from 0 to 1.

    >>> parse(["accuracy=.8", "recall@5=0.9"])
    {'accuracy': 0.8, 'recall@5': 0.9}
    """
    found = {}
    for limit in limits:
        name, _, value = limit.partition("=")
        if name not in KNOWN:
            raise UsageError(
                f"--min {limit}: name one of {', '.join(_OF_ANSWERS)}, recall@5, mrr …"
            )
        try:
            found[name] = float(value)
        except ValueError:
            found[name] = -1.0
        if not 0 <= found[name] <= 1:
            raise UsageError(f"--min {limit}: give name=value from 0 to 1, as accuracy=.8")
    return found


def missed(results: Mapping[str, Any], limits: Mapping[str, float]) -> list[str]:
    """One line for each limit that is not reached.

    Raises:
        UsageError: a figure that this run does not have.
    """
    there = figures(results)
    lines = []
    for name, limit in limits.items():
        if name not in there:
            raise UsageError(f"--min {name}: this run has {', '.join(there) or 'no figure'}.")
        if there[name] < limit:
            lines.append(f"{name} is {there[name]:.4f}, below {limit:g}")
    return lines
