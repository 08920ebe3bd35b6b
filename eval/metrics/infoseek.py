"""InfoSeek's score for `evaluate`: `evaluate.load("…/rag_vqa/eval/metrics/infoseek.py")`.

Knows the interface of the library. Does not know the rules (`rag_vqa.eval.infoseek`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate

from rag_vqa.errors import BadInput
from rag_vqa.eval.infoseek import Result, official_result

_CITATION = """Chen et al., Can Pre-trained Vision and Language Models Answer Visual
Information-Seeking Questions?, EMNLP 2023"""
_INPUTS = """
predictions: texts.
references: lists of texts: what is accepted; of a Numerical question the two ends of its range.
question_types: String, Time or Numerical of each.
data_splits: of each, ending with unseen_question or unseen_entity.
"""


class InfoSeek(evaluate.Metric):  # type: ignore[misc]  # the library has no types
    """The official script's result object, in percent."""

    def _info(self) -> Any:
        text = datasets.Value("string")
        features = {
            "predictions": text,
            "references": [text],
            "question_types": text,
            "data_splits": text,
        }
        return evaluate.MetricInfo(
            description="InfoSeek's official accuracy, by split and question type.",
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features(features),
            reference_urls=["https://github.com/edchengg/infoseek_eval"],
        )

    def _compute(
        self,
        predictions: Sequence[str],
        references: Sequence[Sequence[str]],
        question_types: Sequence[str],
        data_splits: Sequence[str],
    ) -> Result:
        ids = [str(number) for number in range(len(predictions))]
        accepted = map(_answer_eval, references, question_types)
        return official_result(
            [{"data_id": i, "prediction": p} for i, p in zip(ids, predictions, strict=True)],
            [
                {"data_id": name, "answer_eval": answers, "data_split": split}
                for name, answers, split in zip(ids, accepted, data_splits, strict=True)
            ],
            [{"data_id": i, "question_type": t} for i, t in zip(ids, question_types, strict=True)],
        )


def _answer_eval(reference: Sequence[str], question_type: str) -> list[Any]:
    if question_type.lower() != "numerical":
        return list(reference)
    try:
        low, high = map(float, reference)
    except ValueError as error:
        raise BadInput(
            f"the reference of a Numerical question is {reference!r}, not the ends of a range."
        ) from error
    return [{"range": [low, high]}]
