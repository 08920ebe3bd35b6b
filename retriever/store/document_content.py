"""A document as it is stored: its fields as JSON text, hashes that tell what changed, its pictures.

Knows fields, hashing, and picture files, each named by the hash of its bytes so that none is
stored twice. Does not know tables (schema.py), and opens no picture (images.py). `shape` covers
what passages are made of: if only other fields change (metadata, parent, url, the text that
readers see), nothing is encoded again.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag_vqa.errors import BadImage, BadInput, Missing, UsageError
from rag_vqa.formats.document import parse_document
from rag_vqa.images import content_hash, read_bytes
from rag_vqa.retriever.index.int8_quantization import Codes
from rag_vqa.retriever.store.segments import damaged_file
from rag_vqa.storage import atomic
from rag_vqa.types import Document, ImageSource, Passage

_TEXT_FIELDS = ("id", "text", "retrieval_text", "title", "section", "parent", "url")
PARSE_ERRORS = (ValueError, TypeError, RecursionError, BadInput)  # of `decode_document`
IMAGES_FOLDER = "images"
_HASH_NAME = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Content:
    """All that a document whose pictures are kept says: `body`, its hash, and that of its shape."""

    body: str
    hash: bytes
    shape: bytes


@dataclass(frozen=True, slots=True)
class EncodedDocument:
    """A document whose pictures are kept, and its n passages.

    Attributes:
        passages: None where the stored ones stay, because the shape did not change.
        tokens: (n, K, D); None where only codes are kept.
        codes: (n,), made of `tokens` where they are not given.
        length, cut: tokens of its text, and how many of them no passage holds (splitting "none").
    """

    document: Document
    content: Content
    passages: Sequence[Passage] | None
    tokens: NDArray[np.float16] | None = None
    codes: Codes | None = None
    length: int = 0
    cut: int = 0


@dataclass(frozen=True, slots=True)
class Shown:
    """A document with the passages that it is found by."""

    document: Document
    passages: tuple[Passage, ...]


def make_content(document: Document) -> Content:
    """Of a document whose pictures are kept."""
    images = [picture_name(image) for image in document.images]
    record: dict[str, Any] = {name: getattr(document, name) for name in _TEXT_FIELDS}
    record |= {"images": images, "metadata": dict(document.metadata)}
    seen = document.retrieval_text.strip() or document.text.strip()  # as passages.py
    body, shape = _dump_json(record), _dump_json([document.title, document.section, seen, images])
    return Content(body, _hash_text(body), _hash_text(shape))


def decode_document(body: str, image: Callable[[object], Path]) -> Document:
    """The document of a body; `image` turns a picture's name into its path.

    Raises:
        BadInput, ValueError, TypeError, RecursionError: it is no body.
    """
    document = parse_document(json.loads(body))
    return replace(document, images=tuple(image(name) for name in document.images))


def picture_name(image: ImageSource | None) -> str | None:
    """A kept picture's name, which is its hash."""
    if image is not None and not isinstance(image, Path):
        raise UsageError("Only pictures that `keep_image` returned can be stored.")
    return None if image is None else image.name


def _dump_json(record: object) -> str:
    return json.dumps(record, sort_keys=True, ensure_ascii=False, allow_nan=False)


def _hash_text(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


class Pictures:
    """The pictures under one knowledge base."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / IMAGES_FOLDER

    def path_of(self, data: bytes) -> Path:
        """Where a picture of these bytes lies, or would."""
        return self.folder / content_hash(data)

    def named(self, name: object) -> Path | None:
        """The path of that name; None if it is none: else it could be any path."""
        good = isinstance(name, str) and _HASH_NAME.fullmatch(name)
        return self.folder / str(name) if good else None

    def keep(self, data: bytes) -> Path:
        """Store a picture, whole or not at all; safe once `sync` was called."""
        path = self.path_of(data)
        if not _holds_bytes(path, data):  # what is damaged there is mended
            atomic.write_file(path, data)
        return path

    def keep_copy(self, source: Path) -> Path:
        """Store a picture of another knowledge base.

        Raises:
            CorruptKnowledgeBase: it is not the picture that it is named after.
        """
        data, wrong = read_picture(source)
        if wrong:
            raise damaged_file(source, 0, wrong)
        return self.keep(data)

    def sync(self) -> None:
        """Bring the names of new pictures to the disk."""
        atomic.sync_folder(self.folder)

    def there(self) -> Iterator[Path]:
        """All pictures, whoever names them."""
        if self.folder.is_dir():
            yield from (path for path in self.folder.iterdir() if _HASH_NAME.fullmatch(path.name))

    def left(self) -> Iterator[Path]:
        """What killed writers left half written."""
        yield from (
            path for path in self.folder.iterdir() if path.name.endswith(atomic.PARTIAL_SUFFIX)
        )


def read_picture(path: Path) -> tuple[bytes, str]:
    """The bytes of a kept picture, and what is wrong with them; "" if nothing is.

    A link out of its folder, a pipe, a device or a huge file is not read.
    """
    try:
        data = _read_bytes(path)
    except (BadImage, Missing) as error:
        return b"", f"it cannot be read ({error})"
    sound = content_hash(data) == path.name
    return data, "" if sound else "its bytes are not those that it is named after"


def _holds_bytes(path: Path, data: bytes) -> bool:
    try:  # most that is missing or cut is found by its size
        return path.lstat().st_size == len(data) and _read_bytes(path) == data
    except (FileNotFoundError, BadImage, Missing):
        return False


def _read_bytes(path: Path) -> bytes:
    return read_bytes(path.name, root=path.parent)
