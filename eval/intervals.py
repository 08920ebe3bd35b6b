"""Bootstrap intervals of a mean: how much it would vary with other questions of the same kind.

Knows numbers and their clusters. Does not know what was measured. Values of one cluster (all
questions about one country) are drawn together, because they are not independent.
Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapters 8 and 13.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from math import nan

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rag_vqa.errors import BadInput, UsageError

_NUMBERS_AT_ONCE = 4_000_000  # numbers held at once: 32 MB


def bootstrap(
    values: ArrayLike,
    clusters: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
    samples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval (low, high) of the mean of the values.

    One value, or one cluster, says nothing about the spread: (nan, nan), not a width of zero. Equal
    values do give a width of zero: every draw of them is the same.

    Args:
        values: (N,) finite numbers, such as 0 and 1 for wrong and right.
        clusters: (N,) labels; whole clusters are drawn. None: single values are drawn.

    Raises:
        BadInput: no values, or one that is not finite.
        UsageError: different lengths, a confidence outside (0, 1), or no samples.

    >>> bootstrap([0.0, 1.0])
    (0.0, 1.0)
    """
    if not 0 < confidence < 1:
        raise UsageError(f"confidence is {confidence}: it must lie between 0 and 1.")
    if samples < 1:
        raise UsageError(f"samples is {samples}: at least 1 is needed, 2000 is usual.")
    sums, sizes = _cluster_sums(_check_finite(values), clusters)
    if len(sums) < 2:
        return nan, nan
    means = _bootstrap_means(sums, sizes, samples, np.random.default_rng(seed))
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def paired_bootstrap(
    a: ArrayLike,
    b: ArrayLike,
    clusters: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
    samples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Interval of mean(a - b) for two systems on the same questions, (N,) each, in the same order.

    It is narrower than a comparison of two intervals: what makes a question hard cancels out.

    Raises:
        BadInput, UsageError: as `bootstrap`.
    """
    first, second = _check_finite(a), _check_finite(b)
    if len(first) != len(second):
        raise UsageError(f"{len(first)} and {len(second)} values: a pair for each is needed.")
    return bootstrap(first - second, clusters, confidence, samples, seed)


def _check_finite(values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or not array.size:
        raise BadInput(f"values have the shape {array.shape}: a mean needs a list of at least one.")
    if not np.isfinite(array).all():
        raise BadInput(f"{np.sum(~np.isfinite(array))} of {array.size} values are not finite.")
    return array


def _cluster_sums(
    values: NDArray[np.float64], clusters: Sequence[Hashable] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum and size of each cluster, (C,) each."""
    if clusters is None:
        return values, np.ones_like(values)
    if len(clusters) != len(values):
        raise UsageError(f"{len(values)} values, but {len(clusters)} cluster labels.")
    codes: dict[Hashable, int] = {}
    rows = np.array([codes.setdefault(label, len(codes)) for label in clusters])  # (N,)
    return np.bincount(rows, values).astype(np.float64), np.bincount(rows).astype(np.float64)


def _bootstrap_means(
    sums: NDArray[np.float64], sizes: NDArray[np.float64], samples: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """The mean of each of `samples` draws of C clusters out of C, (samples,).

    Clusters of equal sum and size are interchangeable, so the number of draws of each *kind* is
    multinomial. Values of 0 and 1 have two kinds, however many questions there are. Time grows with
    kinds x samples, about 0.1 µs each.
    """
    kinds, counts = np.unique(np.stack([sums, sizes], 1), axis=0, return_counts=True)  # (T, 2)
    block = max(1, _NUMBERS_AT_ONCE // len(kinds))
    drawn = [
        rng.multinomial(len(sums), counts / len(sums), size=min(block, samples - start)) @ kinds
        for start in range(0, samples, block)
    ]  # of (block, 2): sum and size of each draw
    totals = np.concatenate(drawn)
    means: NDArray[np.float64] = totals[:, 0] / totals[:, 1]
    return means
