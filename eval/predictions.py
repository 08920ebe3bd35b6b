"""Files of predictions in JSONL, checked against the questions that they answer.

Knows rows, ids, and what does not fit. Does not know how an answer is scored. Rows are read more
laxly than those of our own formats (formats/jsonl.py): a prediction of NaN is counted as a fault,
not refused as bad JSON.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from rag_vqa.errors import BadInput, Missing, UsageError
from rag_vqa.eval.answers import strip_citations

PredictionRow: TypeAlias = Mapping[str, Any]  # one line of a JSONL file


def read_rows(path: Path) -> Iterator[PredictionRow]:
    """The objects of a JSONL file; empty lines are skipped.

    Raises:
        Missing: no such file.
        BadInput: a line is not UTF-8, or not a JSON object.
    """
    if not path.is_file():
        raise Missing(f"{path} is not there. Give the path of a JSONL file.")
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line.decode("utf-8").removeprefix("\ufeff"))
            except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
                raise BadInput(f"{path}, line {number}: not JSON ({error}).") from error
            if not isinstance(row, dict):
                raise BadInput(f"{path}, line {number}: {type(row).__name__}, not an object.")
            yield row


def row_text(row: PredictionRow, name: str) -> str:
    """A field that must be a text.

    Raises:
        BadInput: it is missing, or something else.
    """
    value = row.get(name)
    if not isinstance(value, str):
        raise BadInput(f"{name} is {value!r}, not a text, in the row {dict(row)!r:.200}.")
    return value


def select_cell(
    rows: Iterable[PredictionRow], cell: str | None, file: object
) -> list[PredictionRow]:
    """The predictions; from the answers.jsonl of a run only those of one cell, without citations.

    Raises:
        UsageError: there are several cells and none is given, or there is no such cell.
    """
    rows = list(rows)
    cells = list(dict.fromkeys(row["cell"] for row in rows if isinstance(row.get("cell"), str)))
    if (cell is None and len(cells) > 1) or (cell is not None and cell not in cells):
        listed = ", ".join(map(repr, cells)) or "no cells: leave out --cell"
        raise UsageError(f"{file}: which cell? Give one with --cell: it has {listed}.")
    return [
        _run_prediction(row) if "cell" in row else row
        for row in rows
        if row.get("cell") == cell
            or cell is None]  # fmt: skip


def _run_prediction(row: PredictionRow) -> PredictionRow:
    """An answer as a run scores it."""
    text, cited = row.get("prediction"), row.get("citations")
    if not isinstance(text, str) or not isinstance(cited, list):
        raise BadInput(f"not a row of the answers.jsonl of a run: {dict(row)!r:.200}")
    name = row.get("id")
    return {"id": name, "data_id": name, "prediction": strip_citations(text, cited)}


def check_fit(
    predictions: Iterable[PredictionRow],
    questions: Collection[Hashable],
    key: Callable[[PredictionRow], Hashable],
    advice: str = "Correct the file.",
) -> None:
    """Check that each question has exactly one prediction, which is a text, and nothing else.

    Args:
        questions: keys of all questions.
        key: the question that a row answers; None if its id cannot be one.
        advice: what the user can do, at the end of the message.

    Raises:
        BadInput: with the number of each fault.
    """
    counts: Counter[Hashable] = Counter()
    no_text = no_id = 0
    for row in predictions:
        name = key(row)
        no_id += name is None
        no_text += not isinstance(row.get("prediction"), str)
        if name is not None:
            counts[name] += 1
    faults = {
        "without a prediction": sum(name not in counts for name in questions),
        "with more than one": sum(count > 1 for name, count in counts.items() if name in questions),
        "that the references do not contain": sum(name not in questions for name in counts),
        "whose prediction is not a text": no_text,
        "without a usable id": no_id,
    }
    if any(faults.values()):
        listed = ", ".join(f"{count} {fault}" for fault, count in faults.items() if count)
        raise BadInput(
            f"predictions do not fit the {len(questions)} questions: {listed}. Each would move the "
            f"score. {advice}"
        )
