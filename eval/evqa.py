"""Encyclopedic-VQA's answer scoring: exact match, else BERT answer equivalence (BEM).

Rules: google-research/encyclopedic_vqa, `evaluation_utils.py`. Written anew and held equal by
golden data. Knows texts, Examples (`references`, one answer of each annotator, and `kind`) and
files of predictions. Does not know the BEM model, which is passed in. Without one, the score is
exact match alone and must be reported under that name.

A file of predictions is matched with the benchmark's CSV, which names no question: a prediction's
`id` is the number of its row, 0 for the first after the header, alone (17) or at the end of a name
("evqa-test-000017").
"""

from __future__ import annotations

import csv
import re
import string
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from rag_vqa.errors import BadInput, Missing
from rag_vqa.eval.predictions import PredictionRow, check_fit, read_rows, select_cell
from rag_vqa.eval.scorers import Means, contains_any
from rag_vqa.formats.benchmark import Scored, Scorer
from rag_vqa.types import Example, Query

if TYPE_CHECKING:
    from rag_vqa.eval.bem import Bem, Triple

# (question, reference, candidate) → P(same answer)
EquivalenceModel: TypeAlias = Callable[[str, str, str], float]
QUESTION_TYPES = ("templated", "automatic", "multi_answer", "2_hop")
THRESHOLD = 0.5  # for the probability of BEM and for the overlap of two lists of answers
_T5_PREFIX = "<extra_id_0> "
_PUNCTUATION = str.maketrans("", "", string.punctuation + "‘’´")
_FILLERS = re.compile(r"\b(?:the answer is|a|an|the)\b")
_DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
_WORDS = {
    **{word: str(digit) for digit, word in enumerate(_DIGITS)},
    "none": "0",
    "entailment": "yes",
    "true": "yes",
    "contradiction": "no",
    "false": "no",
}
# Stricter than the official score, and never called by its name.
EXACT_ONLY = "evqa exact match only"
_CSV_COLUMNS = ("question", "answer", "question_type")
_ROW_NUMBER = re.compile(r"(?:.*-)?(\d{1,9})", re.ASCII | re.DOTALL)
_BATCH = 1024


class UnscorableQuestion(BadInput, ValueError):
    """A reference or a type that cannot be scored. A ValueError, as in the official script."""


def preprocess_answer(text: str) -> str:
    """Normalise a text for comparison.

    The official table of contractions is left out. It is applied after apostrophes are removed, to
    both texts, and is one-to-one, so it cannot change whether two texts are equal.

    >>> preprocess_answer("The answer is: Two cats' paws")
    '2 cats paws'
    """
    text = text.lower().replace("\n", " ").replace("\t", " ").strip()
    if text.startswith(_T5_PREFIX):
        text = text.replace(_T5_PREFIX, "")
    words = _FILLERS.sub(" ", text.translate(_PUNCTUATION)).split()
    return " ".join(_WORDS.get(word, word) for word in words)


def exact_match(reference: str, candidate: str, question_type: str) -> bool:
    """Whether two answers are equal after preprocessing; of multi_answer, whether half of the items
    overlap (IoU ≥ 0.5).

    Args:
        reference: one annotator's answer; `&&` separates the items of multi_answer.
        candidate: the prediction; commas, " and " or " & " separate its items.

    Raises:
        UnscorableQuestion: the reference is empty after preprocessing, or the type is unknown.

    >>> exact_match("red&&blue", "Red, blue and green", "multi_answer")
    True
    """
    if question_type not in QUESTION_TYPES:
        known = ", ".join(QUESTION_TYPES)
        raise UnscorableQuestion(f"question_type {question_type!r} is none of {known}.")
    if question_type == "multi_answer":
        items = candidate.replace(" and ", ",").replace(" & ", ",").split(",")
        wanted, given = _answer_set(reference.split("&&")), _answer_set(items)
    else:
        wanted, given = _answer_set([reference]), {preprocess_answer(candidate)}
    if not wanted:
        raise UnscorableQuestion(f"the reference {reference!r} is empty after preprocessing.")
    return len(wanted & given) / len(wanted | given) >= THRESHOLD


def _answer_set(items: Sequence[str]) -> set[str]:
    return {normal for item in items if (normal := preprocess_answer(item))}


def score_answer(
    question: str,
    references: Sequence[str],
    candidate: str,
    question_type: str,
    bem: EquivalenceModel | None,
) -> float:
    """1.0 if the candidate answers as one of the references does, else 0.0.

    Args:
        references: one answer of each annotator: the column `answer`, split at `|`.
        bem: called only if nothing matches exactly; gets `,` for the `&&` of multi_answer.
            None: exact match alone, which is another, stricter score.

    Raises:
        UnscorableQuestion: no references, one that is empty after preprocessing, or an unknown
            type.

    >>> score_answer("Which sea?", ["Baltic", "Baltic Sea"], "the Baltic Sea", "automatic", None)
    1.0
    """
    if isinstance(references, str) or not references:
        raise UnscorableQuestion(
            f"references must be a list of at least one answer: {references!r}."
        )
    # All are compared before the first match counts: an empty reference is always an error.
    matches = [exact_match(reference, candidate, question_type) for reference in references]
    if any(matches):
        return 1.0
    if bem is None:
        return 0.0
    if question_type == "multi_answer":
        references = [reference.replace("&&", ",") for reference in references]
    return float(any(bem(question, text, candidate) >= THRESHOLD for text in references))


class EvqaScorer:
    """Exact match, else BEM. Without a BEM exact match alone, under a name that says so.

    The name contains the BEM: only numbers of TF-Hub's own, converted, compare with papers.
    """

    def __init__(self, bem: Bem | None) -> None:
        self._bem = bem
        self.name = EXACT_ONLY if bem is None else f"evqa official (BEM {bem.name})"

    def check(self, example: Example) -> None:
        """Raises BadInput if the type is not one of E-VQA, or a reference is empty."""
        self._score(example, "", None)

    def score(self, examples: Sequence[Example], predictions: Sequence[str]) -> list[float]:
        """1 or 0 for each. The triples that need BEM are collected first and scored in one call."""
        pairs = list(zip(examples, predictions, strict=True))
        if self._bem is None:
            return [self._score(example, prediction, None) for example, prediction in pairs]
        triples = dict.fromkeys(triple for pair in pairs for triple in self._bem_triples(*pair))
        probabilities = dict(zip(triples, self._bem.probabilities(list(triples)), strict=True))

        def look_up(question: str, reference: str, candidate: str) -> float:
            return probabilities[question, reference, candidate]

        return [self._score(example, prediction, look_up) for example, prediction in pairs]

    def _bem_triples(self, example: Example, prediction: str) -> list[Triple]:
        """The triples that BEM has to compare for an answer; none if it matches exactly."""
        triples: list[Triple] = []

        def collect(question: str, reference: str, candidate: str) -> float:
            triples.append((question, reference, candidate))
            return 0.0

        self._score(example, prediction, collect)
        return triples

    def _score(self, example: Example, prediction: str, bem: EquivalenceModel | None) -> float:
        text, references = example.query.text, example.references
        try:
            return score_answer(text, references, prediction, example.kind, bem)
        except BadInput as error:
            raise BadInput(f"question {example.id}: {error}") from error

    def lenient(self, example: Example, prediction: str) -> bool:
        """Whether the prediction contains the words of a reference, or of any item of a list."""
        items = [item for text in example.references for item in text.split("&&")]
        return contains_any(prediction, items, preprocess_answer)

    def cut(self, example: Example, prediction: str) -> bool:
        """Whether BEM cuts the answer off; it does not read one that matches exactly."""
        bem = self._bem
        triples = self._bem_triples(example, prediction) if bem is not None else ()
        return bem is not None and any(map(bem.truncates, triples))

    def summary(self, rows: Iterable[Scored]) -> Mapping[str, Any]:
        """Accuracy and n of all, of single-hop (all types but 2_hop), and of each type."""
        means = Means()
        for example, _, score in rows:
            hops = "hop: two" if example.kind == "2_hop" else "hop: single"
            means.add(score, "all", hops, f"type: {example.kind}")
        types = [name for name in QUESTION_TYPES if f"type: {name}" in means.names]
        return {
            **means.mean("all"),
            "single_hop": means.mean("hop: single"),
            "by_type": {name: means.mean(f"type: {name}") for name in types},
        }


def row_number(row: PredictionRow) -> int | None:
    """Number of the row that a prediction answers, from its id; None if the id has no number.

    >>> row_number({"id": 17}), row_number({"id": "evqa-test-000017"}), row_number({"id": "x"})
    (17, 17, None)
    """
    name = row.get("id")
    if isinstance(name, int) and not isinstance(name, bool):
        return name
    found = _ROW_NUMBER.fullmatch(name) if isinstance(name, str) else None
    return int(found[1]) if found else None


def read_predictions(
    predictions: Path, references: Path, cell: str | None = None
) -> list[tuple[Example, str]]:
    """Read and check each question with its prediction.

    Args:
        predictions: JSONL of `{"id", "prediction"}`.
        references: the benchmark's CSV.
        cell: which one, if the predictions are the answers.jsonl of a run.

    Raises:
        Missing: a file does not exist.
        BadInput: predictions that do not fit, with counts, or a question that cannot be scored.
    """
    examples = list(_read_examples(references))
    rows = select_cell(read_rows(predictions), cell, predictions)
    check_fit(rows, range(len(examples)), row_number)
    answers: dict[int | None, str] = {row_number(row): row["prediction"] for row in rows}
    return [(example, answers[number]) for number, example in enumerate(examples)]


def score_predictions(predictions: Sequence[tuple[Example, str]], scorer: Scorer) -> dict[str, Any]:
    """The scorer's name and summary, and "bem_truncated": number of answers that BEM cut off."""
    found = {"scorer": scorer.name, **scorer.summary(_score_batches(predictions, scorer))}
    cut = sum(scorer.cut(example, text) for example, text in predictions)
    return {**found, "bem_truncated": cut} if cut else found


def _score_batches(predictions: Sequence[tuple[Example, str]], scorer: Scorer) -> Iterator[Scored]:
    for start in range(0, len(predictions), _BATCH):
        examples, texts = zip(*predictions[start : start + _BATCH], strict=True)
        yield from zip(examples, texts, scorer.score(examples, texts), strict=True)


def _read_examples(path: Path) -> Iterator[Example]:
    if not path.is_file():
        raise Missing(f"{path} is not there. Give the path of Encyclopedic-VQA's CSV.")
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            rows = csv.DictReader(file, strict=True)
            lacking = set(_CSV_COLUMNS) - set(rows.fieldnames or ())
            if lacking:
                raise BadInput(f"{path} has no column {', '.join(sorted(lacking))}.")
            for number, row in enumerate(rows):
                yield _parse_example(number, row)
        except (csv.Error, UnicodeDecodeError) as error:
            raise BadInput(f"{path}: not a CSV in UTF-8 ({error}).") from error


def _parse_example(number: int, row: Mapping[str, str | None]) -> Example:
    question, answer, kind = (row[name] for name in _CSV_COLUMNS)
    if question is None or answer is None or kind is None:
        raise BadInput(f"row {number} of the references ends early: {dict(row)!r:.200}")
    example = Example(
        str(number), Query(question.strip()), references=tuple(answer.split("|")), kind=kind.strip()
    )
    EvqaScorer(None).check(example)
    return example
