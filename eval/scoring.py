"""Scorers: makes the scorer of a benchmark, and holds what scorers share.

Knows names of scorers, means by name, and whether a text contains another. Does not know the rules
of a benchmark, nor runs: failed rows are not scored, that is a run's matter.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import Literal, TypeAlias, TypedDict

from rag_vqa.errors import UsageError
from rag_vqa.formats.benchmark import Scorer

AnswerScorerName: TypeAlias = Literal["infoseek", "evqa", "text"]


def make_summary_scorer(kind: AnswerScorerName, name: str) -> Scorer:
    """For answers that the scorer of that name has scored: its summary, without its model."""
    made = make_scorer(kind)
    made.name = name
    return made


def make_scorer(
    kind: AnswerScorerName,
    *,
    bem: str | None = None,
    device: str = "auto",
    offline: bool = False,
) -> Scorer:
    """The scorer of a benchmark; "text" for own questions.

    Args:
        bem: of "evqa" alone: a BERT classifier, as `Bem.load` takes it. None: exact match only,
            under that name.

    Raises:
        UsageError: another kind, or a BEM where none is asked.
        Missing: the BEM is not there.
    """
    from rag_vqa.eval import evqa, infoseek
    from rag_vqa.eval.benchmarks import own

    if bem is not None and kind != "evqa":
        raise UsageError(f"--bem {bem}: only the scorer evqa asks a BEM, this is {kind}.")
    match kind:
        case "infoseek":
            return infoseek.InfoSeekScorer()
        case "text":
            return own.TextScorer()
        case "evqa":
            if bem is None:
                return evqa.EvqaScorer(None)
            from rag_vqa.eval.bem import Bem

            return evqa.EvqaScorer(Bem.load(bem, device=device, offline=offline))
    raise UsageError(f"scorer {kind!r} is none of infoseek, evqa, text.")


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


def contains_any(
    prediction: str, references: Iterable[str], normalize: Callable[[str], str]
) -> bool:
    """Whether any reference, normalised, stands in the normalised prediction as whole words.

    >>> contains_any("It is Oslo", ["oslo"], str.lower)
    True
    >>> contains_any("It is the Oslofjord", ["oslo"], str.lower)
    False
    """
    within = f" {normalize(prediction)} "
    wanted = (normalize(reference) for reference in references)
    return any(f" {text} " in within for text in wanted if text)
