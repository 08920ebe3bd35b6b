"""A document as it is stored: its fields as text, and hashes that tell what changed.

It knows fields and hashing. It does not know tables. `shape` covers what passages are made of:
where only the rest changes (metadata, parent, url, what readers see), nothing is encoded again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rag_vqa.errors import BadInput, UsageError
from rag_vqa.formats.document import from_mapping
from rag_vqa.retriever.codes import Codes
from rag_vqa.types import Document, ImageSource, Passage

if TYPE_CHECKING:
    from rag_vqa.retriever.store.store import Store

_TEXTS = ("id", "text", "retrieval_text", "title", "section", "parent", "url")


@dataclass(frozen=True, slots=True)
class Content:
    """All that a document whose pictures are kept says: `body`, its hash, and that of its shape."""

    body: str
    hash: bytes
    shape: bytes


@dataclass(frozen=True, slots=True)
class Encoded:
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


def shown(store: Store, identity: str) -> Shown | None:
    """The document of that id with its passages, None if there is none."""
    with store.db.snapshot():
        found = store.document(identity)
        if found is None:
            return None
        row, document = found
        return Shown(document, tuple(passage for _, passage in store.passages_of(row)))


def content_of(document: Document) -> Content:
    """Of a document whose pictures are kept."""
    images = [name_of(image) for image in document.images]
    record: dict[str, Any] = {name: getattr(document, name) for name in _TEXTS}
    record |= {"images": images, "metadata": dict(document.metadata)}
    seen = document.retrieval_text.strip() or document.text.strip()  # as passages.py
    body, shape = _text(record), _text([document.title, document.section, seen, images])
    return Content(body, _hash(body), _hash(shape))


def document_of(body: str, image: Callable[[object], Path]) -> Document:
    """The document of a body; `image` turns a picture's name into its path.

    Raises:
        BadInput, ValueError, TypeError, RecursionError: it is no body.
    """
    document = from_mapping(json.loads(body))
    return replace(document, images=tuple(image(name) for name in document.images))


def name_of(image: ImageSource | None) -> str | None:
    """A kept picture's name, which is its hash."""
    if image is not None and not isinstance(image, Path):
        raise UsageError("Only pictures that `keep_image` returned can be stored.")
    return None if image is None else image.name


UNREADABLE = (ValueError, TypeError, RecursionError, BadInput)  # of `document_of`


def _text(record: object) -> str:
    return json.dumps(record, sort_keys=True, ensure_ascii=False, allow_nan=False)


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
