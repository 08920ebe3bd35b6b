"""Rows of a question file, each as an Example whose picture is only named yet.

It knows ids that must be there once, and that an error names file and line. It does not know any
benchmark, and looks at no picture. Memory is flat: ids that were seen lie in a temporary database.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeAlias

from rag_vqa.errors import BadInput
from rag_vqa.formats.document import shown
from rag_vqa.types import Document, Example

Row: TypeAlias = Mapping[str, Any]
Scorer: TypeAlias = Literal["infoseek", "evqa", "text", "retrieval"]


@dataclass(frozen=True, slots=True)
class Asked:
    """One question.

    Attributes:
        example: all but its picture.
        picture: names under which its picture may lie in the folder of pictures, the expected
            one first; none if the question has no picture.
        remark: what is odd about its row, which is taken all the same.
        negatives: ids of documents of which the row says that they are wrong; for training.
        documents: what is right or wrong and stands in the row itself, not in a file of documents;
            their pictures are names in the folder of pictures.
    """

    example: Example
    picture: tuple[str, ...] = ()
    remark: str = ""
    negatives: tuple[str, ...] = ()
    documents: tuple[Document, ...] = ()


Rows: TypeAlias = Iterator[Asked | BadInput]


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A question file that was found, and how it is read.

    Attributes:
        name, split, scorer, instruction: see `Questions` of opening.py.
        files: role → each file that is part of the question set.
        home: the folder that the set lies in.
        images: the folder of the pictures.
        rows: reads the questions from the beginning, see `read`; names as `names` gives them, if
            any.
        names: ids of pictures → names of files, where a file of the data set says so.
        explain: what is likely wrong with the download, by the names of missing pictures.
    """

    name: str
    split: str
    scorer: Scorer
    files: Mapping[str, Path]
    home: Path
    images: Path
    rows: Callable[[Mapping[str, str] | None], Rows]
    names: Callable[[], Mapping[str, str]] | None = None
    explain: Callable[[Path, Iterable[str]], Iterator[str]] = lambda images, names: iter(())
    instruction: str | None = None


def read(
    rows: Iterable[tuple[int, Row | BadInput]],
    path: Path,
    example: Callable[[Row, int], Asked],
    unit: str = "line",
) -> Rows:
    """Each row of `path` as the format's `example` reads it, or why it is refused.

    Args:
        rows: numbers for people and fields, or why there are none.
        example: gets the fields, and the row's place counted from 0.

    Raises:
        BadInput: no row at all.
    """
    place = -1
    with closing(sqlite3.connect("")) as seen:  # SQLite's own temporary file
        seen.execute("CREATE TABLE ids (id TEXT PRIMARY KEY) WITHOUT ROWID")
        for place, (number, row) in enumerate(rows):
            try:
                if isinstance(row, BadInput):
                    raise row
                asked = example(row, place)
                _check(asked)
                _once(seen, asked.example.id)
            except BadInput as error:
                yield BadInput(f"{path}, {unit} {number}: {error}")
            except RecursionError:
                yield BadInput(f"{path}, {unit} {number}: nested too deeply: a question is flat.")
            else:
                yield asked
    if place < 0:
        raise BadInput(f"{path} holds no questions: it is empty.")


def _check(asked: Asked) -> None:
    """Whether it can be kept as JSON and as text, and its picture lies in the folder."""
    example = asked.example
    kept = (example.id, example.query.text, example.query.instruction, example.answers,
            example.relevant, example.oracle, example.references, example.kind, example.split,
            example.group, asked.picture, asked.negatives)  # fmt: skip
    try:
        json.dumps(kept, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError as error:
        raise BadInput("it holds half a character (a lone surrogate).") from error
    except ValueError as error:
        raise BadInput("it holds a number that is none (as 1e999 is).") from error
    for name in asked.picture:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\0" in name:
            raise BadInput(f"picture {shown(name)} leads out of its folder.")


def _once(seen: sqlite3.Connection, identity: str) -> None:
    try:
        seen.execute("INSERT INTO ids VALUES (?)", (identity,))
    except sqlite3.IntegrityError:
        raise BadInput(
            f"the id {shown(identity)} was there before: each question has its own."
        ) from None


def text(row: Row, name: str) -> str:
    """A field that must be a text with something in it."""
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        what = "is missing" if value is None else f"is {shown(value)}, not a text"
        raise BadInput(f"{name} {what}.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise BadInput(f"{name} holds half a character (a lone surrogate).") from error
    return value


def optional_text(row: Row, name: str) -> str:
    """A field that may be absent, null or empty: then ""."""
    return text(row, name) if row.get(name) not in (None, "") else ""


def texts(row: Row, name: str) -> tuple[str, ...]:
    """A field that is absent, null, a text, or a list of texts."""
    value = row.get(name)
    listed = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
        raise BadInput(f"{name} is {shown(value)}, not a list of texts.")
    return tuple(listed)


def ids(row: Row, name: str) -> tuple[str, ...]:
    """A field that is an id or a list of them; numbers become their digits."""
    value = row.get(name)
    listed = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(item, str | int) and not isinstance(item, bool) for item in listed):
        raise BadInput(f"{name} is {shown(value)}, not a list of ids.")
    return tuple(dict.fromkeys(map(str, listed)))
