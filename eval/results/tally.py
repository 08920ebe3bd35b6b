"""What the answers of one cell add up to.

Knows judged answers. Holds of each of them a few numbers, and of its text nothing.
"""

from __future__ import annotations

import sys
from array import array
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag_vqa.eval.answers import is_unknown
from rag_vqa.eval.results.recall import measured
from rag_vqa.eval.results.rows import Judged
from rag_vqa.eval.run.cells import Cell

_RANKS = ((1, "1"), (2, "2"), (3, "3"), (5, "4-5"), (10, "6-10"))
_BEYOND, _NOWHERE = "11+", "not found"
_UNNAMED = -1  # neither shown nor not: the question does not say what is right


class Tally:
    """Counts the answers of a cell as they go by.

    Attributes:
        positions, scores: of each answer, in order.
        groups: what the questions belong to, see `Example.group`.
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

    def add(self, row: Judged) -> None:
        """Count one."""
        example = row.example
        self._count(row)
        if row.score is None:
            return
        self.positions.append(row.position)
        self.scores.append(row.score)
        # Interned: a name that a thousand questions share is in memory once, for all cells.
        self.groups.append(sys.intern(example.group or example.id))
        self._kinds.append(sys.intern(example.kind))
        self._splits.append(sys.intern(example.split))
        self._shown.append(row.shown if example.relevant else _UNNAMED)
        self._ranks.append(_rank(row.found.rank) if example.relevant else "")
        if row.cause:
            self._causes[row.cause] += 1

    def _count(self, row: Judged) -> None:
        """What counts whether it is scored or not."""
        answer = row.answer
        self._counts["answers"] += 1
        self._counts["tokens_in"] += answer["tokens_in"]
        self._counts["tokens_out"] += answer["tokens_out"]
        self._counts["bem_truncated"] += row.cut
        self._counts["closed_book"] += self.cell.condition != "none" and not answer["documents"]
        self._counts["abstained"] += is_unknown(answer["prediction"])
        if row.example.relevant and answer["citations"]:
            self._counts["cited"] += 1
            self._counts["cited right"] += row.cited
        if answer.get("model"):
            self._models[answer["model"]] += 1

    def result(self, failed: int, official: Any) -> dict[str, Any]:
        """The cell's entry of results.json.

        Args:
            failed: questions without an answer.
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
            "citations": self._citations(),
            "causes": dict(sorted(self._causes.items())),
        }
        if n:
            whole = measured(scores, self.groups)
            entry |= {"accuracy": whole["value"], "ci95": whole["ci95"]}
        entry["by_kind"] = self._by(scores, self._kinds)
        entry["by_split"] = self._by(scores, self._splits)
        if self.cell.condition != "none":
            shown = np.array(self._shown)
            entry["given"] = _share(scores[shown == 1])
            entry["not_given"] = _share(scores[shown == 0])
            entry["by_rank"] = {
                name: _share(scores[np.array([rank == name for rank in self._ranks], bool)])
                for name in (*(label for _, label in _RANKS), _BEYOND, _NOWHERE)
            }
        for name in ("bem_truncated", "closed_book"):
            if self._counts[name]:
                entry[name] = self._counts[name]
        if self._models:
            entry["served"] = dict(sorted(self._models.items()))
        return entry

    def _citations(self) -> dict[str, Any]:
        """Of the questions that name right documents: answers that cite, and cite a right one."""
        cited, right = self._counts["cited"], self._counts["cited right"]
        return {"n": cited, "correct": round(right / cited, 6) if cited else None}

    def _by(self, scores: NDArray[np.float64], labels: Sequence[str]) -> dict[str, Any]:
        """Accuracy of each kind of question, where there is more than the whole."""
        found = {}
        for label in sorted(set(labels) - {""}):
            these = [i for i, name in enumerate(labels) if name == label]
            part = measured(scores[these], [self.groups[i] for i in these])
            found[label] = {"n": len(these), "accuracy": part["value"], "ci95": part["ci95"]}
        return found


def _share(scores: NDArray[np.float64]) -> dict[str, Any]:
    accuracy = round(float(scores.mean()), 6) if len(scores) else None
    return {"n": len(scores), "accuracy": accuracy}


def _rank(rank: int) -> str:
    if not rank:
        return _NOWHERE
    return next((label for last, label in _RANKS if rank <= last), _BEYOND)
