"""Several sources as one order of places, by weight, and each rank's share of a step.

It knows places alone: which source stands at place n, and which of its own places that is. It
does not know rows or files.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from rag_vqa.errors import UsageError
from rag_vqa.retriever.training.batch import Pair, Source

CYCLE = 10_000  # places in which each source stands as often as its weight says, to the unit


class Mixture:
    """Sources whose places are shuffled within each cycle of 10,000. A `Source` itself.

    Attributes:
        counts: places of each source in a cycle.
    """

    def __init__(self, sources: Sequence[Source], weights: Sequence[float]) -> None:
        """Raises UsageError: no source, no weight for each, or a weight that no cycle can hold."""
        if not sources or len(sources) != len(weights):
            raise UsageError(f"{len(sources)} sources and {len(weights)} weights: give one each.")
        if not all(math.isfinite(weight) and weight > 0 for weight in weights):
            raise UsageError(f"weights are {list(weights)}: each must be above 0.")
        self.sources, self.counts = tuple(sources), apportioned(weights, CYCLE)
        for source, count in zip(sources, self.counts, strict=True):
            if not count:
                raise UsageError(f"{source.name}: under 1 of {CYCLE} rows: raise its weight.")
        self._order = lru_cache(maxsize=2)(self._cycle)

    @property
    def name(self) -> str:
        return " + ".join(source.name for source in self.sources)

    def __reduce__(self) -> tuple[type[Mixture], tuple[tuple[Source, ...], tuple[int, ...]]]:
        return Mixture, (self.sources, self.counts)

    def share(self, seed: int, step: int, batch: int, rank: int = 0, world: int = 1) -> list[Pair]:
        """What rank `rank` of `world` has of the `batch` pairs of a step: rows [rank·b,
        (rank+1)·b) of the whole batch, b = batch / world.

        Raises UsageError: the batch does not split evenly.
        """
        return self.draw(seed, places(step, batch, rank, world))

    def draw(self, seed: int, rows: Sequence[int]) -> list[Pair]:
        """Pairs of these places."""
        found = [self.at(seed, place) for place in rows]
        drawn: dict[int, list[Pair]] = {
            number: self.sources[number].draw(seed, [at for one, at in found if one == number])
            for number in sorted({one for one, _ in found})
        }
        for pairs in drawn.values():
            pairs.reverse()
        return [drawn[number].pop() for number, _ in found]

    def at(self, seed: int, place: int) -> tuple[int, int]:
        """Which source stands at a place, by its number, and at which of its own places."""
        cycle, inner = divmod(place, CYCLE)
        number, before = (int(table[inner]) for table in self._order(seed, cycle))
        return number, cycle * self.counts[number] + before

    def skips(self, seed: int, place: int) -> bool:
        """Whether the source at a place says that a row that cannot be used is left out."""
        return getattr(self.sources[self.at(seed, place)[0]], "on_bad", "stop") == "skip"

    def _cycle(self, seed: int, cycle: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Of each place of a cycle its source, and how many of that source stand before it."""
        listed = np.repeat(np.arange(len(self.sources)), self.counts)
        order = np.random.default_rng([seed, cycle]).permutation(listed)
        before = np.empty(CYCLE, np.int64)
        for number, count in enumerate(self.counts):
            before[order == number] = np.arange(count)
        return order, before


def places(step: int, batch: int, rank: int, world: int) -> range:
    """Places of a rank's rows of a step. Raises UsageError: see `Mixture.share`."""
    if batch < 1 or batch % world:
        raise UsageError(f"a batch of {batch} does not split over {world} processes: change it.")
    own = batch // world
    first = step * batch + rank * own
    return range(first, first + own)


def apportioned(weights: Sequence[float], seats: int) -> tuple[int, ...]:
    """Whole numbers in the proportion of the weights that sum to `seats` (largest remainders).

    >>> apportioned([2, 1], 10)
    (7, 3)
    """
    total = math.fsum(weights)
    exact = [weight * seats / total for weight in weights]
    counts = [math.floor(share) for share in exact]
    by_rest = sorted(range(len(exact)), key=lambda row: (counts[row] - exact[row], row))
    for row in by_rest[: seats - sum(counts)]:
        counts[row] += 1
    return tuple(counts)
