"""Documents: one record of fields becomes a checked Document; items of a file become Records.

Knows the fields, their types, which text cannot be stored, and how refused items are reported.
Does not know any file format: a format yields Items, whose fields already have these names. A
picture is only named here; images.py checks that it lies in its folder when it is opened.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from rag_vqa.errors import BadInput
from rag_vqa.formatting import did_you_mean, quote_value
from rag_vqa.types import Document, ImageSource, Scalar

_TEXTS = ("text", "retrieval_text", "title", "section", "parent", "url")
FIELDS = ("id", *_TEXTS, "image", "images", "metadata")


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


RejectHandler: TypeAlias = Callable[[Rejected], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record(Document):
    """A document read from a file. Its pictures (absolute paths, bytes) cannot be trusted.

    Attributes:
        line: its line or row in its file; None if it is a file of its own.
        folder: the folder that its pictures must lie in, also after links are followed: open them
            with this root.
    """

    line: int | None
    folder: Path


def parse_document(record: Mapping[str, Any]) -> Document:
    """Parse a record that a caller made, with the names of FIELDS. Null counts as absent.

    Its images are trusted: a name is a path as it stands; bytes and decoded pictures also work.

    Raises:
        BadInput: a field is unknown, missing, or not of its type.
    """
    document = Document(**_document_fields(record))
    check_document(document)
    return document


def parse_record(record: Mapping[str, Any], line: int | None, folder: Path) -> Record:
    """Parse a record of a file, with the names of FIELDS.

    Args:
        line: its line or row; None if it is a file of its own.
        folder: absolute path of the folder that its images are named in. Formats that contain
            pictures give their bytes instead of names.

    Raises:
        BadInput: a field is unknown, missing, or not of its type.
    """
    fields = _document_fields(record)
    fields["images"] = tuple(
        source if isinstance(source, bytes) else folder / _image_name(source)
        for source in fields["images"]
    )
    document = Record(**fields, line=line, folder=folder)
    check_document(document)
    return document


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


def _document_fields(record: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a Document; texts and metadata are checked later."""
    for name in record:
        if name not in FIELDS:
            raise BadInput(f"unknown field {quote_value(name)}.{did_you_mean(str(name), FIELDS)}")
    given = {name: value for name, value in record.items() if value is not None}
    texts = {name: given.get(name, "") for name in _TEXTS}
    metadata = given.get("metadata", {})
    return {
        "id": _document_id(given),
        **texts,
        "images": _image_sources(given),
        "metadata": metadata,
    }


def check_document(document: Document) -> None:
    """Refuse a document that cannot be stored or found again.

    Raises:
        BadInput: an empty id, a field that is not text, a lone surrogate, a NUL, nested metadata,
            NaN or infinity.
    """
    _check_text("id", document.id)
    if not document.id.strip():
        raise BadInput("the id is empty: give each document its own.")
    for name in _TEXTS:
        _check_text(name, getattr(document, name))
    if not isinstance(document.metadata, Mapping):
        raise BadInput(
            f"metadata is {quote_value(document.metadata)}, not an object of names and values."
        )
    for key, value in document.metadata.items():
        _check_text("a key of metadata", key)
        for each in value if isinstance(value, list | tuple) else (value,):
            _check_scalar(key, each)


def _document_id(fields: Mapping[str, Any]) -> str:
    if "id" not in fields:
        raise BadInput('the id is missing: give each document its own "id".')
    identity = fields["id"]
    if isinstance(identity, int | float):
        raise BadInput(f'the id is a number: write it as text, "{quote_value(identity)}".')
    if not isinstance(identity, str):
        raise BadInput(f"the id is {quote_value(identity)}, not text.")
    return identity


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise BadInput(f"{name} is {quote_value(value)}, not text.")
    if "\0" in value:
        raise BadInput(f"{name} contains a NUL character: it is not text.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise BadInput(f"{name} contains half a character (a lone surrogate).") from error


def _check_scalar(key: str, value: Scalar) -> None:
    if isinstance(value, str):
        _check_text(f"metadata {quote_value(key)}", value)
    elif value is not None and not isinstance(value, int | float):
        raise BadInput(
            f"metadata {quote_value(key)} is {quote_value(value)}, not a text, number or boolean."
        )
    elif isinstance(value, float) and not math.isfinite(value):
        raise BadInput(
            f"metadata {quote_value(key)} is {value}: not a number that can be compared."
        )
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise BadInput(f"metadata {quote_value(key)} is beyond 64 bits: write it as text.")


def _image_sources(fields: Mapping[str, Any]) -> tuple[ImageSource, ...]:
    if "image" in fields and "images" in fields:
        raise BadInput("both image and images are given: keep one of them.")
    listed = fields.get("images", [fields["image"]] if "image" in fields else [])
    if not isinstance(listed, list | tuple):
        raise BadInput(f"images is {quote_value(listed)}, not a list of names.")
    return tuple(source for source in listed if source not in ("", None))


def _image_name(name: object) -> str:
    if not isinstance(name, str):
        raise BadInput(f"an image is {quote_value(name)}, not the name of a file.")
    _check_text("the name of an image", name)
    if "://" in name or name.startswith("data:"):
        raise BadInput(f"image {quote_value(name)} is an address: only files are read.")
    return name


@dataclass(frozen=True, slots=True)
class Item:
    """One document of a source: its fields, or the reason why it was refused.

    Attributes:
        line: its line or row in its file; None if it is a file of its own.
        place: its file if there are several, or its key.
        unit: what `line` counts.
    """

    line: int | None
    fields: Mapping[str, Any] | BadInput
    place: str = ""
    unit: str = "line"

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
    """

    columns: tuple[str, ...]
    metadata: tuple[str, ...]
    unknown: tuple[str, ...]
    items: Callable[[], Iterator[Item]]


def read_records(
    items: Iterable[Item],
    path: Path,
    folder: Path,
    on_reject: RejectHandler | None = None,
    strict: bool = False,
    wanted: frozenset[str] | None = None,
) -> Iterator[Record]:
    """Read the items of `path` one by one.

    Args:
        folder: absolute path of the folder that the pictures must lie in.
        on_reject: is called with each refused item. Without it the first one raises.
        strict: the first refused item raises.
        wanted: ids, parents, addresses or titles: all other documents are skipped.

    Raises:
        BadInput: there are no documents; under `strict` the first refused item.
    """
    read, first = 0, ""
    for item in items:
        try:
            if isinstance(item.fields, BadInput):
                raise item.fields
            record = parse_record(item.fields, item.line, folder)
        except BadInput as error:
            if strict or on_reject is None:
                raise BadInput(f"{path}, {item.location}: {error}") from error
            reason = f"{item.place}: {error}" if item.place else str(error)
            first = first or f"{item.location} was refused: {error}"
            on_reject(Rejected(item.line, _item_id(item), reason))
        else:
            if wanted is None or not wanted.isdisjoint(
                (record.id, record.parent, record.url, record.title)
            ):
                read += 1
                yield record
    if not read:
        nothing = (
            "it is empty."
            if wanted is None
            else f"none of the {len(wanted)} wanted documents is in it."
        )
        raise BadInput(f"{path} contains no documents: {first or nothing}")


def _item_id(item: Item) -> str | None:
    """The id of a refused item; None if it has none that can be read."""
    identity = None if isinstance(item.fields, BadInput) else item.fields.get("id")
    return identity if isinstance(identity, str) else None
