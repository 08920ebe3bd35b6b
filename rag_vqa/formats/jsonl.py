"""JSONL → Records: one JSON object a line, plain or gzipped, read as a stream.

It knows JSON and its odd corners. Lines are lines.py's, what a record means document.py's; it
does not know knowledge bases.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from rag_vqa.errors import BadInput
from rag_vqa.formats.document import FIELDS, Record, Rejected, from_line, nearest, shown
from rag_vqa.formats.lines import read_lines

__all__ = ["Record", "Rejected", "read_jsonl"]

Report = Callable[[Rejected], None]


def read_jsonl(
    path: str | Path,
    images: str | Path | None = None,
    on_reject: Report | None = None,
    strict: bool = False,
) -> Iterator[Record]:
    """Read documents of the fields {"id", "text", "retrieval_text", "title", "section", "image"
    or "images", "parent", "url", "metadata"}; only "id" must be there. Unknown fields are left
    out, each announced once by a warning.

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
    unknown: set[str] = set()
    read, first = 0, None
    for number, line in read_lines(path):
        if isinstance(line, bytes) and not line.strip():
            continue
        try:
            record = _record(line)
            if not strict:
                record = _known(record, unknown, f"{path}, line {number}")
            document = from_line(record, number, folder)
        except BadInput as error:
            if strict or on_reject is None:
                raise BadInput(f"{path}, line {number}: {error}") from error
            rejected = Rejected(number, _id_of(line), str(error))
            first = first or rejected
            on_reject(rejected)
        else:
            read += 1
            yield document
    if not read:
        why = f"line {first.line} was refused: {first.reason}" if first else "it is empty."
        raise BadInput(f"{path} holds no documents: {why}")


def _known(record: dict[str, Any], unknown: set[str], where: str) -> dict[str, Any]:
    """The record without fields that we do not know; each of those is announced once."""
    for name in record.keys() - set(FIELDS) - unknown:
        unknown.add(name)
        text = f"{where}: field {shown(name)} is unknown and left out.{nearest(name, FIELDS)}"
        warnings.warn(text, stacklevel=3)
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
        record = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        cut = "" if line.endswith(b"\n") else " The file's last line is cut."
        raise BadInput(f"not JSON: {error.msg} at column {error.colno}.{cut}") from error
    except ValueError as error:  # an integer of thousands of digits
        raise BadInput(f"not JSON that can be read: {error}") from error
    except RecursionError as error:
        raise BadInput("nested too deeply: a document is flat.") from error
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


def _id_of(line: bytes | BadInput) -> str | None:
    """The id of a refused line, where it can be told."""
    try:
        identity = _record(line).get("id")
    except BadInput:
        return None
    return identity if isinstance(identity, str) else None
