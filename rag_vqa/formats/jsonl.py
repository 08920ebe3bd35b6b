"""JSONL: one JSON object a line, plain or packed, with our field names or with others.

Knows JSON and its odd corners (NaN and infinity are read, as Python and pandas write them), and how
a benchmark's fields are renamed. Does not know what a
record means (document.py), nor any benchmark: those say which of their fields is which.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from rag_vqa.errors import BadInput
from rag_vqa.formats.document import Contents, Item, Record, RejectHandler, read_records
from rag_vqa.formats.document_format import DOCUMENT_FORMATS, DocumentFormat, SourceOptions
from rag_vqa.formats.file_encoding import FileEncoding, find_file_encoding
from rag_vqa.formats.line_reader import read_lines
from rag_vqa.formats.mapping import FieldMapping, normal_name
from rag_vqa.formats.packed_file import read_head, unpacked_suffix
from rag_vqa.formats.record_index import describe_index, drop_fields, find_index_fields
from rag_vqa.formats.text_template import names_in_template
from rag_vqa.formatting import quote_value

SAMPLE_LINES = 100  # read when a file is opened, for the names of their fields
_SPACE = " \t\r\n"


def read_jsonl(
    path: str | Path,
    images: str | Path | None = None,
    on_reject: RejectHandler | None = None,
    strict: bool = False,
) -> Iterator[Record]:
    """Read documents with the fields {"id", "text", "retrieval_text", "title", "section", "image"
    or "images", "parent", "url", "metadata"}; only "id" is required. Other fields are metadata.

    Args:
        images: folder of the pictures, by default that of the file. A name that leads out of it is
            refused when the picture is opened.
        on_reject: is called with each refused line. Without it the first one raises.
        strict: the first refused line raises.

    Raises:
        Missing: no such file.
        BadInput: the file contains no documents, is not JSONL in UTF-8, or is a gzip bomb; under
            `strict` the first refused line.
        UsageError: no field of the first lines is the id.
    """
    path = Path(path)
    folder = (path.parent if images is None else Path(images)).resolve()
    strict = strict or on_reject is None
    found = contents(path, SourceOptions())
    return read_records(found.items(), path, folder, on_reject, strict)


def contents(path: Path, options: SourceOptions) -> Contents:
    """What a JSONL file with our own field names, or with mapped ones, contains.

    Raises:
        UsageError: the mapping does not fit the fields, or no field is the id.
    """
    wanted = {name for names in (options.mapping or {}).values() for name in names}
    wanted.update(names_in_template(options.text or ""))
    encoding = find_file_encoding(path, options.encoding)
    index = find_index_fields(record for _, record in read_objects(path, encoding))
    names = field_names(read_objects(path, encoding), wanted)
    columns = tuple(name for name in names if name not in index)
    if not columns:  # no line can be read: reading tells why
        return Contents((), (), (), lambda: _items(path, None, encoding), encoding.remarks)
    mapping = FieldMapping.resolve(columns, options.mapping, options.text)
    remarks = (*encoding.remarks, *describe_index(index), *mapping.remarks)
    return Contents(
        columns,
        mapping.metadata,
        (),
        lambda: _items(path, mapping, encoding, index),
        remarks,
        mapping.fields,
    )


def field_names(
    objects: Iterable[tuple[int, dict[str, Any] | BadInput]], wanted: Collection[str] = ()
) -> tuple[str, ...]:
    """Names of the fields of the first objects, in order of appearance.

    Args:
        wanted: names that may come later: objects are read until all of them have been seen.
    """
    names: dict[str, None] = {}
    missing = {normal_name(name) for name in wanted}
    for number, (_, record) in enumerate(objects):
        if number >= SAMPLE_LINES and not missing:
            break
        if not isinstance(record, BadInput):
            names.update(dict.fromkeys(record))
            missing -= {normal_name(name) for name in record} if missing else set()
    return tuple(names)


def read_objects(
    path: Path, encoding: FileEncoding | None = None
) -> Iterator[tuple[int, dict[str, Any] | BadInput]]:
    """The object of each line with its number, or why there is none. Blank lines are skipped.

    Args:
        encoding: by default it is found out.

    Raises:
        Missing: no such file.
        BadInput: not a regular file, no text, or a bomb.
    """
    for number, line in read_lines(path, encoding):
        if isinstance(line, str) and (line.isspace() or not line):
            continue
        try:
            yield number, parse_line(line)
        except BadInput as error:
            yield number, error


def decode_json(text: str, start: int = 0) -> tuple[Any, int]:
    """The JSON value at `start` of a text, and where it ends.

    Raises:
        BadInput: a repeated field, or nesting that is too deep.
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


def _items(
    path: Path,
    mapping: FieldMapping | None,
    encoding: FileEncoding,
    index: frozenset[str] = frozenset(),
) -> Iterator[Item]:
    for number, record in read_objects(path, encoding):
        yield Item(number, map_object(drop_fields(record, index), mapping))


def map_object(
    record: dict[str, Any] | BadInput, mapping: FieldMapping | None
) -> Mapping[str, Any] | BadInput:
    """The fields of an object, or why it has none."""
    if isinstance(record, BadInput) or mapping is None:
        return record
    try:
        return mapping.read(record)
    except BadInput as error:
        return error


def parse_line(line: str | BadInput) -> dict[str, Any]:
    """The object of a line; a line that could not be read comes as its error."""
    if isinstance(line, BadInput):
        raise line
    try:  # as nearly all lines are; whatever is wrong is found again below, and named
        record, end = _DECODER.scan_once(line, 0)  # type: ignore[attr-defined]
        if type(record) is dict and line[end:] in ("\n", ""):
            return record
    except (StopIteration, ValueError, RecursionError, BadInput):
        pass
    try:
        record, end = decode_json(line, len(line) - len(line.lstrip(_SPACE)))
        if rest := line[end:].strip(_SPACE):
            raise json.JSONDecodeError("Extra data", line, line.index(rest[0], end))
    except json.JSONDecodeError as error:
        cut = "" if line.endswith("\n") else " The file's last line is cut."
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


_DECODER = json.JSONDecoder(object_pairs_hook=_refuse_repeated_fields)


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
        encoding = find_file_encoding(path)
        columns = field_names(read_objects(path, encoding))
        taken = {name for theirs in self.fields.values() for name in theirs}
        metadata = tuple(name for name in columns if name in self.metadata)
        known = {*taken, *metadata, *self.left_out}
        unknown = tuple(name for name in columns if name not in known)
        return Contents(
            columns, metadata, unknown, lambda: self._items(path, encoding), encoding.remarks
        )

    def _items(self, path: Path, encoding: FileEncoding) -> Iterator[Item]:
        for number, record in read_objects(path, encoding):
            fields: Mapping[str, Any] | BadInput
            try:
                fields = record if isinstance(record, BadInput) else self.read(record)
            except BadInput as error:
                fields = error
            yield Item(number, fields)


def _first_value(record: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((v for name in names if (v := record.get(name)) not in (None, "")), None)


def is_jsonl_text(path: Path) -> bool:
    """Whether a file that is called a text has JSON objects as its first lines."""
    if unpacked_suffix(path) != ".txt" or not path.is_file() or read_head(path, 1) != b"{":
        return False
    first = [record for _, record in islice(read_objects(path), 2)]
    return bool(first) and all(isinstance(record, dict) for record in first)


DOCUMENT_FORMATS.register(
    DocumentFormat(
        name="jsonl",
        claims=is_jsonl_text,
        options=frozenset({"images", "mapping", "text", "encoding"}),
        open=contents,
    )
)
