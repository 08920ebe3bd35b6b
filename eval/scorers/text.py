"""Own questions, with answers as texts and questions that nothing answers. Knows both. Does not
know how texts compare: that is `rag_vqa.eval.answers`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rag_vqa.errors import BadInput
from rag_vqa.eval import answers
from rag_vqa.eval.scorers import words
from rag_vqa.eval.scorers.means import Means
from rag_vqa.eval.scoring import Scored
from rag_vqa.types import Example

_ABSTENTIONS = ("unknown", "not known", "do not know", "don't know", "cannot tell", "can't tell")


class Text:
    """Exact match after `answers.normalize`; where `unanswerable`, abstaining is right."""

    def __init__(self) -> None:
        self.name = "text exact match"

    def check(self, example: Example) -> None:
        """Raises BadInput where the question has no answer that could be right."""
        if not example.unanswerable and not any(map(answers.normalize, example.answers)):
            raise BadInput(
                f"question {example.id}: no answers, and not marked unanswerable: there is nothing "
                "to score an answer by."
            )

    def score(self, examples: Sequence[Example], predictions: Sequence[str]) -> list[float]:
        """1 or 0 for each."""
        return [self._score(e, text) for e, text in zip(examples, predictions, strict=True)]

    def _score(self, example: Example, prediction: str) -> float:
        self.check(example)
        if example.unanswerable:
            return float(answers.is_unknown(prediction))
        return float(answers.exact_match(prediction, example.answers))

    def lenient(self, example: Example, prediction: str) -> bool:
        """A right answer stands in it; where nothing answers, a phrase that abstains."""
        right = _ABSTENTIONS if example.unanswerable else example.answers
        return words.hold(answers.strip_citations(prediction), right, answers.normalize)

    def cut(self, example: Example, prediction: str) -> bool:
        """No: all of it is read."""
        return False

    def summary(self, rows: Iterable[Scored]) -> Mapping[str, Any]:
        """Accuracy of all, of what can be answered and what cannot, and by kind; how many of the
        abstentions are right (precision), and how many of what cannot be answered (recall); both
        None where everything can be answered."""
        means = Means()
        for example, prediction, score in rows:
            part = "unanswerable" if example.unanswerable else "answerable"
            means.add(score, "all", part, *([f"kind: {example.kind}"] if example.kind else []))
            if answers.is_unknown(prediction):
                means.add(float(example.unanswerable), "abstained")
        unanswerable = means.of("unanswerable")
        kinds = [name for name in means.names if name.startswith("kind: ")]
        return {
            **means.of("all"),
            "answerable": means.of("answerable"),
            "abstention": {
                "n": unanswerable["n"],
                "abstained": means.of("abstained")["n"],
                "precision": means.of("abstained")["accuracy"] if unanswerable["n"] else None,
                "recall": unanswerable["accuracy"],
            },
            "by_kind": {name.removeprefix("kind: "): means.of(name) for name in kinds},
        }
