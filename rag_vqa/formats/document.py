"""One record of a user → Document, or the reason why not.

It knows the fields, their types, and which text cannot be stored. It does not know files: a
picture is named here; whether it lies in its folder is seen when it is opened (images.py).
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rag_vqa.errors import BadInput
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


def nearest(name: str, known: Iterable[str]) -> str:
    """` Did you mean 'text'?`, or nothing."""
    near = difflib.get_close_matches(name, list(known), 1)
    return f" Did you mean {near[0]!r}?" if near else ""


def shown(value: object, limit: int = 60) -> str:
    """A user's value as it may stand in a message: escaped, and not longer than a line."""
    text = ascii(value)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def from_mapping(record: Mapping[str, Any]) -> Document:
    """Read a caller's record of FIELDS; what is null counts as absent.

    Images are trusted: names are paths as they stand, bytes and pictures also serve.

    Raises:
        BadInput: a field is unknown, missing, or not of its type.
    """
    document = Document(**_fields(record))
    check(document)
    return document


def from_line(record: Mapping[str, Any], line: int | None, folder: Path) -> Record:
    """Read a file's record of FIELDS: images are names of files in `folder`, an absolute path.

    Formats that hold pictures themselves give their bytes.

    Raises:
        BadInput: a field is unknown, missing, or not of its type.
    """
    fields = _fields(record)
    fields["images"] = tuple(
        source if isinstance(source, bytes) else folder / _file_name(source)
        for source in fields["images"]
    )
    document = Record(**fields, line=line, folder=folder)
    check(document)
    return document


def searched(document: Document) -> str:
    """The text that is searched: `retrieval_text` stands for `text` where it is given."""
    return document.retrieval_text.strip() or document.text.strip()


def check_content(document: Document) -> None:
    """Refuse a document that there is nothing to encode of.

    Raises:
        BadInput: it has neither text nor image.
    """
    if not searched(document) and not document.images:
        raise BadInput(
            f"document {shown(document.id)} has neither text nor image: give it one of them."
        )


def _fields(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a Document is made of; its texts and metadata are not looked at yet."""
    for name in record:
        if name not in FIELDS:
            raise BadInput(f"unknown field {shown(name)}.{nearest(str(name), FIELDS)}")
    given = {name: value for name, value in record.items() if value is not None}
    texts = {name: given.get(name, "") for name in _TEXTS}
    metadata = given.get("metadata", {})
    return {"id": _id(given), **texts, "images": _images(given), "metadata": metadata}


def check(document: Document) -> None:
    """Refuse what cannot be stored or found again.

    Raises:
        BadInput: an empty id, a field that is no text, a lone surrogate, a NUL, metadata that is
            not flat, a number without a value.
    """
    _text("id", document.id)
    if not document.id.strip():
        raise BadInput("the id is empty: give each document its own.")
    for name in _TEXTS:
        _text(name, getattr(document, name))
    if not isinstance(document.metadata, Mapping):
        raise BadInput(
            f"metadata is {shown(document.metadata)}, not an object of names and values."
        )
    for key, value in document.metadata.items():
        _text("a key of metadata", key)
        _scalar(key, value)


def _id(given: Mapping[str, Any]) -> str:
    if "id" not in given:
        raise BadInput('the id is missing: give each document its own "id".')
    identity = given["id"]
    if isinstance(identity, int | float):
        raise BadInput(f'the id is a number: write it as text, "{shown(identity)}".')
    if not isinstance(identity, str):
        raise BadInput(f"the id is {shown(identity)}, not text.")
    return identity


def _text(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise BadInput(f"{name} is {shown(value)}, not text.")
    if "\0" in value:
        raise BadInput(f"{name} holds a NUL character: it is no text.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise BadInput(f"{name} holds half a character (a lone surrogate).") from error


def _scalar(key: str, value: Scalar) -> None:
    if isinstance(value, str):
        _text(f"metadata {shown(key)}", value)
    elif value is not None and not isinstance(value, int | float):
        raise BadInput(f"metadata {shown(key)} is {shown(value)}, not a text, number or truth.")
    elif isinstance(value, float) and not math.isfinite(value):
        raise BadInput(f"metadata {shown(key)} is {value}: not a number that can be compared.")
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise BadInput(f"metadata {shown(key)} is beyond 64 bits: write it as text.")


def _images(given: Mapping[str, Any]) -> tuple[ImageSource, ...]:
    if "image" in given and "images" in given:
        raise BadInput("both image and images are given: keep one of them.")
    listed = given.get("images", [given["image"]] if "image" in given else [])
    if not isinstance(listed, list | tuple):
        raise BadInput(f"images is {shown(listed)}, not a list of names.")
    return tuple(source for source in listed if source not in ("", None))


def _file_name(name: object) -> str:
    if not isinstance(name, str):
        raise BadInput(f"an image is {shown(name)}, not the name of a file.")
    _text("the name of an image", name)
    if "://" in name or name.startswith("data:"):
        raise BadInput(f"image {shown(name)} is an address: only files are read.")
    return name
