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
from rag_vqa.retriever.index import Codes
from rag_vqa.retriever.store.segments import damaged_file
from rag_vqa.storage import atomic
from rag_vqa.types import Document, ImageSource, Passage

_TEXT_FIELDS = ("id", "text", "retrieval_text", "title", "section", "parent", "url")
PARSE_ERRORS = (ValueError, TypeError, RecursionError, BadInput)  # of `decode_document`
IMAGES_FOLDER = "images"
_HASH_NAME = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Content:
    """A document as JSON text (`body`), the hash of that text, and the hash of its shape."""

    body: str
    hash: bytes
    shape: bytes


@dataclass(frozen=True, slots=True)
class EncodedDocument:
    """A document whose pictures are stored, with its n passages.

    Attributes:
        passages: None if the stored ones stay, because the shape did not change.
        tokens: (n, K, D); None if only codes are kept.
        codes: (n,); None: they are computed from `tokens`.
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
class DocumentPassages:
    """A document with the passages by which a search finds it."""

    document: Document
    passages: tuple[Passage, ...]


def make_content(document: Document) -> Content:
    """The content of a document whose pictures are stored."""
    images = [picture_name(image) for image in document.images]
    record: dict[str, Any] = {name: getattr(document, name) for name in _TEXT_FIELDS}
    record |= {"images": images, "metadata": dict(document.metadata)}
    seen = document.retrieval_text.strip() or document.text.strip()  # as passages.py
    body, shape = _dump_json(record), _dump_json([document.title, document.section, seen, images])
    return Content(body, _hash_text(body), _hash_text(shape))


def decode_document(body: str, image: Callable[[object], Path]) -> Document:
    """The document in a body; `image` turns a picture's name into its path.

    Raises:
        BadInput, ValueError, TypeError, RecursionError: it is not the body of a document.
    """
    document = parse_document(json.loads(body))
    return replace(
        document,
        images=tuple(image(name) for name in document.images),
        metadata={
            name: tuple(value) if isinstance(value, list) else value
            for name, value in document.metadata.items()
        },
    )


def picture_name(image: ImageSource | None) -> str | None:
    """The name of a stored picture, which is its hash."""
    if image is not None and not isinstance(image, Path):
        raise UsageError("Only pictures that `Pictures.keep` returned can be stored.")
    return None if image is None else image.name


def _dump_json(record: object) -> str:
    return json.dumps(record, sort_keys=True, ensure_ascii=False, allow_nan=False)


def _hash_text(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


class Pictures:
    """The picture files of one knowledge base."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / IMAGES_FOLDER

    def path_of(self, data: bytes) -> Path:
        """Where a picture with these bytes is stored, or would be."""
        return self.folder / content_hash(data)

    def path_of_name(self, name: object) -> Path | None:
        """The path of a stored picture; None if `name` is no hash, as it could lead anywhere."""
        good = isinstance(name, str) and _HASH_NAME.fullmatch(name)
        return self.folder / str(name) if good else None

    def keep(self, data: bytes) -> Path:
        """Store a picture completely or not at all; it is durable after `sync`."""
        path = self.path_of(data)
        if not _holds_bytes(path, data):  # repairs a damaged one
            atomic.write_file(path, data, sync_name=False)
        return path

    def keep_copy(self, source: Path) -> Path:
        """Store a picture of another knowledge base.

        Raises:
            CorruptKnowledgeBase: its bytes do not have the hash in its name.
        """
        data, wrong = read_picture(source)
        if wrong:
            raise damaged_file(source, 0, wrong)
        return self.keep(data)

    def sync(self) -> None:
        """Sync the names of new pictures to the disk."""
        atomic.sync_folder(self.folder)

    def files(self) -> Iterator[Path]:
        """All pictures, whether a document names them or not."""
        if self.folder.is_dir():
            yield from (path for path in self.folder.iterdir() if _HASH_NAME.fullmatch(path.name))

    def partial_files(self) -> Iterator[Path]:
        """Incomplete files that killed writers left."""
        yield from (
            path for path in self.folder.iterdir() if path.name.endswith(atomic.PARTIAL_SUFFIX)
        )


def read_picture(path: Path) -> tuple[bytes, str]:
    """The bytes of a stored picture, and what is wrong with them; "" if nothing is.

    Does not read a link out of its folder, a pipe, a device or a huge file.
    """
    try:
        data = _read_bytes(path)
    except (BadImage, Missing) as error:
        return b"", f"it cannot be read ({error})"
    sound = content_hash(data) == path.name
    return data, "" if sound else "its bytes do not have the hash in its name"


def _holds_bytes(path: Path, data: bytes) -> bool:
    try:  # the size finds most that is missing or cut
        return path.lstat().st_size == len(data) and _read_bytes(path) == data
    except (FileNotFoundError, BadImage, Missing):
        return False


def _read_bytes(path: Path) -> bytes:
    return read_bytes(path.name, root=path.parent)
