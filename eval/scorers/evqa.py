"""Encyclopedic-VQA's rules put to Examples. Knows `references`, one answer of each annotator, and
`kind`. Does not know how an answer compares (`rag_vqa.eval.evqa`), nor what BEM is made of.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rag_vqa.errors import BadInput
from rag_vqa.eval import evqa
from rag_vqa.eval.scorers import words
from rag_vqa.eval.scorers.means import Means
from rag_vqa.eval.scoring import Scored
from rag_vqa.types import Example

if TYPE_CHECKING:
    from rag_vqa.eval.bem import Bem, Triple

EXACT_ONLY = (
    "evqa exact match only"  # stricter than the official score, and never called by its name
)


class Evqa:
    """Exact match, else BEM; without one exact match alone, under a name that says so.

    The name has the BEM: with another than TF-Hub's, converted, the rule is official and the number
    does not compare with papers.
    """

    def __init__(self, bem: Bem | None) -> None:
        self._bem = bem
        self.name = EXACT_ONLY if bem is None else f"evqa official (BEM {bem.name})"

    def check(self, example: Example) -> None:
        """Raises BadInput where the type is not E-VQA's, or a reference is empty."""
        self._score(example, "", None)

    def score(self, examples: Sequence[Example], predictions: Sequence[str]) -> list[float]:
        """1 or 0 for each. What BEM must say is gathered first, and asked at once."""
        pairs = list(zip(examples, predictions, strict=True))
        if self._bem is None:
            return [self._score(example, prediction, None) for example, prediction in pairs]
        asked = dict.fromkeys(triple for pair in pairs for triple in self._asked(*pair))
        wanted = dict(zip(asked, self._bem.probabilities(list(asked)), strict=True))

        def said(*triple: str) -> float:
            return wanted[triple[0], triple[1], triple[2]]

        return [self._score(example, prediction, said) for example, prediction in pairs]

    def _asked(self, example: Example, prediction: str) -> list[Triple]:
        """What BEM is asked of an answer: nothing of one that matches exactly."""
        asked: list[Triple] = []

        def gather(*triple: str) -> float:
            asked.append((triple[0], triple[1], triple[2]))
            return 0.0

        self._score(example, prediction, gather)
        return asked

    def _score(self, example: Example, prediction: str, bem: evqa.Bem | None) -> float:
        text, references = example.query.text, example.references
        try:
            return evqa.score_answer(text, references, prediction, example.kind, bem)
        except BadInput as error:
            raise BadInput(f"question {example.id}: {error}") from error

    def lenient(self, example: Example, prediction: str) -> bool:
        """The words of a reference stand in it; of a list, those of any item."""
        items = [item for text in example.references for item in text.split("&&")]
        return words.hold(prediction, items, evqa.preprocess_answer)

    def cut(self, example: Example, prediction: str) -> bool:
        """BEM reads so many tokens; one that matches exactly, it does not read."""
        bem = self._bem
        return bem is not None and any(map(bem.cuts, self._asked(example, prediction)))

    def summary(self, rows: Iterable[Scored]) -> Mapping[str, Any]:
        """Accuracy of all, of single-hop (all but 2_hop), and of each type, each with its n."""
        means = Means()
        for example, _, score in rows:
            hops = "hop: two" if example.kind == "2_hop" else "hop: single"
            means.add(score, "all", hops, f"type: {example.kind}")
        types = [name for name in evqa.QUESTION_TYPES if f"type: {name}" in means.names]
        return {
            **means.of("all"),
            "single_hop": means.of("hop: single"),
            "by_type": {name: means.of(f"type: {name}") for name in types},
        }
