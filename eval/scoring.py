"""What an evaluation knows of a scorer, and which there are.

Knows examples, predictions and names of scorers. Does not know the rules, which are in `scorers`,
nor runs: failed rows are not scored, that is a run's matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeAlias

from rag_vqa.errors import UsageError
from rag_vqa.types import Example

Kind: TypeAlias = Literal["infoseek", "evqa", "text"]
Scored: TypeAlias = tuple[Example, str, float]  # what was asked, what was answered, its score


class Scorer(Protocol):
    """One way of scoring answers.

    Attributes:
        name: goes into results; two scores compare only where their names are equal.
    """

    name: str

    def check(self, example: Example) -> None:
        """Looks at what is right, before a run begins.

        Raises:
            BadInput: naming the question: nothing could be scored by it.
        """

    def score(self, examples: Sequence[Example], predictions: Sequence[str]) -> list[float]:
        """0 to 1 for each, in order; a batch of a few hundred suits BEM.

        Raises:
            BadInput: as `check`.
        """

    def lenient(self, example: Example, prediction: str) -> bool:
        """Would a laxer reading count an answer that scored 0? The words of a right one stand in
        it, or a number of the right range."""

    def cut(self, example: Example, prediction: str) -> bool:
        """Was only the beginning of an answer looked at? BEM reads 512 tokens."""

    def summary(self, rows: Iterable[Scored]) -> Mapping[str, Any]:
        """The benchmark's own aggregate, with n and accuracy; rows are read once, none is kept."""


def summing_up(kind: Kind, name: str) -> Scorer:
    """For answers that the scorer of that name has scored: its summary, without its model."""
    made = make_scorer(kind)
    made.name = name
    return made


def make_scorer(
    kind: Kind,
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
    from rag_vqa.eval.scorers import evqa, infoseek, text

    if bem is not None and kind != "evqa":
        raise UsageError(f"--bem {bem}: only the scorer evqa asks a BEM, this is {kind}.")
    match kind:
        case "infoseek":
            return infoseek.InfoSeek()
        case "text":
            return text.Text()
        case "evqa":
            if bem is None:
                return evqa.Evqa(None)
            from rag_vqa.eval.bem import Bem

            return evqa.Evqa(Bem.load(bem, device=device, offline=offline))
    raise UsageError(f"scorer {kind!r} is none of infoseek, evqa, text.")
