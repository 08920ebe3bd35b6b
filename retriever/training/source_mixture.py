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

CYCLE_PLACES = 10_000  # in which each source has its exact share of places
SourceFactories = Mapping[str, Callable[[SourceSettings], PairSource]]
_temporary_folders: list[tempfile.TemporaryDirectory[str]] = []


class Mixture:
    """Several sources, shuffled within each cycle of 10,000 places. A `PairSource` itself.

    Attributes:
        counts: places per cycle of each source.
    """

    def __init__(self, sources: Sequence[PairSource], weights: Sequence[float]) -> None:
        """Raises UsageError: no source, not one weight for each, or a weight that is too small."""
        if not sources or len(sources) != len(weights):
            raise UsageError(
                f"{len(sources)} sources and {len(weights)} weights: give one for each source."
            )
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
        """The pairs of rank `rank` in a step: rows [rank·b, (rank+1)·b), b = batch / world.

        Raises UsageError: the batch does not split evenly over `world` ranks.
        """
        return self.draw(seed, step_places(step, batch, rank, world))

    def draw(self, seed: int, rows: Sequence[int]) -> list[Pair]:
        """The pairs at these places."""
        found = [self.locate(seed, place) for place in rows]
        drawn: dict[int, list[Pair]] = {
            number: self.sources[number].draw(seed, [at for one, at in found if one == number])
            for number in sorted({one for one, _ in found})
        }
        for pairs in drawn.values():
            pairs.reverse()
        return [drawn[number].pop() for number, _ in found]

    def locate(self, seed: int, place: int) -> tuple[int, int]:
        """The number of the source at a place, and the place within that source."""
        cycle, inner = divmod(place, CYCLE_PLACES)
        number, before = (int(table[inner]) for table in self._order(seed, cycle))
        return number, cycle * self.counts[number] + before

    def skips_bad_rows(self, seed: int, place: int) -> bool:
        """Whether the source at a place skips rows that cannot be used (`on_bad`)."""
        return getattr(self.sources[self.locate(seed, place)[0]], "on_bad", "stop") == "skip"

    def _cycle(self, seed: int, cycle: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """For each place of a cycle: its source, and how many of that source come before it."""
        listed = np.repeat(np.arange(len(self.sources)), self.counts)
        order = np.random.default_rng([seed, cycle]).permutation(listed)
        before = np.empty(CYCLE_PLACES, np.int64)
        for number, count in enumerate(self.counts):
            before[order == number] = np.arange(count)
        return order, before


def step_places(step: int, batch: int, rank: int, world: int) -> range:
    """The places of a rank's rows in a step. Raises UsageError: see `Mixture.share`."""
    if batch < 1 or batch % world:
        raise UsageError(
            f"a batch of {batch} does not split evenly over {world} processes: change batch."
        )
    own = batch // world
    first = step * batch + rank * own
    return range(first, first + own)


def apportion(weights: Sequence[float], seats: int) -> tuple[int, ...]:
    """Whole numbers in proportion to the weights, with the sum `seats` (largest remainders).

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
    """Open one source, and check all of it: packing reads every row and document once.

    Args:
        others: functions that make sources of formats without files, by format name.
        folder: where the source is packed; later runs with the same files reuse it. None: a
            temporary folder, deleted when this process ends.
        instruction: for questions in files that have none of their own.

    Raises:
        UsageError: an unknown format, or settings that it does not have.
        Missing: a file does not exist.
        BadInput: a row is rejected and `on_bad` is "stop", or there is no row.
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
    """Mix sources, each in proportion to its weight times its rows; see `open_source`.

    Raises:
        UsageError: no source, or sources with different numbers of negatives per row.
    """
    if not all_of:
        raise UsageError("data.train is empty: name at least one source.")
    if len({settings.hard for settings in all_of}) > 1:
        raise UsageError("the sources differ in `hard`: set the same number of negatives for each.")
    sources = [open_source(settings, others, folder, instruction) for settings in all_of]
    rows = [len(one) if isinstance(one, PackedSource) else 1 for one in sources]
    shares = [settings.weight * count for settings, count in zip(all_of, rows, strict=True)]
    return Mixture(sources, shares)


def _temporary_folder() -> Path:
    """A folder that is deleted when the process ends."""
    made = tempfile.TemporaryDirectory(prefix="rag-vqa-")
    _temporary_folders.append(made)
    return Path(made.name)
