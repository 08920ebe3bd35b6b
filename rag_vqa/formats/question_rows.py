"""Rows of a question file, each read into a QuestionRow whose picture is only named so far.

Knows that ids are required and unique, and that an error names its file and line. Does not know any
benchmark, and looks at no picture. Memory is flat: ids seen are kept in a temporary database.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

from rag_vqa.errors import BadInput
from rag_vqa.formats.benchmark import QuestionRow, QuestionRows
from rag_vqa.formatting import quote_value

Row: TypeAlias = Mapping[str, Any]


def read_question_rows(
    rows: Iterable[tuple[int, Row | BadInput]],
    path: Path,
    parse: Callable[[Row, int], QuestionRow],
    unit: str = "line",
) -> QuestionRows:
    """Parse the rows of `path`; a refused row comes as the reason, with file and line.

    Args:
        rows: number and fields of each row, or why it has none.
        parse: gets the fields, and the number of the row counted from 0.
        unit: what the numbers count.

    Raises:
        BadInput: there are no rows.
    """
    place = -1
    with closing(sqlite3.connect("")) as seen:  # SQLite's own temporary file
        seen.execute("CREATE TABLE ids (id TEXT PRIMARY KEY) WITHOUT ROWID")
        for place, (number, row) in enumerate(rows):
            try:
                if isinstance(row, BadInput):
                    raise row
                question = parse(row, place)
                _check_storable(question)
                _refuse_repeated_id(seen, question.example.id)
            except BadInput as error:
                yield BadInput(f"{path}, {unit} {number}: {error}")
            except RecursionError:
                yield BadInput(f"{path}, {unit} {number}: nested too deeply: a question is flat.")
            else:
                yield question
    if place < 0:
        raise BadInput(f"{path} contains no questions: it is empty.")


def _check_storable(question: QuestionRow) -> None:
    """Refuse a row that cannot be kept as JSON, or whose picture lies outside the folder."""
    example = question.example
    stored = (example.id, example.query.text, example.query.instruction, example.answers,
            example.relevant, example.oracle, example.references, example.kind, example.split,
            example.group, question.picture, question.negatives)  # fmt: skip
    try:
        json.dumps(stored, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError as error:
        raise BadInput("it contains half a character (a lone surrogate).") from error
    except ValueError as error:
        raise BadInput("it contains NaN or infinity (as 1e999 is).") from error
    for name in question.picture:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\0" in name:
            raise BadInput(f"picture {quote_value(name)} leads out of its folder.")


def _refuse_repeated_id(earlier_ids: sqlite3.Connection, identity: str) -> None:
    try:
        earlier_ids.execute("INSERT INTO ids VALUES (?)", (identity,))
    except sqlite3.IntegrityError:
        raise BadInput(
            f"the id {quote_value(identity)} came before: each question needs its own."
        ) from None


def required_text(row: Row, name: str) -> str:
    """A field that must be a text and not blank."""
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        what = "is missing" if value is None else f"is {quote_value(value)}, not a text"
        raise BadInput(f"{name} {what}.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise BadInput(f"{name} contains half a character (a lone surrogate).") from error
    return value


def optional_text(row: Row, name: str) -> str:
    """A text field that may be absent, null or empty: then ""."""
    return required_text(row, name) if row.get(name) not in (None, "") else ""


def text_list(row: Row, name: str) -> tuple[str, ...]:
    """A field that may be absent, null, a text, or a list of texts."""
    value = row.get(name)
    listed = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
        raise BadInput(f"{name} is {quote_value(value)}, not a list of texts.")
    return tuple(listed)


def id_list(row: Row, name: str) -> tuple[str, ...]:
    """A field that is an id or a list of ids; an integer becomes its digits."""
    value = row.get(name)
    listed = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(item, str | int) and not isinstance(item, bool) for item in listed):
        raise BadInput(f"{name} is {quote_value(value)}, not a list of ids.")
    return tuple(dict.fromkeys(map(str, listed)))
