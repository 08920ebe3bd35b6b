"""Encyclopedic-VQA's score for `evaluate`: `evaluate.load("…/rag_vqa/eval/metrics/evqa.py")`.

Knows the interface of the library. Does not know the rules (`rag_vqa.eval.evqa`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate

from rag_vqa.eval.bem import Bem
from rag_vqa.eval.evqa import EvqaScorer as Scorer
from rag_vqa.types import Example, Query

_CITATION = """Mensink et al., Encyclopedic VQA: Visual questions about detailed properties of
fine-grained categories, ICCV 2023"""
_INPUTS = """
predictions: texts.
references: lists of texts, one of each annotator; && between the items of multi_answer.
question_types: templated, automatic, multi_answer or 2_hop of each.
questions: texts, which BEM reads.
bem: a rag_vqa.eval.bem.Bem; without one, exact match alone, which is not the official score.
"""


class Evqa(evaluate.Metric):  # type: ignore[misc]  # the library has no types
    """Accuracy of all, single-hop and by type, and the name of the scorer."""

    def _info(self) -> Any:
        text = datasets.Value("string")
        features = {
            "predictions": text,
            "references": [text],
            "question_types": text,
            "questions": text,
        }
        return evaluate.MetricInfo(
            description="Encyclopedic-VQA's accuracy: exact match, else BEM.",
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features(features),
            reference_urls=[
                "https://github.com/google-research/google-research/tree/master/encyclopedic_vqa"
            ],
        )

    def _compute(
        self,
        predictions: Sequence[str],
        references: Sequence[Sequence[str]],
        question_types: Sequence[str],
        questions: Sequence[str],
        bem: Bem | None = None,
    ) -> dict[str, Any]:
        scorer = Scorer(bem)
        columns = zip(questions, references, question_types, strict=True)
        examples = [
            Example(str(number), Query(question), references=tuple(answers), kind=kind)
            for number, (question, answers, kind) in enumerate(columns)
        ]
        scores = scorer.score(examples, predictions)
        rows = zip(examples, predictions, scores, strict=True)
        return {"scorer": scorer.name, **scorer.summary(rows)}
