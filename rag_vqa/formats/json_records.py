"""JSON that is no JSONL: an array of records, an object that holds one, or one record alone.

Knows how the records of each shape are read, one after another. Does not know which shape a file
has (json_shape.py), where a value ends (json_stream.py), or fields (mapping.py).

Memory is that of the largest record; of a file by columns, that of the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any, Final, TypeAlias

from rag_vqa.errors import BadInput
from rag_vqa.formats.document import FIELDS, Contents, Item
from rag_vqa.formats.document_format import (
    DOCUMENT_FORMATS,
    DocumentFormat,
    SourceOptions,
    SourceSample,
)
from rag_vqa.formats.file_encoding import FileEncoding, find_file_encoding
from rag_vqa.formats.json_shape import JsonShape, find_items, find_shape
from rag_vqa.formats.json_stream import (
    BrokenJson,
    JsonText,
    iterate_items,
    iterate_members,
    open_json,
)
from rag_vqa.formats.jsonl import field_names, map_object, parse_line
from rag_vqa.formats.line_reader import read_lines
from rag_vqa.formats.mapping import IMAGES, WELL_KNOWN, FieldMapping, normal_name
from rag_vqa.formats.packed_file import DamagedStream, unpacked_suffix
from rag_vqa.formats.record_index import describe_index, drop_fields, find_index_fields
from rag_vqa.formats.table_header import id_names
from rag_vqa.formats.text_template import names_in_template
from rag_vqa.formatting import quote_value

_KEY: Final = "key"  # what the key of a record is called, if the record has an id of its own
_LINE_SUFFIXES: Final = (".jsonl", ".ndjson")
_SAMPLE_RECORDS: Final = 100

Records: TypeAlias = Iterator[tuple[int, dict[str, Any] | BadInput]]


@dataclass(frozen=True, slots=True)
class _JsonFile:
    """A file whose shape is known.

    Attributes:
        key: the field that the keys of an object of objects are; "": they are left out.
    """

    path: Path
    encoding: FileEncoding
    shape: JsonShape
    key: str = ""

    def records(self) -> Records:
        """The records with their numbers from 1; what is damaged ends them."""
        number = 0
        with open_json(self.path, self.encoding) as text:
            try:
                for value in self._values(text):
                    number += 1
                    yield number, self._record(value)
            except (BrokenJson, DamagedStream) as error:
                yield number + 1, BadInput(f"{error} The rest of the file is not read.")

    def _values(self, text: JsonText) -> Iterator[Any]:
        shape = self.shape
        if shape.kind == "array":
            yield from iterate_items(text)
        elif shape.kind == "member":
            yield from find_items(text, shape.path)
        elif shape.kind == "rows":
            rows = iterate_items(text)
            yield from _named_rows(next(rows, None), rows)
        elif shape.kind == "split":
            yield from _split_rows(text)
        elif shape.kind == "columns":
            yield from _column_rows(dict(iterate_members(text)))
        elif shape.kind == "keys":
            for key, value in iterate_members(text):
                if self.key and isinstance(value, dict):
                    yield {self.key: key, **value}
                else:
                    yield value
        else:
            while text.skip():
                yield text.value()

    def _record(self, value: Any) -> dict[str, Any] | BadInput:
        if isinstance(value, BadInput):
            return value
        if not isinstance(value, dict):
            return BadInput(f"{quote_value(value)} is not an object of fields.")
        return drop_fields(value, self.shape.left_out)


def contents(path: Path, options: SourceOptions) -> Contents:
    """What a JSON file contains.

    Raises:
        BadInput: no JSON, or several arrays that could be meant.
        UsageError: the mapping does not fit the fields, or no field is the id.
    """
    encoding = find_file_encoding(path, options.encoding)
    file, remarks = _open_file(path, encoding, options.mapping)
    wanted = {name for names in (options.mapping or {}).values() for name in names}
    wanted.update(names_in_template(options.text or ""))
    index = find_index_fields(record for _, record in file.records())
    columns = tuple(name for name in field_names(file.records(), wanted) if name not in index)
    if not columns:  # no record can be read: reading tells why
        return Contents((), (), (), lambda: _items(file, None), encoding.remarks)
    mapping = FieldMapping.resolve(columns, options.mapping, options.text)
    return Contents(
        columns,
        mapping.metadata,
        (),
        lambda: _items(file, mapping, index),
        (*encoding.remarks, *remarks, *describe_index(index), *mapping.remarks),
        mapping.fields,
    )


def read_objects(path: Path) -> Iterator[tuple[int, dict[str, Any] | BadInput]]:
    """The number and the object of each record of a JSON file, or why it has none.

    Raises:
        BadInput: no JSON, or several arrays that could be meant.
    """
    file, _ = _open_file(path, find_file_encoding(path), None)
    yield from file.records()


def is_json(sample: SourceSample) -> bool:
    """Whether a file is JSON, but not one object a line."""
    path = sample.path
    if not path.is_file():
        return False
    suffix = unpacked_suffix(path)
    try:
        lines = [line for _, line in islice(_filled_lines(path), 2)]
    except BadInput:
        return False
    if not lines:
        return False
    first = lines[0]
    begin = _first_character(path)
    if begin not in ("[", "{"):
        return False
    record = _object_of(first)
    if record is not None:
        return len(lines) == 1 and suffix not in _LINE_SUFFIXES and not _is_record(record)
    if begin == "[":
        return True
    is_opened = isinstance(first, BadInput) or first.strip() == "{" or suffix == ".json"
    return is_opened and not (len(lines) == 2 and _object_of(lines[1]) is not None)


def holds_records(path: Path) -> bool:
    """Whether a JSON file holds several records, and is no program's configuration."""
    try:
        file, _ = _open_file(path, find_file_encoding(path), None)
    except BadInput:
        return False
    if file.shape.kind not in ("keys", "values"):
        return file.shape.kind != "single"
    names = {normal_name(name) for name in field_names(file.records())}
    return not names.isdisjoint({"text", "title", *IMAGES, *WELL_KNOWN["text"]})


def _first_character(path: Path) -> str:
    with open_json(path) as text:
        return text.skip()


def _filled_lines(path: Path) -> Iterator[tuple[int, str | BadInput]]:
    for number, line in read_lines(path):
        if isinstance(line, BadInput) or not line.isspace():
            yield number, line


def _object_of(line: str | BadInput) -> dict[str, Any] | None:
    try:
        return parse_line(line)
    except BadInput:
        return None


def _is_record(record: Mapping[str, Any]) -> bool:
    """Whether an object is a document by itself: it has an id, which is no list."""
    ids = [value for name, value in record.items() if normal_name(name) in id_names(None)]
    return bool(ids) and not isinstance(ids[0], list | dict)


def _open_file(
    path: Path, encoding: FileEncoding, mapping: Mapping[str, Sequence[str]] | None
) -> tuple[_JsonFile, tuple[str, ...]]:
    """The file and its shape, and remarks about it.

    Raises:
        BadInput: no JSON, or several arrays that could be meant.
    """
    ids = id_names(mapping)
    mapped = {normal_name(name) for names in (mapping or {}).values() for name in names}
    usual = {*FIELDS, *(name for names in WELL_KNOWN.values() for name in names)}
    with open_json(path, encoding) as text:
        if not text.skip():
            raise BadInput(f"{path} contains no documents: it is empty.")
        if text.skip() not in ("[", "{"):
            raise BadInput(f"{path} is not JSON.")
        try:
            shape = find_shape(text, {*ids, *mapped, *usual}, ids)
        except BadInput as error:
            raise BadInput(f"{path}: {error}") from error
        except BrokenJson:  # what is sound is read, and the damage is said then
            shape = JsonShape("values")
    file = _JsonFile(path, encoding, shape)
    if shape.kind != "keys":
        return file, shape.remarks
    if shape.has_numbers:
        return file, ("the keys of the records only number them and are left out",)
    first = [record for _, record in islice(file.records(), _SAMPLE_RECORDS)]
    has_id = any(
        normal_name(name) in ids
        for record in first
        if not isinstance(record, BadInput)
        for name in record
    )
    key = _KEY if has_id or (mapping and "id" in mapping and _KEY in mapping["id"]) else "id"
    remark = f"the keys of the records are read as {quote_value(key)}"
    return _JsonFile(path, encoding, shape, key), (remark,)


def _items(
    file: _JsonFile, mapping: FieldMapping | None, index: frozenset[str] = frozenset()
) -> Iterator[Item]:
    for number, record in file.records():
        fields = map_object(drop_fields(record, index), mapping)
        yield Item(number, fields, unit="record")


def _named_rows(names: Any, rows: Iterator[Any]) -> Iterator[Any]:
    """Rows as records; the first row was the names."""
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        yield BadInput("the rows have no names: the first must be a list of the columns' names.")
        return
    for row in rows:
        if isinstance(row, list) and len(row) == len(names):
            yield dict(zip(names, row, strict=True))
        elif isinstance(row, BadInput):
            yield row
        else:
            yield BadInput(f"{quote_value(row)} is not a row of {len(names)} cells.")


def _split_rows(text: JsonText) -> Iterator[Any]:
    """Records of {"columns": […], "index": […], "data": [[…]]}."""
    names: Any = None
    text.take("{")
    while True:
        name = text.value()
        text.take(":")
        if name == "data":
            if names is None:
                yield BadInput('"columns" must come before "data".')
                return
            yield from _named_rows(names, iterate_items(text))
        elif name == "columns":
            names = text.value()
        elif text.skip() == "[":
            for _ in iterate_items(text):
                pass
        else:
            text.value()
        if text.skip() != ",":
            return
        text.take(",")


def _column_rows(columns: dict[str, Any]) -> Iterator[Any]:
    """Records of {"id": {"0": "a", "1": "b"}, …}, or of {"id": ["a", "b"], …}."""
    broken = next((value for value in columns.values() if isinstance(value, BadInput)), None)
    if broken is not None:
        yield broken
        return
    whole = {
        name: dict(zip(count(), cells, strict=False)) if isinstance(cells, list) else cells
        for name, cells in columns.items()
        if isinstance(cells, list | dict)
    }
    rows = dict.fromkeys(row for cells in whole.values() for row in cells)
    for row in rows:
        yield {name: cells[row] for name, cells in whole.items() if row in cells}


DOCUMENT_FORMATS.register(
    DocumentFormat(
        name="json",
        recognises=is_json,
        options=frozenset({"images", "mapping", "text", "encoding"}),
        open=contents,
    )
)
