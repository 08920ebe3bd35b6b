"""Bootstrap intervals against cases by hand, the normal approximation, and their own coverage."""

from math import isnan, sqrt

import numpy as np
import pytest

from rag_vqa.errors import BadInput, UsageError
from rag_vqa.eval import intervals
from rag_vqa.eval.intervals import bootstrap, paired_bootstrap


def test_two_values_by_hand() -> None:
    """Means 0, ½, 1 with chances ¼, ½, ¼: the quantiles .025 and .975 are 0 and 1, .3 and .7 ½."""
    assert bootstrap([0, 1]) == (0.0, 1.0)
    assert bootstrap([0, 1], confidence=0.4) == (0.5, 0.5)


def test_two_clusters_by_hand() -> None:
    """Draws AA, AB, BA, BB of A = (1, 1, 1) and B = (0): means 1, ¾, ¾, 0."""
    clusters = ["A", "A", "B", "A"]
    assert bootstrap([1, 1, 0, 1], clusters) == (0.0, 1.0)
    assert bootstrap([1, 1, 0, 1], clusters, confidence=0.4) == (0.75, 0.75)


@pytest.mark.parametrize("kind", ["shares", "lengths"])
def test_the_normal_approximation(kind: str) -> None:
    rng = np.random.default_rng(1)
    values = (rng.random(2000) < 0.3) * 1.0 if kind == "shares" else rng.gamma(2, size=300)
    half = 1.96 * values.std() / sqrt(len(values))
    low, high = bootstrap(values, samples=20_000 if kind == "shares" else 3000)
    assert low == pytest.approx(values.mean() - half, abs=half * 0.1)
    assert high == pytest.approx(values.mean() + half, abs=half * 0.1)


def test_clusters_of_copies_are_one_value_each() -> None:
    """25 copies of each value: by clusters as without copies, by single values five times less."""
    values = (np.random.default_rng(2).random(200) < 0.6) * 1.0
    copies, labels = np.repeat(values, 25), np.repeat(np.arange(200), 25).tolist()
    low, high = bootstrap(values)
    assert bootstrap(copies, labels) == pytest.approx((low, high), abs=1e-12)
    narrow = bootstrap(copies)
    assert narrow[1] - narrow[0] == pytest.approx((high - low) / 5, rel=0.15)


def test_unequal_clusters_cover_the_truth_as_often_as_promised() -> None:
    """200 worlds of 40 clusters of 1 to 9 values around a cluster's own chance; the mean is ½."""
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(200):
        labels = np.repeat(np.arange(40), rng.integers(1, 10, 40))
        values = (rng.random(len(labels)) < rng.beta(2, 2, 40)[labels]) * 1.0
        low, high = bootstrap(values, labels.tolist(), samples=200)
        covered += low <= 0.5 <= high
    assert 0.89 <= covered / 200 <= 0.98


def test_a_pair_cancels_what_makes_a_question_hard() -> None:
    rng = np.random.default_rng(4)
    hard = rng.normal(size=100)
    a, b = hard + 0.1 + rng.normal(size=100) * 0.1, hard
    low, high = paired_bootstrap(a, b)
    assert 0.05 < low < 0.1 < high < 0.15
    assert paired_bootstrap(b, a) == pytest.approx((-high, -low), abs=0.006)
    apart = bootstrap(a)
    assert apart[1] - apart[0] > 5 * (high - low)


def test_paired_is_the_interval_of_the_differences() -> None:
    assert paired_bootstrap([1, 1, 0, 1], [0, 0, 0, 0], list("AABA"), confidence=0.4) == (
        0.75,
        0.75,
    )
    assert paired_bootstrap([1, 0, 1], [1, 0, 1]) == (0.0, 0.0)


def test_one_value_or_one_cluster_has_no_interval() -> None:
    assert all(isnan(bound) for bound in bootstrap([0.7]))
    assert all(isnan(bound) for bound in bootstrap([0, 1, 1], ["A", "A", "A"]))
    assert all(isnan(bound) for bound in paired_bootstrap([1], [0]))


def test_the_seed_decides_and_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(5).normal(size=50)
    whole = bootstrap(values, seed=7)
    assert whole == bootstrap(values, seed=7) != bootstrap(values, seed=8)
    monkeypatch.setattr(
        intervals, "_NUMBERS_AT_ONCE", 50 * 300
    )  # blocks of 300 samples, the last of 200
    assert bootstrap(values, seed=7) == pytest.approx(whole, abs=1e-12)


def test_labels_are_compared_as_they_are() -> None:
    """1 and "1" are two clusters, as are (1, 2) and "(1, 2)"."""
    assert bootstrap([0, 1], [1, "1"]) == (0.0, 1.0)
    assert bootstrap([0, 1], [(1, 2), "(1, 2)"]) == (0.0, 1.0)


def test_what_has_no_mean_is_refused() -> None:
    with pytest.raises(BadInput, match="at least one"):
        bootstrap([])
    with pytest.raises(BadInput, match="1 of 2 values are not finite"):
        bootstrap([1, float("nan")])
    with pytest.raises(UsageError, match="2 values, but 1 cluster"):
        bootstrap([1, 2], ["A"])
    with pytest.raises(UsageError, match="2 and 1 values"):
        paired_bootstrap([1, 2], [1])
    with pytest.raises(UsageError, match="between 0 and 1"):
        bootstrap([1, 2], confidence=95)
    with pytest.raises(UsageError, match="at least 1"):
        bootstrap([1, 2], samples=0)
