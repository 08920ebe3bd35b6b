"""Question tables: the rows of your own questions, from JSONL, JSON, CSV, Excel or Parquet.

Knows names of columns as people write them, and values: numbers, dates and booleans as texts. Does
not know what a field of a question means (eval/benchmarks/own.py). Only CSV and Excel write several
answers or ids into one cell, with `|` between them.
"""

from __future__ import annotations

import datetime
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from rag_vqa.errors import BadInput
from rag_vqa.formats import csv, parquet, xlsx
from rag_vqa.formats.json_records import read_objects as read_json_objects
from rag_vqa.formats.jsonl import read_objects
from rag_vqa.formats.mapping import normal_name
from rag_vqa.formats.packed_file import unpacked_suffix
from rag_vqa.formats.plain_values import is_absent, plain_value, texts_of_list
from rag_vqa.formatting import quote_value

_CELLS: Final = (".csv", ".tsv", ".tab")
QUESTION_SUFFIXES: Final = (".jsonl", ".ndjson", ".json", *_CELLS, ".xlsx", ".parquet")
# Taken where the row has no field of our own name.
_WELL_KNOWN: Final[Mapping[str, tuple[str, ...]]] = {
    "id": ("_id", "question_id", "questionid", "qid", "data_id"),
    "answers": ("answer", "label", "labels"),
    "image": ("image_path", "image_file", "file_name", "img_path", "img"),
    "document_ids": ("document_id", "doc_ids", "doc_id"),
}
_LISTS: Final = ("answers", "document_ids")
_TRUE, _FALSE = ("true", "yes", "1"), ("false", "no", "0")

Row = Mapping[str, Any]


def read_question_table(
    path: Path, fields: Collection[str]
) -> Iterator[tuple[int, Row | BadInput]]:
    """Number and fields of each row, by our names, or why it has none.

    Args:
        fields: names of our fields. Other columns come as they are called.

    Raises:
        Missing: no such file, or a library that reads it is not installed.
        BadInput: it cannot be read.
    """
    suffix = unpacked_suffix(path)
    written = suffix in (*_CELLS, ".xlsx")
    for number, row in _rows(path, suffix):
        try:
            yield number, row if isinstance(row, BadInput) else _read_row(row, fields, written)
        except BadInput as error:
            yield number, error


def row_unit(path: Path) -> str:
    """What the numbers of the rows count."""
    return "row" if unpacked_suffix(path) in (".xlsx", ".parquet", ".json") else "line"


def _rows(path: Path, suffix: str) -> Iterator[tuple[int, dict[str, Any] | BadInput]]:
    if suffix in _CELLS:
        return csv.read_rows(path)
    if suffix == ".xlsx":
        return xlsx.read_rows(path)
    if suffix == ".parquet":
        return parquet.read_rows(path)
    return read_json_objects(path) if suffix == ".json" else read_objects(path)


def _read_row(row: Mapping[str, Any], fields: Collection[str], written: bool) -> Row:
    """A row with our names and plain values; absent ones are left out, but empty answers stay."""
    names = _own_names(row, fields)
    read: dict[str, Any] = {}
    for column, value in row.items():
        name = names[column]
        if name in _LISTS:
            try:
                read[name] = _list(name, value, written)
            except BadInput as error:
                given = next((row[c] for c, own in names.items() if own == "id"), "")
                raise BadInput(f"question {quote_value(given)}: {error}") from error
        elif not is_absent(value):
            read[name] = _text(name, value) if name in fields else value
    if "answers" in names.values() and not read.get("answers") and not read.get("unanswerable"):
        identity = quote_value(read.get("id", ""))
        raise BadInput(
            f"question {identity}: its answer is empty. Give an answer, or set unanswerable to "
            "true; for retrieval alone, leave out the column of answers."
        )
    return read


def _own_names(row: Mapping[str, Any], fields: Collection[str]) -> dict[str, str]:
    """Our name of each column; its own, if it is none of ours."""
    plain = {column: normal_name(column) for column in row}
    names = {column: name if name in fields else column.strip() for column, name in plain.items()}
    for own, others in _WELL_KNOWN.items():
        if own in fields and own not in names.values():
            found = [column for other in others for column in plain if plain[column] == other]
            if found:
                names[found[0]] = own
    return names


def _list(name: str, value: Any, written: bool) -> list[str]:
    """Texts of a cell or a list; none if it is absent.

    Raises:
        BadInput: an answer is empty, or a structure.
    """
    if written and isinstance(value, str):
        listed: Any = texts_of_list(value.strip())
        listed = listed if listed is not None else [part.strip() for part in value.split("|")]
        listed = [] if listed == [""] else listed
    else:
        value = value if isinstance(value, datetime.date) else plain_value(value)
        listed = value if isinstance(value, list | tuple) else [] if value is None else [value]
    texts: list[str] = []
    for part in listed:
        if isinstance(part, bool) and name == "answers":
            texts += ("true", "yes") if part else ("false", "no")
            continue
        text = "" if is_absent(part) else _text(name, part)
        if not text.strip():
            raise BadInput(f"{name} contains an empty one: leave it out.")
        texts.append(text)
    return texts


def _text(name: str, value: Any) -> Any:
    """A value as a text; True and False stay for `unanswerable`."""
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        value = value.date()  # what Excel calls a date
    plain = plain_value(value)
    if name == "unanswerable":
        word = plain.strip().casefold() if isinstance(plain, str) else ""
        return True if word in _TRUE else False if word in _FALSE else plain
    if isinstance(plain, bool) or not isinstance(plain, str | int | float):
        raise BadInput(f"{name} is {quote_value(plain)}, not a text or a number.")
    if isinstance(plain, float) and plain.is_integer():
        return str(int(plain))
    return str(plain) if not isinstance(plain, str) else plain
