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
from typing import Any

from rag_vqa.errors import BadInput
from rag_vqa.formatting import did_you_mean, quote_value
from rag_vqa.types import Document, ImageSource, Scalar

_TEXTS = ("text", "retrieval_text", "title", "section", "parent", "url")
FIELDS = ("id", *_TEXTS, "image", "images", "metadata")


@dataclass(frozen=True, slots=True)
class Rejected:
    """An item that was refused: its line in its file (None if of none), its id if it has one."""

    line: int | None
    id: str | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Record(Document):
    """A document as a file has it: its pictures (absolute paths, bytes) are not to be trusted.

    Attributes:
        line: its line or row in its file; None if it is a file of its own.
        folder: what a picture may not leave, not through a link either: open it with this root.
    """

    line: int | None
    folder: Path


def parse_document(record: Mapping[str, Any]) -> Document:
    """Read a caller's record of FIELDS; what is null counts as absent.

    Images are trusted: names are paths as they stand, bytes and pictures also serve.

    Raises:
        BadInput: a field is unknown, missing, or not of its type.
    """
    document = Document(**_document_fields(record))
    check_document(document)
    return document


def parse_record(record: Mapping[str, Any], line: int | None, folder: Path) -> Record:
    """Read a file's record of FIELDS: images are names of files in `folder`, an absolute path.

    Formats that hold pictures themselves give their bytes.

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
    """The text that is searched: `retrieval_text` stands for `text` where it is given."""
    return document.retrieval_text.strip() or document.text.strip()


def check_content(document: Document) -> None:
    """Refuse a document that there is nothing to encode of.

    Raises:
        BadInput: it has neither text nor image.
    """
    if not searchable_text(document) and not document.images:
        raise BadInput(
            f"document {quote_value(document.id)} has neither text nor image: give it one of them."
        )


def _document_fields(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a Document is made of; its texts and metadata are not looked at yet."""
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
    """Refuse what cannot be stored or found again.

    Raises:
        BadInput: an empty id, a field that is no text, a lone surrogate, a NUL, metadata that is
            not flat, a number without a value.
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
        _check_scalar(key, value)


def _document_id(given: Mapping[str, Any]) -> str:
    if "id" not in given:
        raise BadInput('the id is missing: give each document its own "id".')
    identity = given["id"]
    if isinstance(identity, int | float):
        raise BadInput(f'the id is a number: write it as text, "{quote_value(identity)}".')
    if not isinstance(identity, str):
        raise BadInput(f"the id is {quote_value(identity)}, not text.")
    return identity


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise BadInput(f"{name} is {quote_value(value)}, not text.")
    if "\0" in value:
        raise BadInput(f"{name} holds a NUL character: it is no text.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise BadInput(f"{name} holds half a character (a lone surrogate).") from error


def _check_scalar(key: str, value: Scalar) -> None:
    if isinstance(value, str):
        _check_text(f"metadata {quote_value(key)}", value)
    elif value is not None and not isinstance(value, int | float):
        raise BadInput(
            f"metadata {quote_value(key)} is {quote_value(value)}, not a text, number or truth."
        )
    elif isinstance(value, float) and not math.isfinite(value):
        raise BadInput(
            f"metadata {quote_value(key)} is {value}: not a number that can be compared."
        )
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise BadInput(f"metadata {quote_value(key)} is beyond 64 bits: write it as text.")


def _image_sources(given: Mapping[str, Any]) -> tuple[ImageSource, ...]:
    if "image" in given and "images" in given:
        raise BadInput("both image and images are given: keep one of them.")
    listed = given.get("images", [given["image"]] if "image" in given else [])
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


RejectHandler = Callable[[Rejected], None]


@dataclass(frozen=True, slots=True)
class Item:
    """What will be one document: its fields, or why it has none.

    Attributes:
        line: its line or row in its file; None if it is a file of its own.
        place: what else tells where it is: its file among several, its key.
        unit: what `line` counts.
    """

    line: int | None
    fields: Mapping[str, Any] | BadInput
    place: str = ""
    unit: str = "line"

    @property
    def where(self) -> str:
        """Its place for a message that names the source already."""
        counted = "" if self.line is None else f"{self.unit} {self.line}"
        return ", ".join(part for part in (self.place, counted) if part)


@dataclass(frozen=True, slots=True)
class Contents:
    """What a format found in a file on opening it.

    Attributes:
        columns: names of what each item has, in order.
        metadata: those of them that become metadata.
        unknown: those of them that are left out, because nobody said what they are.
        items: reads the file from its beginning.
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
        folder: what the pictures may not leave, an absolute path.
        on_reject: is told of each item that is refused. Without it the first one raises.
        strict: the first refused item raises.
        wanted: ids, parents, addresses or titles: all other documents are passed over.

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
                raise BadInput(f"{path}, {item.where}: {error}") from error
            reason = f"{item.place}: {error}" if item.place else str(error)
            first = first or f"{item.where} was refused: {error}"
            on_reject(Rejected(item.line, _item_id(item), reason))
        else:
            if wanted is None or not wanted.isdisjoint(
                (record.id, record.parent, record.url, record.title)
            ):
                read += 1
                yield record
    if not read:
        nothing = (
            "it is empty." if wanted is None else f"none of the {len(wanted)} wanted is there."
        )
        raise BadInput(f"{path} holds no documents: {first or nothing}")


def _item_id(item: Item) -> str | None:
    """The id of a refused item, where it can be told."""
    identity = None if isinstance(item.fields, BadInput) else item.fields.get("id")
    return identity if isinstance(identity, str) else None
