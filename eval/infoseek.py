"""InfoSeek's answer scoring, number for number as its official script computes it.

Rules: github.com/edchengg/infoseek_eval, `infoseek_eval.py`. Written anew and held equal by golden
data. Knows texts, Examples (`references`, `kind`, `split`) and files of predictions. Does not know
images, retrieval or readers. Its oddities (".5" is 5, "-4" equals "4" as a text) are kept on
purpose: a score that differs cannot be compared.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypedDict

from rag_vqa.errors import BadInput, UsageError
from rag_vqa.eval.predictions import PredictionRow, check_fit, read_rows, row_text, select_cell
from rag_vqa.eval.scorers import contains_any
from rag_vqa.formats.benchmark import Scored
from rag_vqa.types import Example

ScoringMode: TypeAlias = Literal["strict", "official"]
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_NUMBER = re.compile(r"[-+]?[.]?\d+(?:,\d\d\d)*[.]?\d*(?:[eE][-+]?\d+)?")
_QUESTION_TYPES = ("string", "time", "numerical")
_EDGE = 1e-12  # added to each length and to the threshold by the official script
_SPLITS = ("unseen_question", "unseen_entity")


class SplitScore(TypedDict):
    """Accuracies of one split in percent, rounded to 2 places; 0 if no question counts."""

    score: float
    score_time: float
    score_num: float
    score_string: float


class Result(TypedDict):
    """The official script's result object; `final_score` is the splits' harmonic mean."""

    final_score: float
    unseen_question_score: SplitScore
    unseen_entity_score: SplitScore


def normalize_answer(text: str) -> str:
    """Lower case, without ASCII punctuation, articles and surplus spaces.

    >>> normalize_answer("The  U.S.A., an  ally")
    'usa ally'
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def parse_numbers(text: str) -> float | list[float]:
    """The number in a text, or the range of its first two numbers; [0, 0] if it has none.

    The official script fails at a number like "-.1.5", of which only the sign is left before the
    first dot; here it does not count as a number.

    >>> parse_numbers("35.4-39.2 km"), parse_numbers("9 to 4"), parse_numbers("about .5")
    ([35.4, 39.2], 9.0, 5.0)
    """
    numbers = all_numbers(text)[:2]
    if not numbers:
        return [0, 0]
    return numbers if len(numbers) == 2 and numbers[0] <= numbers[1] else numbers[0]


def all_numbers(text: str) -> list[float]:
    """Every number that the official script finds, in order.

    >>> all_numbers("from 9,000 to 35.4, or 3")
    [9000.0, 35.4, 3.0]
    """
    return [float(found) for found in _numbers(text)]


def _numbers(text: str) -> Iterator[str]:
    # A hyphen after a digit separates two numbers. str.isdigit as in the script: "km²-5" counts.
    spaced = "".join(
        " - " if char == "-" and place and text[place - 1].isdigit() else char
        for place, char in enumerate(text)
    ) if "-" in text else text  # fmt: skip
    for found in _NUMBER.findall(spaced):
        number: str = found.replace(",", "").strip(".")
        number = number.partition(".")[0] if number.count(".") > 1 else number
        if number not in ("+", "-"):
            yield number


def score_answer(
    prediction: str, answer_eval: Sequence[str | PredictionRow] | PredictionRow, question_type: str
) -> int:
    """1 if the prediction is right, else 0.

    Args:
        answer_eval: accepted texts; for Numerical a `{"range": [low, high]}`, alone or in a list.
        question_type: String, Time or Numerical, in any case.

    Raises:
        BadInput: a type that InfoSeek does not have, or an `answer_eval` that does not fit it.

    >>> score_answer("The Alps.", ["Alps"], "String")
    1
    >>> score_answer("12", [{"range": [9, 11]}], "Numerical")
    0
    """
    kind = question_type.lower()
    if kind not in _QUESTION_TYPES:
        raise BadInput(f"question_type {question_type!r} is none of String, Time, Numerical.")
    if kind == "numerical":
        return int(_in_range(parse_numbers(prediction), accepted_range(answer_eval)))
    normal = normalize_answer(prediction)
    return int(any(normalize_answer(answer) == normal for answer in accepted_texts(answer_eval)))


def accepted_range(answer_eval: object) -> tuple[float, float]:
    """Low and high end of the accepted range of a Numerical question; both ends are right.

    Raises:
        BadInput: it has no range.
    """
    listed = isinstance(answer_eval, (list, tuple)) and answer_eval
    match listed[0] if listed else answer_eval:
        case {"range": [int() | float() as low, int() | float() as high, *_]}:
            return float(low), float(high)
    raise BadInput(f"the answer_eval of a Numerical question holds no range: {answer_eval!r}.")


def accepted_texts(answer_eval: object) -> list[str]:
    """The accepted answers of a String or Time question.

    Raises:
        BadInput: there are none, or one is not a text.
    """
    texts = list(answer_eval) if isinstance(answer_eval, (list, tuple)) else []
    if not texts or not all(isinstance(text, str) for text in texts):
        raise BadInput(f"the answer_eval of a text question holds no texts: {answer_eval!r}.")
    return texts


def _in_range(parsed: float | list[float], accepted: tuple[float, float]) -> bool:
    low, high = accepted
    if isinstance(parsed, float):
        return low <= parsed <= high
    first, second = parsed
    if low <= first <= high and low <= second <= high:
        return True
    low, high = min(accepted), max(accepted)
    overlap = max(0.0, min(second, high) - max(first, low))
    union = (second - first + _EDGE) + (high - low + _EDGE) - overlap
    return overlap / union >= 0.5 - _EDGE


def official_result(
    predictions: Iterable[PredictionRow],
    references: Iterable[PredictionRow],
    qtypes: Iterable[PredictionRow],
) -> Result:
    """What the official script prints for these rows, with its traps.

    A prediction for an unknown question is skipped, a missing one makes the denominator smaller, a
    repeated one counts each time. `strict_result` refuses all three.

    Args:
        predictions: rows with data_id, prediction.
        references: rows with data_id, answer_eval, data_split.
        qtypes: rows with data_id, question_type.

    Raises:
        BadInput: a row lacks a field, or a reference its type.
    """
    kinds = {row_text(row, "data_id"): row_text(row, "question_type") for row in qtypes}
    by_id = {row_text(row, "data_id"): row for row in references}
    untyped = by_id.keys() - kinds
    if untyped:
        raise BadInput(f"{len(untyped)} references have no question_type, first {min(untyped)}.")
    correct: Counter[tuple[bool, str]] = Counter()  # (unseen question?, type) → right answers
    totals: Counter[tuple[bool, str]] = Counter()
    for row in predictions:
        name = row_text(row, "data_id")
        if name in by_id:
            unseen_question = row_text(by_id[name], "data_split").endswith("unseen_question")
            key = unseen_question, kinds[name].lower()
            correct[key] += _score_row(row, by_id[name], kinds[name])
            totals[key] += 1
    return result_from_counts(correct, totals)


def result_from_counts(
    correct: Mapping[tuple[bool, str], int], totals: Mapping[tuple[bool, str], int]
) -> Result:
    """The official result object, computed from counts.

    Args:
        correct, totals: number of right answers and of questions, by (whether the split is
            `unseen_question`, type in lower case).
    """
    question, entity = (_split_score(correct, totals, split) for split in (True, False))
    inverse = sum(1 / (split["score"] or _EDGE) for split in (question, entity))
    return {
        "final_score": round(2 / inverse, 2),
        "unseen_question_score": question,
        "unseen_entity_score": entity,
    }


def _score_row(prediction: PredictionRow, reference: PredictionRow, question_type: str) -> int:
    answers = reference.get("answer_eval", ())
    try:
        return score_answer(row_text(prediction, "prediction"), answers, question_type)
    except BadInput as error:
        raise BadInput(f"question {prediction['data_id']}: {error}") from error


def _split_score(
    correct: Mapping[tuple[bool, str], int], totals: Mapping[tuple[bool, str], int], split: bool
) -> SplitScore:
    def percent(*kinds: str) -> float:
        total = sum(totals.get((split, kind), 0) for kind in kinds)
        # An integer 0 if there is no question, so that the JSON equals the official one exactly.
        share = sum(correct.get((split, kind), 0) for kind in kinds) / total if total else 0
        return round(share * 100, 2)

    return {
        "score": percent(*_QUESTION_TYPES),
        "score_time": percent("time"),
        "score_num": percent("numerical"),
        "score_string": percent("string"),
    }


def strict_result(
    predictions: Iterable[PredictionRow],
    references: Iterable[PredictionRow],
    qtypes: Iterable[PredictionRow],
) -> Result:
    """The official result, if each question has exactly one prediction.

    Raises:
        BadInput: missing, repeated or unknown ids, with the count of each.
    """
    predictions, references = list(predictions), list(references)
    questions = {row_text(row, "data_id") for row in references}
    advice = "Correct the file, or use the scorer `official`, which counts as papers do."
    check_fit(predictions, questions, _question_id, advice)
    return official_result(predictions, references, qtypes)


def score_file(
    predictions: Path,
    references: Path,
    qtypes: Path,
    scorer: ScoringMode = "strict",
    cell: str | None = None,
) -> Result:
    """The result of three JSONL files; `official` compares with papers.

    Args:
        cell: which one, if the predictions are the answers.jsonl of a run.

    Raises:
        Missing: a file does not exist.
        BadInput: a line is not a JSON object; see also `strict_result` and `official_result`.
        UsageError: another scorer.
    """
    score = {"strict": strict_result, "official": official_result}.get(scorer)
    if score is None:
        raise UsageError(f"scorer {scorer!r} is neither strict nor official.")
    rows = select_cell(read_rows(predictions), cell, predictions)
    return score(rows, read_rows(references), read_rows(qtypes))


def _question_id(row: PredictionRow) -> str | None:
    name = row.get("data_id")
    return name if isinstance(name, str) else None


class InfoSeekScorer:
    """The official rules. A run has one answer to each question, so that `strict` and `official`,
    which differ only for files that do not fit, give the same score."""

    def __init__(self) -> None:
        self.name = "infoseek official"

    def check(self, example: Example) -> None:
        """Raises BadInput if type, split or references are not those of InfoSeek."""
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
            return float(score_answer(prediction, example.references, example.kind))
        except BadInput as error:
            raise BadInput(f"question {example.id}: {error}") from error

    def lenient(self, example: Example, prediction: str) -> bool:
        """Whether the prediction contains a right text; or a number of the accepted range, or its
        numbers from the smallest to the greatest overlap with that range."""
        if example.kind.lower() != "numerical":
            texts = accepted_texts(example.references)
            return contains_any(prediction, texts, normalize_answer)
        low, high = sorted(accepted_range(example.references))
        numbers = all_numbers(prediction)
        return bool(numbers) and min(numbers) <= high and max(numbers) >= low

    def cut(self, example: Example, prediction: str) -> bool:
        """Never: the whole answer is read."""
        return False

    def summary(self, rows: Iterable[Scored]) -> Mapping[str, Any]:
        """The official result object in percent, with n, accuracy, and n of both splits.

        A split without questions has 0 there, and `final_score` is then 0 too.
        """
        correct: Counter[tuple[bool, str]] = Counter()
        totals: Counter[tuple[bool, str]] = Counter()
        for example, _, score in rows:
            key = example.split.endswith("unseen_question"), example.kind.lower()
            totals[key] += 1
            correct[key] += score == 1.0
        count = totals.total()
        return {
            "n": count,
            "accuracy": correct.total() / count if count else None,
            "n_unseen_question": sum(n for (split, _), n in totals.items() if split),
            "n_unseen_entity": sum(n for (split, _), n in totals.items() if not split),
            **result_from_counts(correct, totals),
        }
