"""InfoSeek's rules put to Examples. Knows `references`, `kind` and `split` as its files have them.

Does not know how an answer compares: that is `rag_vqa.eval.infoseek`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rag_vqa.errors import BadInput
from rag_vqa.eval import infoseek
from rag_vqa.eval.scorers import words
from rag_vqa.eval.scoring import Scored
from rag_vqa.types import Example

_SPLITS = ("unseen_question", "unseen_entity")


class InfoSeek:
    """The official rules. In a run each question has one answer, so that official and strict, which
    differ in files that do not fit, are one."""

    def __init__(self) -> None:
        self.name = "infoseek official"

    def check(self, example: Example) -> None:
        """Raises BadInput where type, split or references are not InfoSeek's."""
        if not example.split.endswith(_SPLITS):
            raise BadInput(
                f"question {example.id}: split {example.split!r} is none of {', '.join(_SPLITS)}."
            )
        self._score(example, "")

    def score(self, examples: Sequence[Example], predictions: Sequence[str]) -> list[float]:
        """1 or 0 for each."""
        pairs = zip(examples, predictions, strict=True)
        return [self._score(example, prediction) for example, prediction in pairs]

    def _score(self, example: Example, prediction: str) -> float:
        try:
            return float(infoseek.score_answer(prediction, example.references, example.kind))
        except BadInput as error:
            raise BadInput(f"question {example.id}: {error}") from error

    def lenient(self, example: Example, prediction: str) -> bool:
        """A right text stands in it; or one of its numbers is in the range, or its range, from the
        least to the greatest number, overlaps with the right one."""
        if example.kind.lower() != "numerical":
            texts = infoseek.accepted_texts(example.references)
            return words.hold(prediction, texts, infoseek.normalize_answer)
        low, high = sorted(infoseek.accepted_range(example.references))
        numbers = infoseek.all_numbers(prediction)
        return bool(numbers) and min(numbers) <= high and max(numbers) >= low

    def cut(self, example: Example, prediction: str) -> bool:
        """No: all of it is read."""
        return False

    def summary(self, rows: Iterable[Scored]) -> Mapping[str, Any]:
        """The official result object in percent, beside n, accuracy and n of both splits.

        A split of which nothing was asked counts as 0 there, and `final_score` is then 0 as well.
        """
        right: Counter[tuple[bool, str]] = Counter()
        asked: Counter[tuple[bool, str]] = Counter()
        for example, _, score in rows:
            key = example.split.endswith("unseen_question"), example.kind.lower()
            asked[key] += 1
            right[key] += score == 1.0
        count = asked.total()
        return {
            "n": count,
            "accuracy": right.total() / count if count else None,
            "n_unseen_question": sum(n for (split, _), n in asked.items() if split),
            "n_unseen_entity": sum(n for (split, _), n in asked.items() if not split),
            **infoseek.result_of(right, asked),
        }
