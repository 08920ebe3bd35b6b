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
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from rag_vqa.errors import BadInput, Missing
from rag_vqa.eval.predictions import PredictionRow, check_fit, read_rows, select_cell
from rag_vqa.eval.scoring import Means, contains_any
from rag_vqa.formats.benchmark import Scored, Scorer
from rag_vqa.types import Example, Query

if TYPE_CHECKING:
    from rag_vqa.eval.bem import Bem, Triple

EquivalenceModel: TypeAlias = Callable[
    [str, str, str], float
]  # (question, reference, candidate) → P(same)
QUESTION_TYPES = ("templated", "automatic", "multi_answer", "2_hop")
THRESHOLD = 0.5  # of BEM's probability and of the overlap of two lists of answers
_SPAN = "<extra_id_0> "  # what T5 puts before its answers
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
EXACT_ONLY = (
    "evqa exact match only"  # stricter than the official score, and never called by its name
)
_CSV_COLUMNS = ("question", "answer", "question_type")
_ROW_NUMBER = re.compile(r"(?:.*-)?(\d{1,9})", re.ASCII | re.DOTALL)
_BATCH = 1024


class UnscorableQuestion(BadInput, ValueError):
    """A reference or a type that cannot be scored; a ValueError, as the official script raises."""


def preprocess_answer(text: str) -> str:
    """A text as two answers are compared.

    The official table of contractions is left out: it comes after apostrophes are gone, on both
    sides, and is one-to-one, so that it cannot change an equality.

    >>> preprocess_answer("The answer is: Two cats' paws")
    '2 cats paws'
    """
    text = text.lower().replace("\n", " ").replace("\t", " ").strip()
    if text.startswith(_SPAN):
        text = text.replace(_SPAN, "")
    words = _FILLERS.sub(" ", text.translate(_PUNCTUATION)).split()
    return " ".join(_WORDS.get(word, word) for word in words)


def exact_match(reference: str, candidate: str, question_type: str) -> bool:
    """Equality after preprocessing; for multi_answer, lists that overlap by half (IoU ≥ 0.5).

    Args:
        reference: one annotator's answer; the items of multi_answer stand between `&&`.
        candidate: the prediction; its items between commas, " and " or " & ".

    Raises:
        Unscorable: the reference is empty after preprocessing, or the type is unknown.

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
        bem: asked only where nothing matches exactly; gets `,` for the `&&` of multi_answer.
            None scores by exact match alone, which is another, stricter score.

    Raises:
        Unscorable: no references, one that is empty after preprocessing, or an unknown type.

    >>> score_answer("Which sea?", ["Baltic", "Baltic Sea"], "the Baltic Sea", "automatic", None)
    1.0
    """
    if isinstance(references, str) or not references:
        raise UnscorableQuestion(
            f"references must be a list of at least one answer: {references!r}."
        )
    # All are looked at before any is believed: an empty one is an error wherever it stands.
    matches = [exact_match(reference, candidate, question_type) for reference in references]
    if any(matches):
        return 1.0
    if bem is None:
        return 0.0
    if question_type == "multi_answer":
        references = [reference.replace("&&", ",") for reference in references]
    return float(any(bem(question, text, candidate) >= THRESHOLD for text in references))


class EvqaScorer:
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

    def _score(self, example: Example, prediction: str, bem: EquivalenceModel | None) -> float:
        text, references = example.query.text, example.references
        try:
            return score_answer(text, references, prediction, example.kind, bem)
        except BadInput as error:
            raise BadInput(f"question {example.id}: {error}") from error

    def lenient(self, example: Example, prediction: str) -> bool:
        """The words of a reference stand in it; of a list, those of any item."""
        items = [item for text in example.references for item in text.split("&&")]
        return contains_any(prediction, items, preprocess_answer)

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
        types = [name for name in QUESTION_TYPES if f"type: {name}" in means.names]
        return {
            **means.of("all"),
            "single_hop": means.of("hop: single"),
            "by_type": {name: means.of(f"type: {name}") for name in types},
        }


def row_number(row: PredictionRow) -> int | None:
    """The row that a prediction answers; None if its id says none.

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
    """Each question with its prediction, checked: before a BEM is loaded.

    Args:
        predictions: JSONL of `{"id", "prediction"}`.
        references: the benchmark's CSV.
        cell: which, where the predictions are a run's answers.jsonl.

    Raises:
        Missing: a file is not there.
        BadInput: predictions that do not fit, with counts; a question that cannot be scored.
    """
    examples = list(_read_examples(references))
    rows = select_cell(read_rows(predictions), cell, predictions)
    check_fit(rows, range(len(examples)), row_number)
    answers: dict[int | None, str] = {row_number(row): row["prediction"] for row in rows}
    return [(example, answers[number]) for number, example in enumerate(examples)]


def score_predictions(asked: Iterable[tuple[Example, str]], scorer: Scorer) -> dict[str, Any]:
    """The scorer's summary, with its name, and of how many answers BEM read the beginning alone."""
    asked = list(asked)
    found = {"scorer": scorer.name, **scorer.summary(_score_batches(asked, scorer))}
    cut = sum(scorer.cut(example, text) for example, text in asked)
    return {**found, "bem_truncated": cut} if cut else found


def _score_batches(asked: Iterable[tuple[Example, str]], scorer: Scorer) -> Iterator[Scored]:
    waiting = iter(asked)
    while batch := list(islice(waiting, _BATCH)):
        examples, texts = zip(*batch, strict=True)
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
            raise BadInput(f"{path}: no CSV in UTF-8 ({error}).") from error


def _parse_example(number: int, row: Mapping[str, str | None]) -> Example:
    question, answer, kind = (row[name] for name in _CSV_COLUMNS)
    if question is None or answer is None or kind is None:
        raise BadInput(f"row {number} of the references ends early: {dict(row)!r:.200}")
    example = Example(
        str(number), Query(question.strip()), references=tuple(answer.split("|")), kind=kind.strip()
    )
    EvqaScorer(None).check(example)
    return example
