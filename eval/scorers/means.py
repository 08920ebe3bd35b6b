"""Means of scores by name, counted as they come. Knows names and numbers, not what they mean."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TypedDict


class Mean(TypedDict):
    """A mean of 0 to 1 and over how many it is; None over none."""

    n: int
    accuracy: float | None


class Means:
    """Sums and counts by name."""

    def __init__(self) -> None:
        self._sums: defaultdict[str, float] = defaultdict(float)
        self._counts: Counter[str] = Counter()

    def add(self, score: float, *names: str) -> None:
        """Counts a score under each name."""
        for name in names:
            self._counts[name] += 1
            self._sums[name] += score

    def of(self, name: str) -> Mean:
        """The mean under a name."""
        count = self._counts[name]
        return {"n": count, "accuracy": self._sums[name] / count if count else None}

    @property
    def names(self) -> list[str]:
        """What was counted, in order of the alphabet."""
        return sorted(self._counts)
