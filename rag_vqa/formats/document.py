"""Documents: one record of fields becomes a checked Document; items of a file become Records.

Knows the fields, which of them a document cannot do without, and how refused items are reported.
Does not know any file format: a format yields Items, whose fields already have these names, with
values as they were read (plain_values.py converts them). A picture is only named here; images.py
checks that it lies in its folder when it is opened.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypeVar

from rag_vqa.data_address import is_data_address
from rag_vqa.errors import BadInput
from rag_vqa.formats.plain_values import (
    UnusableValue,
    field_text,
    id_text,
    metadata_value,
    picture_list,
    text_problem,
)
from rag_vqa.formatting import quote_value
from rag_vqa.types import Document, ImageSource, MetadataValue

_TEXTS = ("text", "retrieval_text", "title", "section", "parent", "url")
FIELDS = ("id", *_TEXTS, "image", "images", "metadata")
_FIELD_SET = frozenset(FIELDS)
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:/|data:", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Rejected:
    """An item that was refused.

    Attributes:
        line: its line or row in its file; None if it is a file of its own.
        id: None if it has none that can be read.
    """

    line: int | None
    id: str | None
    reason: str


_Parsed = TypeVar("_Parsed")
RejectHandler: TypeAlias = Callable[[Rejected], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record(Document):
    """A document read from a file. Its pictures (absolute paths, bytes) cannot be trusted.

    A picture that is a text, not a path, is an address or no name of a file.

    Attributes:
        line: its line or row in its file; None if it is a file of its own.
        folder: the folder that its pictures must lie in, also after links are followed: open them
            with this root.
        left_out: metadata that could not be kept: name → reason.
        remark: see `Item`.
    """

    line: int | None
    folder: Path
    left_out: Mapping[str, str] = field(default_factory=dict)
    remark: str = ""


def parse_document(record: Mapping[str, Any]) -> Document:
    """Parse a record that a caller made, with the names of FIELDS. Null counts as absent.

    Other names become metadata. Its images are trusted: a name is a path as it stands; bytes,
    arrays and decoded pictures also work.

    Raises:
        BadInput: the id is missing, or a field is not of its type.
    """
    return parse_document_with_losses(record)[0]


def parse_document_with_losses(
    record: Mapping[str, Any] | Document,
) -> tuple[Document, dict[str, str]]:
    """As `parse_document`, with the metadata that could not be kept: name → reason."""
    if isinstance(record, Document):
        record = {name: getattr(record, name) for name in FIELDS if name != "image"}
    fields, left_out = check_fields(record)
    return Document(**fields), left_out


def parse_record(
    record: Mapping[str, Any],
    line: int | None,
    folder: Path,
    remark: str = "",
    base: Path | None = None,
) -> Record:
    """Parse a record of a file, with the names of FIELDS. Other names become metadata.

    Args:
        line: its line or row; None if it is a file of its own.
        folder: absolute path of the folder that its images may not leave. Formats that contain
            pictures give their bytes instead of names.
        base: absolute path of the folder that its images are named in; by default `folder`.

    Raises:
        BadInput: the id is missing, or a field is not of its type.
    """
    fields, left_out = check_fields(record)
    named_in = base or folder
    fields["images"] = tuple(record_picture(source, named_in) for source in fields["images"])
    return Record(**fields, line=line, folder=folder, left_out=left_out, remark=remark)


def searchable_text(document: Document) -> str:
    """The text that is encoded and searched: `retrieval_text` if there is one, else `text`."""
    return document.retrieval_text.strip() or document.text.strip()


def check_content(document: Document) -> None:
    """Refuse a document without anything to encode.

    Raises:
        BadInput: it has neither text nor image.
    """
    if not searchable_text(document) and not document.images:
        raise BadInput(
            f"document {quote_value(document.id)} has neither text nor image: give it one of them."
        )


def check_fields(record: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Arguments of a Document, and the metadata that could not be kept: name → reason.

    Its pictures are as they were given; see `record_picture`.

    Raises:
        BadInput: as `parse_record` does.
    """
    fields: dict[str, Any] = {"id": _document_id(record.get("id"))}
    for name in _TEXTS:  # this function runs for each document of a source
        text = record.get(name, "")
        if type(text) is not str:
            text = field_text(name, text)
        if ("\0" in text or not text.isascii()) and (problem := text_problem(text)):
            raise BadInput(f"{name} contains {problem}: it is not text.")
        fields[name] = text
    image, images = record.get("image"), record.get("images")
    pictures = [] if image is None else picture_list(image)
    if images is not None:
        pictures += picture_list(images)
    fields["images"] = _distinct(pictures) if len(pictures) > 1 else tuple(pictures)
    given = record.get("metadata")
    if given is not None and not isinstance(given, Mapping):
        raise BadInput(f"metadata is {quote_value(given)}, not an object of names and values.")
    if not _FIELD_SET.issuperset(record):
        others = {name: record[name] for name in record if name not in _FIELD_SET}
        given = {**(given or {}), **others}
    fields["metadata"], left_out = _metadata(given) if given else ({}, {})
    return fields, left_out


def _metadata(given: Mapping[str, Any]) -> tuple[dict[str, MetadataValue], dict[str, str]]:
    kept: dict[str, MetadataValue] = {}
    left_out: dict[str, str] = {}
    for key, value in given.items():
        name = key if isinstance(key, str) else str(key)
        try:
            if ("\0" in name or not name.isascii()) and text_problem(name):
                raise UnusableValue("a name that is not text")
            kept_value = metadata_value(value)
        except UnusableValue as error:
            left_out[ascii(name)[1:-1] if text_problem(name) else name] = str(error)
        else:
            if kept_value is not None:
                kept[name] = kept_value
    return kept, left_out


def _distinct(pictures: list[Any]) -> tuple[Any, ...]:
    """The pictures without names that came before."""
    names: set[str] = set()
    kept = []
    for picture in pictures:
        name = str(picture) if isinstance(picture, str | Path) else ""
        if not name or name not in names:
            kept.append(picture)
        names.add(name)
    return tuple(kept)


def _document_id(value: object) -> str:
    identity = value if type(value) is str else id_text(value)
    if identity is None:
        raise BadInput('the id is missing: give each document its own "id".')
    if problem := text_problem(identity):
        raise BadInput(f"the id contains {problem}: it is not text.")
    if not identity.strip():
        raise BadInput("the id is empty: give each document its own.")
    return identity


def record_picture(source: Any, folder: Path) -> ImageSource:
    """A picture of a file: its bytes; its path; or what it is called, if it is no file's name."""
    if isinstance(source, bytes):
        return source
    if not isinstance(source, str) or text_problem(source):
        return quote_value(source)
    return source if is_address(source) else folder / source


def is_address(name: str) -> bool:
    """Whether a picture's name is an address: of the web, of a file, or with the picture in it.

    >>> is_address("https://a.b/c.jpg"), is_address("a/b.jpg"), is_address("C:/b.jpg")
    (True, False, False)
    """
    return bool(_ADDRESS.match(name)) or is_data_address(name)


class Item(NamedTuple):
    """One document of a source: its fields, or the reason why it was refused.

    Attributes:
        line: its line or row in its file; None if it is a file of its own.
        place: its file if there are several, or its key.
        unit: what `line` counts.
        remark: what its format had to do to it; a survey counts equal ones.
        identity: of a refused item, its id, or that of the document it is a section of; "" if that
            is not known.
    """

    line: int | None
    fields: Mapping[str, Any] | BadInput
    place: str = ""
    unit: str = "line"
    remark: str = ""
    identity: str = ""

    @property
    def location(self) -> str:
        """The item's place, for a message that already names the source: "part.parquet, row 7"."""
        counted = "" if self.line is None else f"{self.unit} {self.line}"
        return ", ".join(part for part in (self.place, counted) if part)


@dataclass(frozen=True, slots=True)
class Contents:
    """What a format found when it opened a source.

    Attributes:
        columns: names of the fields or columns, in order.
        metadata: those that become metadata.
        unknown: those that are left out, because nothing says what they mean.
        items: reads the source from its beginning.
        remarks: what the user should know before the build, one line each.
        fields: of a table, the columns that each field is read from.
        findings: what the last complete reading of `items` found, one line each.
    """

    columns: tuple[str, ...]
    metadata: tuple[str, ...]
    unknown: tuple[str, ...]
    items: Callable[[], Iterator[Item]]
    remarks: tuple[str, ...] = ()
    fields: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    findings: Callable[[], tuple[str, ...]] = tuple


def read_records(
    items: Iterable[Item],
    path: Path,
    folder: Path,
    on_reject: RejectHandler | None = None,
    strict: bool = False,
    wanted: frozenset[str] | None = None,
    base: Path | None = None,
) -> Iterator[Record]:
    """Read the items of `path` one by one.

    Args:
        folder, base: of the pictures, see `parse_record`.
        on_reject: is called with each refused item. Without it the first one raises.
        strict: the first refused item raises.
        wanted: ids, parents, addresses or titles: all other documents are skipped.

    Raises:
        BadInput: there are no documents; under `strict` the first refused item.
    """

    def parse(item: Item) -> Record | None:
        fields = item.fields
        assert not isinstance(fields, BadInput)
        record = parse_record(fields, item.line, folder, item.remark, base)
        names = (record.id, record.parent, record.url, record.title)
        return record if wanted is None or not wanted.isdisjoint(names) else None

    return parse_items(items, path, parse, on_reject, strict, wanted)


def parse_items(
    items: Iterable[Item],
    path: Path,
    parse: Callable[[Item], _Parsed | None],
    on_reject: RejectHandler | None = None,
    strict: bool = False,
    wanted: frozenset[str] | None = None,
) -> Iterator[_Parsed]:
    """What `parse` makes of the items of `path`, one by one.

    Args:
        parse: gets an item that has fields; returns None for a document that is not wanted, and
            raises BadInput for one that is refused.

    Raises:
        BadInput: as `read_records` does.
    """
    read, first = 0, ""
    for item in items:
        try:
            if isinstance(item.fields, BadInput):
                raise item.fields
            parsed = parse(item)
        except BadInput as error:
            if strict or on_reject is None:
                raise BadInput(f"{path}, {item.location}: {error}") from error
            reason = f"{item.place}: {error}" if item.place else str(error)
            first = first or f"{item.location} was refused: {error}"
            on_reject(Rejected(item.line, _item_id(item), reason))
        else:
            if parsed is not None:
                read += 1
                yield parsed
    if not read:
        nothing = (
            "it is empty."
            if wanted is None
            else f"none of the {len(wanted)} wanted documents is in it."
        )
        raise BadInput(f"{path} contains no documents: {first or nothing}")


def _item_id(item: Item) -> str | None:
    """The id of a refused item; None if it has none that can be read."""
    if isinstance(item.fields, BadInput):
        return item.identity or None
    try:
        return id_text(item.fields.get("id"))
    except BadInput:
        return None
