"""Scorers: open the one that a question set names; means and text matching that scorers share.

Knows names of scorers, means by name, and whether a text contains another. Does not know the rules
of a benchmark (its file in benchmarks/ names its scorer), nor runs: failed rows are not scored.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import TypedDict

from rag_vqa.errors import UsageError
from rag_vqa.formats.benchmark import BENCHMARKS, Benchmark, Scorer, ScorerOptions


def make_scorer(
    name: str, *, bem: str | None = None, device: str = "auto", offline: bool = False
) -> Scorer:
    """Open the scorer of this name: "infoseek", "evqa", or "text" for own questions.

    Args:
        bem: a BERT classifier, as `Bem.load` takes it, for scorers that can use one. None: those
            score by exact match only, under a name that says so.

    Raises:
        UsageError: another name, or a BEM that the scorer cannot use.
        Missing: the BEM is not there.
    """
    benchmark = find_benchmark(name)
    if bem is not None and not benchmark.takes_bem:
        takers = [found.scorer for found in BENCHMARKS.entries() if found.takes_bem]
        raise UsageError(
            f"--bem {bem}: only the scorer {' or '.join(takers)} uses one, not {name}."
        )
    assert benchmark.make_scorer is not None
    return benchmark.make_scorer(ScorerOptions(bem, device, offline))


def make_summary_scorer(name: str, full_name: str) -> Scorer:
    """A scorer that only summarises scores made before under `full_name`; loads no model."""
    scorer = make_scorer(name)
    scorer.name = full_name
    return scorer


def find_benchmark(scorer: str) -> Benchmark:
    """The benchmark whose scorer has this name.

    Raises:
        UsageError: there is none.
    """
    known = {found.scorer: found for found in BENCHMARKS.entries() if found.make_scorer}
    if scorer not in known:
        raise UsageError(f"scorer {scorer!r} is none of {', '.join(known)}.")
    return known[scorer]


class Mean(TypedDict):
    """A mean between 0 and 1 and the number of values; None of no values."""

    n: int
    accuracy: float | None


class Means:
    """Sums and counts by name."""

    def __init__(self) -> None:
        self._sums: defaultdict[str, float] = defaultdict(float)
        self._counts: Counter[str] = Counter()

    def add(self, score: float, *names: str) -> None:
        """Count a score under each name."""
        for name in names:
            self._counts[name] += 1
            self._sums[name] += score

    def mean(self, name: str) -> Mean:
        """The mean under a name."""
        count = self._counts[name]
        return {"n": count, "accuracy": self._sums[name] / count if count else None}

    @property
    def names(self) -> list[str]:
        """Names counted so far, sorted."""
        return sorted(self._counts)


def contains_any(
    prediction: str, references: Iterable[str], normalize: Callable[[str], str]
) -> bool:
    """Whether the normalised prediction contains any normalised reference as whole words.

    >>> [contains_any(text, ["oslo"], str.lower) for text in ("It is Oslo", "Oslofjord", "Oslo!")]
    [True, False, False]
    """
    within = f" {normalize(prediction)} "
    wanted = (normalize(reference) for reference in references)
    return any(f" {text} " in within for text in wanted if text)


def as_percent(share: float | None) -> float | None:
    """A share of 1 in percent; None stays None."""
    return None if share is None else 100 * share
