"""Your own questions, as a table or one JSON object a line, and your own pairs to train on.

Knows the fields of a question (id, question, image, answers, document_ids, unanswerable, group) and
how its answer is scored; and the fields of a pair, which are those of a question and `instruction`,
`document` (the right one: an id, or the passage itself as an object of a document's fields) and
`negatives` (wrong ones, in the same two forms). Does not know how two texts compare
(rag_vqa.eval.answers), nor where documents of an id are.

A question needs an id and a text; instead of the text an image, if documents are searched and
nothing is answered. A group is what related questions share, by default their picture. A misspelt
field is refused, because it would quietly drop a metric.

In a pair, `document_ids` are all other ids that are right. A passage written in the row gets an id
from its content unless it has one: the same passage in two rows is one passage, and never a
negative of either.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rag_vqa.errors import BadInput, Missing, UsageError
from rag_vqa.eval import answers
from rag_vqa.eval.scorers import Means, as_percent, contains_any
from rag_vqa.formats.benchmark import (
    BENCHMARKS,
    Benchmark,
    OfficialFigure,
    QuestionFiles,
    QuestionRow,
    Scored,
)
from rag_vqa.formats.document import parse_document
from rag_vqa.formats.jsonl import read_objects
from rag_vqa.formats.question_rows import (
    Row,
    id_list,
    optional_text,
    read_question_rows,
    required_text,
    text_list,
)
from rag_vqa.formats.question_table import QUESTION_SUFFIXES, read_question_table, row_unit
from rag_vqa.formatting import did_you_mean, quote_value
from rag_vqa.types import Document, Example, Query

QUESTION_FIELDS = ("id", "question", "image", "answers", "document_ids", "unanswerable", "group")
PAIR_FIELDS = (*QUESTION_FIELDS, "instruction", "document", "negatives")
_ABSTENTIONS = ("unknown", "not known", "do not know", "don't know", "cannot tell", "can't tell")


def find_questions(
    path: Path, split: str | None, images: Path | None, task: str | None
) -> QuestionFiles:
    """A file of QUESTION_SUFFIXES, or one called SPLIT in a folder ("test" by default).

    Raises:
        Missing: the file does not exist.
        UsageError: a split is given for a file.
    """
    found = [path / f"{split or 'test'}{suffix}" for suffix in QUESTION_SUFFIXES]
    file = next((one for one in found if one.is_file()), None) if path.is_dir() else None
    file = file or locate_file(path, split, "test", "questions")
    return QuestionFiles(
        name="own",
        split=Path(file.name.removesuffix(".gz")).stem,
        files={"questions": file},
        home=file.parent,
        images=images or file.parent,
        location=file,
        takes_split=False,
        rows=lambda _: read_question_rows(
            read_question_table(file, QUESTION_FIELDS), file, _question_row, row_unit(file)
        ),
    )


def locate_file(home: Path, split: str | None, usual: str, description: str) -> Path:
    """The given JSONL file, or that of a split in a folder. Raises as `find_pairs`."""
    if home.is_file() and split is not None:
        raise UsageError(f"{home} is one file of {description}: --split is for a folder of files.")
    path = home if home.is_file() else home / f"{split or usual}.jsonl"
    if not path.is_file():
        raise Missing(f"{path} does not exist: give a JSONL file of {description}.")
    return path


def _question_row(row: Row, place: int) -> QuestionRow:
    others = [name for name in row if name not in QUESTION_FIELDS]
    for name in others:
        if near := did_you_mean(name, QUESTION_FIELDS):
            raise BadInput(f"unknown field {quote_value(name)}.{near}")
    image, unanswerable = optional_text(row, "image"), row.get("unanswerable")
    if unanswerable is not None and not isinstance(unanswerable, bool):
        raise BadInput(f"unanswerable is {quote_value(unanswerable)}, not true or false.")
    question, answers = optional_text(row, "question"), text_list(row, "answers")
    if not question and not image:
        raise BadInput("neither question nor image: there is nothing to ask about.")
    if not question and (answers or unanswerable is not None):
        raise BadInput("an answer without a question: add the question.")
    if unanswerable and answers:
        raise BadInput("it is marked unanswerable and has answers: keep one of them.")
    identity = required_text(row, "id")
    example = Example(
        identity,
        Query(question),
        answers=answers,
        relevant=id_list(row, "document_ids"),
        group=optional_text(row, "group") or image or identity,
        unanswerable=bool(unanswerable),
    )
    remark = f"read without {', '.join(map(quote_value, others))}: no field of a question"
    return QuestionRow(example, (image,) if image else (), remark if others else "")


def find_pairs(
    path: Path, split: str | None, images: Path | None, task: str | None
) -> QuestionFiles:
    """A JSONL file, or SPLIT.jsonl in a folder ("train" by default).

    Raises:
        Missing: the file does not exist.
        UsageError: a split is given for a file.
    """
    file = locate_file(path, split, "train", "pairs")
    return QuestionFiles(
        name="pairs",
        split=split or "train",
        files={"questions": file},
        home=file.parent,
        images=images or file.parent,
        rows=lambda _: read_question_rows(read_objects(file), file, _pair_row),
    )


def _pair_row(row: Row, place: int) -> QuestionRow:
    for name in row:
        if name not in PAIR_FIELDS:
            raise BadInput(f"unknown field {quote_value(name)}.{did_you_mean(name, PAIR_FIELDS)}")
    image, question = optional_text(row, "image"), optional_text(row, "question")
    if not question and not image:
        raise BadInput("neither question nor image: there is nothing to search for.")
    given = [] if row.get("document") is None else [row["document"]]
    positives = [_parse_document("document", value) for value in given]
    listed = row.get("negatives") or []
    if not isinstance(listed, list):
        raise BadInput(f"negatives is {quote_value(listed)}, not a list.")
    negatives = [_parse_document("negatives", value) for value in listed]
    relevant = dict.fromkeys(
        [*(_document_id(one) for one in positives), *id_list(row, "document_ids")]
    )
    if not relevant:
        raise BadInput('no document is right: give "document" or "document_ids".')
    identity = _row_id(row, place)
    query = Query(question, instruction=optional_text(row, "instruction") or None)
    example = Example(
        identity,
        query,
        answers=text_list(row, "answers"),
        relevant=tuple(relevant),
        group=optional_text(row, "group") or image or identity,
    )
    return QuestionRow(
        example,
        (image,) if image else (),
        negatives=tuple(_document_id(one) for one in negatives),
        documents=tuple(one for one in (*positives, *negatives) if isinstance(one, Document)),
    )


def _row_id(row: Row, place: int) -> str:
    identities = id_list(row, "id")
    if len(identities) > 1 or identities == ("",):
        raise BadInput(f"id is {quote_value(row.get('id'))}, not one id.")
    return identities[0] if identities else f"row {place + 1}"


def _parse_document(field: str, value: Any) -> str | Document:
    """An id, or a passage with an id."""
    if not isinstance(value, dict):
        identities = id_list({field: value}, field)
        if len(identities) != 1 or not identities[0]:
            raise BadInput(
                f"{field} is {quote_value(value)}: give an id, or an object with a text."
            )
        return identities[0]
    content = json.dumps(value, sort_keys=True).encode()
    given = {"id": f"inline:{hashlib.sha256(content).hexdigest()[:24]}", **value}
    document = parse_document(given)
    if not all(isinstance(image, str) for image in document.images):
        raise BadInput(f"an image of {field} is not the name of a file.")
    return document


def _document_id(one: str | Document) -> str:
    return one if isinstance(one, str) else one.id


class TextScorer:
    """Exact match after `answers.normalize`; abstaining is right for `unanswerable` questions."""

    def __init__(self) -> None:
        self.name = "text exact match"

    def check(self, example: Example) -> None:
        """Raises BadInput if no answer to the question could be right."""
        if not example.unanswerable and not any(map(answers.normalize, example.answers)):
            raise BadInput(
                f"question {example.id}: no answers, and not marked unanswerable: nothing can be "
                "scored."
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
        """Whether the prediction contains a right answer; or, if there is none, a phrase that
        abstains."""
        right = _ABSTENTIONS if example.unanswerable else example.answers
        return contains_any(answers.strip_citations(prediction), right, answers.normalize)

    def cut(self, example: Example, prediction: str) -> bool:
        """Never: the whole answer is read."""
        return False

    def summary(self, rows: Iterable[Scored]) -> Mapping[str, Any]:
        """Accuracy of all, of answerable and unanswerable questions, and by kind; precision and
        recall of abstentions, None if every question can be answered."""
        means = Means()
        for example, prediction, score in rows:
            part = "unanswerable" if example.unanswerable else "answerable"
            means.add(score, "all", part, *([f"kind: {example.kind}"] if example.kind else []))
            if answers.is_unknown(prediction):
                means.add(float(example.unanswerable), "abstained")
        unanswerable = means.mean("unanswerable")
        kinds = [name for name in means.names if name.startswith("kind: ")]
        return {
            **means.mean("all"),
            "answerable": means.mean("answerable"),
            "abstention": {
                "n": unanswerable["n"],
                "abstained": means.mean("abstained")["n"],
                "precision": means.mean("abstained")["accuracy"] if unanswerable["n"] else None,
                "recall": unanswerable["accuracy"],
            },
            "by_kind": {name.removeprefix("kind: "): means.mean(name) for name in kinds},
        }


def _official_figures(summary: Mapping[str, Any]) -> Iterator[OfficialFigure]:
    """Abstention, if some questions cannot be answered."""
    abstention = summary["abstention"]
    if abstention["n"]:
        yield OfficialFigure("answerable", as_percent(summary["answerable"]["accuracy"]))
        yield OfficialFigure("abstention precision", as_percent(abstention["precision"]))
        yield OfficialFigure("abstention recall", as_percent(abstention["recall"]))


BENCHMARKS.register(
    Benchmark(
        name="own",
        find_questions=find_questions,
        scorer="text",
        make_scorer=lambda options: TextScorer(),
        official_figures=_official_figures,
        uses=frozenset({"evaluation"}),
    )
)
BENCHMARKS.register(
    Benchmark(name="pairs", find_questions=find_pairs, uses=frozenset({"training"}))
)
