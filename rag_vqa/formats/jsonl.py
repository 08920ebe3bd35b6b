"""JSONL → Records: one JSON object a line, plain or gzipped, read as a stream.

It knows JSON and its odd corners. Lines are lines.py's, what a record means document.py's; it
does not know knowledge bases.
"""

from __future__ import annotations

import itertools
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from rag_vqa.errors import BadInput
from rag_vqa.formats.document import FIELDS, Record, Rejected, nearest, shown
from rag_vqa.formats.items import Contents, Item, Report, read_records
from rag_vqa.formats.lines import read_lines

__all__ = ["Record", "Rejected", "read_jsonl"]

# Lines looked at on opening, for the names of their fields.
SAMPLE = 100


def read_jsonl(
    path: str | Path,
    images: str | Path | None = None,
    on_reject: Report | None = None,
    strict: bool = False,
) -> Iterator[Record]:
    """Read documents of the fields {"id", "text", "title", "section", "image" or "images",
    "parent", "url", "metadata"}; only "id" must be there. Unknown fields are left out, each
    announced once by a warning.

    Args:
        images: folder of the pictures, by default the file's own. A name that leads out of it is
            refused when the picture is opened.
        on_reject: is told of each line that is refused. Without it the first one raises.
        strict: the first refused line raises, and so does an unknown field.

    Raises:
        Missing: no such file.
        BadInput: the file holds no documents, is no UTF-8 JSONL, or is a gzip bomb; under
            `strict` the first refused line.
    """
    path = Path(path)
    folder = (path.parent if images is None else Path(images)).resolve()
    strict = strict or on_reject is None
    return read_records(_items(path, strict), path, folder, on_reject, strict)


def contents(path: Path, strict: bool) -> Contents:
    """What a JSONL file of our own fields holds."""
    columns = field_names(path)
    unknown = tuple(name for name in columns if name not in FIELDS)
    return Contents(columns, (), unknown, lambda: _items(path, strict))


def field_names(path: Path) -> tuple[str, ...]:
    """Names of the fields of the first lines, in order of appearance."""
    names: dict[str, None] = {}
    for _, record in itertools.islice(objects(path), SAMPLE):
        if not isinstance(record, BadInput):
            names.update(dict.fromkeys(record))
    return tuple(names)


def objects(path: Path) -> Iterator[tuple[int, dict[str, Any] | BadInput]]:
    """The object of each line with its number, or why there is none; blank lines are passed over.

    Raises:
        Missing: no such file.
        BadInput: no regular file, UTF-16 or UTF-32, or a gzip bomb.
    """
    for number, line in read_lines(path):
        if isinstance(line, bytes) and not line.strip():
            continue
        try:
            yield number, _record(line)
        except BadInput as error:
            yield number, error


def decode(text: str, start: int = 0) -> tuple[Any, int]:
    """The JSON value at `start` of a text, and where it ends.

    Raises:
        BadInput: a field that stands twice, NaN, or nesting without end.
        json.JSONDecodeError: no JSON.

    >>> decode('[1] ')
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
    for number, record in objects(path):
        if not strict and not isinstance(record, BadInput):
            record = _known(record, unknown, f"{path}, line {number}")
        yield Item(number, record)


def _known(record: dict[str, Any], unknown: set[str], where: str) -> dict[str, Any]:
    """The record without fields that we do not know; each of those is announced once."""
    for name in record.keys() - set(FIELDS) - unknown:
        unknown.add(name)
        text = f"{where}: field {shown(name)} is unknown and left out.{nearest(name, FIELDS)}"
        warnings.warn(text, stacklevel=4)
    return {name: value for name, value in record.items() if name in FIELDS}


def _record(line: bytes | BadInput) -> dict[str, Any]:
    """One line's object. A line that could not be read comes as its error."""
    if isinstance(line, BadInput):
        raise line
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise BadInput(f"not UTF-8: byte 0x{line[error.start]:02x} at {error.start}.") from error
    try:
        record, end = decode(text, len(text) - len(text.lstrip(_SPACE)))
        if rest := text[end:].strip(_SPACE):
            raise json.JSONDecodeError("Extra data", text, text.index(rest[0], end))
    except json.JSONDecodeError as error:
        cut = "" if line.endswith(b"\n") else " The file's last line is cut."
        raise BadInput(f"not JSON: {error.msg} at column {error.colno}.{cut}") from error
    if not isinstance(record, dict):
        raise BadInput(f"{shown(record)} is not an object of fields.")
    return record


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise BadInput(f"field {shown(twice)} stands twice.")
    return record


def _no_number(name: str) -> NoReturn:
    raise BadInput(f"{name} is not JSON: leave the value out or write null.")


_SPACE = " \t\r\n"
_DECODER = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_number)
