"""Opens sources of training pairs, and mixes several by weight into one order of places.

Knows which source stands at place n, each rank's share of a step, and who reads which format. Does
not know rows or files.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rag_vqa.errors import UsageError
from rag_vqa.retriever.training.packed_source import PackedSource
from rag_vqa.retriever.training.source_packing import pack_source
from rag_vqa.retriever.training.training_pairs import Pair, PairSource
from rag_vqa.retriever.training.training_settings import SourceSettings

CYCLE_PLACES = 10_000  # places in which each source stands as often as its weight says, to the unit
SourceFactories = Mapping[str, Callable[[SourceSettings], PairSource]]
_temporary_folders: list[tempfile.TemporaryDirectory[str]] = []


class Mixture:
    """Sources whose places are shuffled within each cycle of 10,000. A `Source` itself.

    Attributes:
        counts: places of each source in a cycle.
    """

    def __init__(self, sources: Sequence[PairSource], weights: Sequence[float]) -> None:
        """Raises UsageError: no source, no weight for each, or a weight that no cycle can hold."""
        if not sources or len(sources) != len(weights):
            raise UsageError(f"{len(sources)} sources and {len(weights)} weights: give one each.")
        if not all(math.isfinite(weight) and weight > 0 for weight in weights):
            raise UsageError(f"weights are {list(weights)}: each must be above 0.")
        self.sources, self.counts = tuple(sources), apportion(weights, CYCLE_PLACES)
        for source, count in zip(sources, self.counts, strict=True):
            if not count:
                raise UsageError(
                    f"{source.name}: under 1 of {CYCLE_PLACES} rows: raise its weight."
                )
        self._order = lru_cache(maxsize=2)(self._cycle)

    @property
    def name(self) -> str:
        return " + ".join(source.name for source in self.sources)

    def __reduce__(self) -> tuple[type[Mixture], tuple[tuple[PairSource, ...], tuple[int, ...]]]:
        return Mixture, (self.sources, self.counts)

    def share(self, seed: int, step: int, batch: int, rank: int = 0, world: int = 1) -> list[Pair]:
        """What rank `rank` of `world` has of the `batch` pairs of a step: rows [rank·b,
        (rank+1)·b) of the whole batch, b = batch / world.

        Raises UsageError: the batch does not split evenly.
        """
        return self.draw(seed, step_places(step, batch, rank, world))

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
        cycle, inner = divmod(place, CYCLE_PLACES)
        number, before = (int(table[inner]) for table in self._order(seed, cycle))
        return number, cycle * self.counts[number] + before

    def skips(self, seed: int, place: int) -> bool:
        """Whether the source at a place says that a row that cannot be used is left out."""
        return getattr(self.sources[self.at(seed, place)[0]], "on_bad", "stop") == "skip"

    def _cycle(self, seed: int, cycle: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Of each place of a cycle its source, and how many of that source stand before it."""
        listed = np.repeat(np.arange(len(self.sources)), self.counts)
        order = np.random.default_rng([seed, cycle]).permutation(listed)
        before = np.empty(CYCLE_PLACES, np.int64)
        for number, count in enumerate(self.counts):
            before[order == number] = np.arange(count)
        return order, before


def step_places(step: int, batch: int, rank: int, world: int) -> range:
    """Places of a rank's rows of a step. Raises UsageError: see `Mixture.share`."""
    if batch < 1 or batch % world:
        raise UsageError(f"a batch of {batch} does not split over {world} processes: change it.")
    own = batch // world
    first = step * batch + rank * own
    return range(first, first + own)


def apportion(weights: Sequence[float], seats: int) -> tuple[int, ...]:
    """Whole numbers in the proportion of the weights that sum to `seats` (largest remainders).

    >>> apportion([2, 1], 10)
    (7, 3)
    """
    total = math.fsum(weights)
    exact = [weight * seats / total for weight in weights]
    counts = [math.floor(share) for share in exact]
    by_rest = sorted(range(len(exact)), key=lambda row: (counts[row] - exact[row], row))
    for row in by_rest[: seats - sum(counts)]:
        counts[row] += 1
    return tuple(counts)


def open_source(
    settings: SourceSettings,
    others: SourceFactories | None = None,
    folder: Path | None = None,
    instruction: str = "",
) -> PairSource:
    """One source, checked as a whole: every row and document that it names was read once.

    Args:
        others: what makes sources of formats that are no files, by their names.
        folder: where it is packed, and found again by the next run with the same files: a folder
            of the training run. None: a temporary one, which ends with this process.
        instruction: of files, before questions that bring none.

    Raises:
        UsageError: no such format, or settings that it does not have.
        Missing: a file is not there.
        BadInput: a row that is refused, where the settings say stop; no row at all.
    """
    others = others or {}
    if settings.format in others:
        return others[settings.format](settings)
    if folder is None:
        folder = _temporary_folder()
    packed = pack_source(settings, folder)
    name = "" if settings.questions is None else settings.questions.name
    return PackedSource(
        packed,
        name,
        instructions=settings.instructions,
        instruction=instruction,
        hard=settings.hard,
        on_bad=settings.on_bad,
    )


def open_mixture(
    all_of: Sequence[SourceSettings],
    others: SourceFactories | None = None,
    folder: Path | None = None,
    instruction: str = "",
) -> Mixture:
    """The sources as one, each by its weight times its rows; see `open_source`.

    Raises:
        UsageError: none, or different numbers of negatives, which no batch can hold.
    """
    if not all_of:
        raise UsageError("there is nothing to train on: name a source in data.train.")
    if len({settings.hard for settings in all_of}) > 1:
        raise UsageError("the sources differ in `hard`: a batch needs the same number of each.")
    sources = [open_source(settings, others, folder, instruction) for settings in all_of]
    rows = [len(one) if isinstance(one, PackedSource) else 1 for one in sources]
    shares = [settings.weight * count for settings, count in zip(all_of, rows, strict=True)]
    return Mixture(sources, shares)


def _temporary_folder() -> Path:
    """A folder that is deleted as the process ends."""
    made = tempfile.TemporaryDirectory(prefix="rag-vqa-")
    _temporary_folders.append(made)
    return Path(made.name)
