"""A file of predictions against Encyclopedic-VQA's CSV: which row answers which question.

Knows both files. Does not know how an answer is scored, nor images. The CSV names no question: a
prediction's `id` is the number of its row, 0 for the first after the header, alone (17) or at the
end of a name ("evqa-test-000017").
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from rag_vqa.errors import BadInput, Missing
from rag_vqa.eval.predictions import Row, check_fit, of_cell, read_rows
from rag_vqa.eval.scorers.evqa import Evqa
from rag_vqa.eval.scoring import Scored, Scorer
from rag_vqa.types import Example, Query

_COLUMNS = ("question", "answer", "question_type")
_NUMBER = re.compile(r"(?:.*-)?(\d{1,9})", re.ASCII | re.DOTALL)
_BATCH = 1024


def row_number(row: Row) -> int | None:
    """The row that a prediction answers; None if its id says none.

    >>> row_number({"id": 17}), row_number({"id": "evqa-test-000017"}), row_number({"id": "x"})
    (17, 17, None)
    """
    name = row.get("id")
    if isinstance(name, int) and not isinstance(name, bool):
        return name
    found = _NUMBER.fullmatch(name) if isinstance(name, str) else None
    return int(found[1]) if found else None


def read(predictions: Path, references: Path, cell: str | None = None) -> list[tuple[Example, str]]:
    """Each question with its prediction, checked: before a BEM is loaded.

    Args:
        predictions: JSONL of `{"id", "prediction"}`.
        references: the benchmark's CSV.
        cell: which, where the predictions are a run's answers.jsonl.

    Raises:
        Missing: a file is not there.
        BadInput: predictions that do not fit, with counts; a question that cannot be scored.
    """
    examples = list(_examples(references))
    rows = of_cell(read_rows(predictions), cell, predictions)
    check_fit(rows, range(len(examples)), row_number)
    answers: dict[int | None, str] = {row_number(row): row["prediction"] for row in rows}
    return [(example, answers[number]) for number, example in enumerate(examples)]


def score(asked: Iterable[tuple[Example, str]], scorer: Scorer) -> dict[str, Any]:
    """The scorer's summary, with its name, and of how many answers BEM read the beginning alone."""
    asked = list(asked)
    found = {"scorer": scorer.name, **scorer.summary(_scored(asked, scorer))}
    cut = sum(scorer.cut(example, text) for example, text in asked)
    return {**found, "bem_truncated": cut} if cut else found


def _scored(asked: Iterable[tuple[Example, str]], scorer: Scorer) -> Iterator[Scored]:
    waiting = iter(asked)
    while batch := list(islice(waiting, _BATCH)):
        examples, texts = zip(*batch, strict=True)
        yield from zip(examples, texts, scorer.score(examples, texts), strict=True)


def _examples(path: Path) -> Iterator[Example]:
    if not path.is_file():
        raise Missing(f"{path} is not there. Give the path of Encyclopedic-VQA's CSV.")
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            rows = csv.DictReader(file, strict=True)
            lacking = set(_COLUMNS) - set(rows.fieldnames or ())
            if lacking:
                raise BadInput(f"{path} has no column {', '.join(sorted(lacking))}.")
            for number, row in enumerate(rows):
                yield _example(number, row)
        except (csv.Error, UnicodeDecodeError) as error:
            raise BadInput(f"{path}: no CSV in UTF-8 ({error}).") from error


def _example(number: int, row: Mapping[str, str | None]) -> Example:
    question, answer, kind = (row[name] for name in _COLUMNS)
    if question is None or answer is None or kind is None:
        raise BadInput(f"row {number} of the references ends early: {dict(row)!r:.200}")
    example = Example(
        str(number), Query(question.strip()), references=tuple(answer.split("|")), kind=kind.strip()
    )
    Evqa(None).check(example)
    return example
