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
    """The outcome for each added document; each is counted once.

    Attributes:
        rejected: rejected documents, with reasons.
        missing_images: (document id, name of a picture whose file is missing); the document was
            added without it.
        held: how many of `unchanged` would have lost a picture whose file is missing (in a sync).
        encoded: passages that were encoded.
        tokens, cut: for documents that were not split: tokens of their texts, and how many of
            them are beyond the encoder's window.
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
    """The bytes of a picture file, and its name for error messages."""

    data: bytes
    name: str


def read_picture_source(source: ImageSource, root: Path | None) -> PictureFile:
    """A picture as it is stored: the bytes of its file; a decoded picture becomes a PNG.

    Raises:
        Missing: the file does not exist.
        BadInput: `source` is no picture source, or reading it is not allowed.
    """
    if isinstance(source, Image):
        return PictureFile(images.encode(images.load(source)), "<image>")
    if not isinstance(source, str | Path | bytes):
        raise BadInput(f"an image is {quote_value(source)}: give a path, bytes or a PIL image.")
    name = "" if isinstance(source, bytes) else str(source)
    return PictureFile(images.read_bytes(source, root), name)


def document_id(item: object) -> str | None:
    """The id of a document or mapping; None if it has none."""
    found = item.get("id") if isinstance(item, Mapping) else getattr(item, "id", None)
    return found if isinstance(found, str) else None


@dataclass(slots=True)
class PendingDocument:
    """A document that waits for its commit. Its pictures have the paths they will be stored at.

    Attributes:
        passages: None if the stored ones stay.
        replaces: whether a document of its id is stored already.
        length, cut: see `EncodedDocument`.
        line: its line in the source file.
        rejected: True once one of its pictures turns out to be unreadable.
    """

    document: Document
    content: Content
    passages: list[Passage] | None
    replaces: bool
    length: int = 0
    cut: int = 0
    line: int | None = None
    rejected: bool = False


@dataclass(frozen=True, slots=True)
class PendingPicture:
    """A picture file, and a function that waits for the open picture.

    The function returns None if the encoder opens pictures itself.
    """

    data: bytes
    wait: Callable[[], Image | None]


@dataclass(slots=True)
class IngestBatch:
    """Documents that will be one commit.

    Attributes:
        pictures: by the path they will be stored at, so equal ones are opened once.
        size: passages, plus documents without passages.
        taken: how many documents of this run come up to and including its last one.
    """

    documents: list[PendingDocument] = field(default_factory=list)
    pictures: dict[Path, PendingPicture] = field(default_factory=dict)
    size: int = 0
    taken: int = 0

    @property
    def bytes(self) -> int:
        """Total size of its picture files."""
        return sum(len(picture.data) for picture in self.pictures.values())

    def open_passage(self, passage: Passage) -> Passage:
        """The passage with its picture opened, unless the encoder opens pictures itself."""
        picture = self.pictures.get(Path(str(passage.image)))
        image = None if picture is None else picture.wait()
        return passage if image is None else replace(passage, image=image)


def attach_tokens(
    documents: Sequence[PendingDocument], tokens: NDArray[np.float16]
) -> Iterator[EncodedDocument]:
    """Documents for the store; `tokens` (N, K, D) belong to their passages, in order."""
    start = 0
    for new in documents:
        end = start + len(new.passages or ())
        part = None if new.passages is None else tokens[start:end]
        yield EncodedDocument(
            new.document, new.content, new.passages, part, None, new.length, new.cut
        )
        start = end
