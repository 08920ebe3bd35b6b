"""An ingest batch: documents that are committed together, their pictures, and the final report.

Knows what a caller may pass as a document or a picture, and what is written together. Does not
know encoders, processes or the store's files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from rag_vqa import images
from rag_vqa.errors import BadInput
from rag_vqa.formats.document import Rejected
from rag_vqa.formatting import quote_value
from rag_vqa.retriever.store.document_content import Content, EncodedDocument
from rag_vqa.types import Document, ImageSource, Passage


@dataclass(slots=True)
class AddReport:
    """What became of the documents given: each is counted once.

    Attributes:
        rejected: refused, with reasons.
        missing_images: (document id, name of a picture whose file is not there); the document
            itself was dealt with as if it had not named it.
        held: of `unchanged`, those that would have lost a picture whose file is missing; in a sync.
        encoded: passages that went through the encoder.
        tokens, cut: of the documents that were not split: tokens of their texts, and how many of
            them lie beyond the encoder's window.
    """

    added: int = 0
    unchanged: int = 0
    replaced: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    missing_images: list[tuple[str, str]] = field(default_factory=list)
    held: int = 0
    encoded: int = 0
    tokens: int = 0
    cut: int = 0


class PictureFile(NamedTuple):
    """A picture's file, and what errors call it."""

    data: bytes
    name: str


def read_picture_source(source: ImageSource, root: Path | None) -> PictureFile:
    """A picture as it is stored: the bytes of its file, PNG of one that was decoded.

    Raises:
        Missing: there is no such file.
        BadInput: it is no source of a picture, or may not be read.
    """
    if isinstance(source, Image):
        return PictureFile(images.encode(images.load(source)), "<image>")
    if not isinstance(source, str | Path | bytes):
        raise BadInput(f"an image is {quote_value(source)}: give a path, bytes or a PIL image.")
    name = "" if isinstance(source, bytes) else str(source)
    return PictureFile(images.read_bytes(source, root), name)


def document_id(item: object) -> str | None:
    """The id of a document or record; None if it has none."""
    found = item.get("id") if isinstance(item, Mapping) else getattr(item, "id", None)
    return found if isinstance(found, str) else None


@dataclass(slots=True)
class PendingDocument:
    """A document, its pictures named by where they will lie.

    Attributes:
        passages: None where those that are stored stay.
        known: whether it replaces a stored one.
        length, cut: see `Encoded`.
        line: of the file that it came from.
        refused: for one of its pictures, which was found out only now.
    """

    document: Document
    content: Content
    passages: list[Passage] | None
    known: bool
    length: int = 0
    cut: int = 0
    line: int | None = None
    refused: bool = False


@dataclass(frozen=True, slots=True)
class PendingPicture:
    """The file, and what waits until it is open: None where the encoder opens it by itself."""

    data: bytes
    opened: Callable[[], Image | None]


@dataclass(slots=True)
class IngestBatch:
    """What will be one commit.

    Attributes:
        pictures: by where they will lie: of equal ones one is opened.
        size: passages, and documents without.
        taken: documents given in this run up to its last one.
    """

    documents: list[PendingDocument] = field(default_factory=list)
    pictures: dict[Path, PendingPicture] = field(default_factory=dict)
    size: int = 0
    taken: int = 0

    @property
    def bytes(self) -> int:
        """Of the files of its pictures."""
        return sum(len(picture.data) for picture in self.pictures.values())

    def opened(self, passage: Passage) -> Passage:
        """The passage with its picture open, where somebody opened it."""
        picture = self.pictures.get(Path(str(passage.image)))
        image = None if picture is None else picture.opened()
        return passage if image is None else replace(passage, image=image)


def attach_tokens(
    documents: Sequence[PendingDocument], tokens: NDArray[np.float16]
) -> Iterator[EncodedDocument]:
    """Documents as the store takes them, with `tokens` (N, K, D) of their passages in turn."""
    start = 0
    for new in documents:
        end = start + len(new.passages or ())
        part = None if new.passages is None else tokens[start:end]
        yield EncodedDocument(
            new.document, new.content, new.passages, part, None, new.length, new.cut
        )
        start = end
