"""JSONL: one JSON object a line, plain or gzipped, with our field names or with others.

Knows JSON and its odd corners, and how a benchmark's fields are renamed. Does not know what a
record means (document.py), nor any benchmark: those say which of their fields is which.
"""

from __future__ import annotations

import itertools
import json
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from rag_vqa.errors import BadInput
from rag_vqa.formats.document import (
    FIELDS,
    Contents,
    Item,
    Record,
    RejectHandler,
    read_records,
)
from rag_vqa.formats.document_format import DOCUMENT_FORMATS, DocumentFormat
from rag_vqa.formats.line_reader import read_lines
from rag_vqa.formatting import did_you_mean, quote_value

SAMPLE_LINES = 100  # read when a file is opened, for the names of their fields
_SPACE = " \t\r\n"


def read_jsonl(
    path: str | Path,
    images: str | Path | None = None,
    on_reject: RejectHandler | None = None,
    strict: bool = False,
) -> Iterator[Record]:
    """Read documents with the fields {"id", "text", "retrieval_text", "title", "section", "image"
    or "images", "parent", "url", "metadata"}; only "id" is required. Unknown fields are left out,
    with one warning each.

    Args:
        images: folder of the pictures, by default that of the file. A name that leads out of it is
            refused when the picture is opened.
        on_reject: is called with each refused line. Without it the first one raises.
        strict: the first refused line raises, and so does an unknown field.

    Raises:
        Missing: no such file.
        BadInput: the file contains no documents, is not JSONL in UTF-8, or is a gzip bomb; under
            `strict` the first refused line.
    """
    path = Path(path)
    folder = (path.parent if images is None else Path(images)).resolve()
    strict = strict or on_reject is None
    return read_records(_items(path, strict), path, folder, on_reject, strict)


def contents(path: Path, strict: bool) -> Contents:
    """What a JSONL file with our own field names contains."""
    columns = field_names(path)
    unknown = tuple(name for name in columns if name not in FIELDS)
    return Contents(columns, (), unknown, lambda: _items(path, strict))


def field_names(path: Path) -> tuple[str, ...]:
    """Names of the fields of the first lines, in order of appearance."""
    names: dict[str, None] = {}
    for _, record in itertools.islice(read_objects(path), SAMPLE_LINES):
        if not isinstance(record, BadInput):
            names.update(dict.fromkeys(record))
    return tuple(names)


def read_objects(path: Path) -> Iterator[tuple[int, dict[str, Any] | BadInput]]:
    """The object of each line with its number, or why there is none. Blank lines are skipped.

    Raises:
        Missing: no such file.
        BadInput: not a regular file, UTF-16 or UTF-32, or a gzip bomb.
    """
    for number, line in read_lines(path):
        if isinstance(line, bytes) and not line.strip():
            continue
        try:
            yield number, _parse_line(line)
        except BadInput as error:
            yield number, error


def decode_json(text: str, start: int = 0) -> tuple[Any, int]:
    """The JSON value at `start` of a text, and where it ends.

    Raises:
        BadInput: a repeated field, NaN, or nesting that is too deep.
        json.JSONDecodeError: not JSON.

    >>> decode_json('[1] ')
    ([1], 3)
    """
    try:
        value, end = _DECODER.raw_decode(text, start)
    except json.JSONDecodeError:
        raise
    except ValueError as error:  # an integer of thousands of digits
        raise BadInput(f"not JSON that can be read: {error}") from error
    except RecursionError as error:
        raise BadInput("nested too deeply: a document is flat.") from error
    return value, end


def _items(path: Path, strict: bool) -> Iterator[Item]:
    unknown: set[str] = set()
    for number, record in read_objects(path):
        if not strict and not isinstance(record, BadInput):
            record = _drop_unknown_fields(record, unknown, f"{path}, line {number}")
        yield Item(number, record)


def _drop_unknown_fields(
    record: dict[str, Any], unknown: set[str], location: str
) -> dict[str, Any]:
    """The record without unknown fields; warns once about each of those."""
    for name in record.keys() - set(FIELDS) - unknown:
        unknown.add(name)
        text = f"{location}: field {quote_value(name)} is unknown and left out."
        text += did_you_mean(name, FIELDS)
        warnings.warn(text, stacklevel=4)
    return {name: value for name, value in record.items() if name in FIELDS}


def _parse_line(line: bytes | BadInput) -> dict[str, Any]:
    """The object of a line; a line that could not be read comes as its error."""
    if isinstance(line, BadInput):
        raise line
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise BadInput(f"not UTF-8: byte 0x{line[error.start]:02x} at {error.start}.") from error
    try:
        record, end = decode_json(text, len(text) - len(text.lstrip(_SPACE)))
        if rest := text[end:].strip(_SPACE):
            raise json.JSONDecodeError("Extra data", text, text.index(rest[0], end))
    except json.JSONDecodeError as error:
        cut = "" if line.endswith(b"\n") else " The file's last line is cut."
        raise BadInput(f"not JSON: {error.msg} at column {error.colno}.{cut}") from error
    if not isinstance(record, dict):
        raise BadInput(f"{quote_value(record)} is not an object of fields.")
    return record


def _refuse_repeated_fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise BadInput(f"field {quote_value(twice)} is repeated.")
    return record


def _refuse_constant(name: str) -> NoReturn:
    raise BadInput(f"{name} is not JSON: leave the value out or write null.")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_refuse_repeated_fields, parse_constant=_refuse_constant
)


@dataclass(frozen=True, slots=True)
class FieldNames:
    """Field names of a benchmark, and the fields of document.py that they become.

    Attributes:
        fields: field of document.py → theirs; the first that is neither null nor "" is taken.
        metadata: theirs that are kept as metadata, by their own names.
        left_out: theirs that are known and not kept.
    """

    fields: Mapping[str, tuple[str, ...]]
    metadata: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    def read(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """A record as fields of document.py. An integer id becomes its digits.

        Raises:
            BadInput: there is no id.
        """
        fields = {name: _first_value(record, theirs) for name, theirs in self.fields.items()}
        identity = fields["id"]
        if identity is None:
            raise BadInput(f"the id, {' or '.join(self.fields['id'])}, is missing.")
        if isinstance(identity, int) and not isinstance(identity, bool):
            fields["id"] = str(identity)
        kept = {name: record[name] for name in self.metadata if record.get(name) is not None}
        return {**fields, "metadata": kept}

    def contents(self, path: Path) -> Contents:
        """What a file of such records contains."""
        columns = field_names(path)
        taken = {name for theirs in self.fields.values() for name in theirs}
        metadata = tuple(name for name in columns if name in self.metadata)
        known = {*taken, *metadata, *self.left_out}
        unknown = tuple(name for name in columns if name not in known)
        return Contents(columns, metadata, unknown, lambda: self._items(path))

    def _items(self, path: Path) -> Iterator[Item]:
        for number, record in read_objects(path):
            fields: Mapping[str, Any] | BadInput
            try:
                fields = record if isinstance(record, BadInput) else self.read(record)
            except BadInput as error:
                fields = error
            yield Item(number, fields)


def _first_value(record: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((v for name in names if (v := record.get(name)) not in (None, "")), None)


DOCUMENT_FORMATS.register(
    DocumentFormat(name="jsonl", open=lambda path, options: contents(path, options.strict))
)
