"""An ingest batch: documents that are committed together, their pictures, and the final report.

Knows what a caller may pass as a document or a picture, and what is written together. Does not
know encoders, processes or the store's files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from rag_vqa import images
from rag_vqa.data_address import decode_data_address, describe_data_address, is_data_address
from rag_vqa.errors import BadImage, BadInput, Missing
from rag_vqa.formats.document import (
    Record,
    Rejected,
    is_address,
    parse_document_with_losses,
)
from rag_vqa.formats.picture_files import find_picture
from rag_vqa.formats.plain_values import id_text, mapping_of_row
from rag_vqa.formatting import quote_value
from rag_vqa.retriever.index import Codes
from rag_vqa.retriever.store.document_content import Content, EncodedDocument
from rag_vqa.retriever.store.segments import Tokens
from rag_vqa.types import Document, ImageSource, Passage

_ADDRESS: Final = "no name of a file: addresses are not fetched, save the picture and name it"


class UnusableImage(NamedTuple):
    """A picture that could not be used: its document's id, its name, and the reason."""

    document: str
    image: str
    reason: str


@dataclass(slots=True)
class AddReport:
    """The outcome for each added document; each is counted once.

    Attributes:
        rejected: rejected documents, with reasons.
        missing_images: pictures that could not be used; their documents were added without them.
        images: pictures of the documents that were kept.
        left_out: metadata that could not be kept: name → number of values.
        held: how many of `unchanged` would have lost a picture whose file is missing (in a sync).
        regained: how many of `replaced` only got a picture that was missing before.
        encoded: passages that were encoded.
        tokens, cut: for documents that were not split: tokens of their texts, and how many of
            them are beyond the encoder's window.
    """

    added: int = 0
    unchanged: int = 0
    replaced: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    missing_images: list[UnusableImage] = field(default_factory=list)
    held: int = 0
    encoded: int = 0
    tokens: int = 0
    cut: int = 0
    images: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    regained: int = 0

    @property
    def without_images(self) -> int:
        """Documents that were kept without one of their pictures."""
        refused = {one.id for one in self.rejected}
        return len({one.document for one in self.missing_images} - refused)


class PictureFile(NamedTuple):
    """The bytes of a picture file, and its name for error messages.

    Attributes:
        stamp: path, stamp and root of a file that can be recognised (picture_stamps.py).
    """

    data: bytes
    name: str
    stamp: tuple[str, str, str] | None = None


def read_picture_source(source: ImageSource, root: Path | None) -> PictureFile:
    """A picture as it is stored: the bytes of its file; a decoded picture becomes a PNG.

    A name is looked for in the forms that file systems write it in; a `data:` address is decoded.

    Raises:
        Missing: the file does not exist.
        BadImage: reading it is not allowed, or it is an address that contains no picture.
        BadInput: `source` is no picture source.
    """
    if isinstance(source, str) and is_data_address(source):
        name = describe_data_address(source)
        try:
            return PictureFile(decode_data_address(source), name)
        except BadImage as error:
            raise BadImage(f"{name}: {error}") from error
    if isinstance(source, Image | np.ndarray):
        picture = source if isinstance(source, Image) else picture_of_array(source)
        return PictureFile(images.encode(images.load(picture)), "<image>")
    if not isinstance(source, str | Path | bytes):
        raise BadInput(f"an image is {quote_value(source)}: give a path, bytes or a PIL image.")
    if isinstance(source, bytes):
        return PictureFile(images.read_bytes(source, root), describe_picture(source))
    if isinstance(source, str) and (root is not None or is_address(source)):
        raise BadImage(f"{source}: {_ADDRESS}")
    name = describe_picture(source, root)
    return PictureFile(images.read_bytes(find_picture(Path(source), root), root, name), name)


def picture_of_array(array: NDArray[Any]) -> Image:
    """The picture of an array of grey values (H, W), or of colours (H, W, 1, 3 or 4).

    Raises:
        BadInput: another shape or type; floats are of 0 to 1.
    """
    from PIL.Image import fromarray

    shape, kind = array.shape, array.dtype.kind
    if not (len(shape) in (2, 3) and shape[2:] in ((), (1,), (3,), (4,)) and 0 not in shape):
        raise BadInput(f"an image is an array of shape {shape}: give (H, W) or (H, W, 3).")
    if kind == "f" and np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1:
        array = np.round(array * 255).astype(np.uint8)
    elif kind == "b":
        array = array.astype(np.uint8) * 255
    elif not (kind in "iu" and array.min() >= 0 and array.max() <= 255):
        raise BadInput("an image is an array of other values than 0 to 255, or 0 to 1 as floats.")
    pixels = np.ascontiguousarray(array.astype(np.uint8))
    return fromarray(pixels[:, :, 0] if shape[2:] == (1,) else pixels)


def describe_picture(source: object, root: Path | None = None) -> str:
    """What a picture is called in a list for people: its path below `root`, as the source names it,
    or what its address begins with.
    """
    if isinstance(source, str) and is_data_address(source):
        return describe_data_address(source)
    if isinstance(source, Path) and root is not None and source.is_relative_to(root):
        return str(source.relative_to(root))
    if isinstance(source, str | Path):
        return str(source)
    return f"<{len(source)} bytes>" if isinstance(source, bytes) else "<image>"


def parse_item(item: Document | Mapping[str, Any]) -> tuple[Document, Collection[str]]:
    """A checked document of what a source or a caller gives, and names of metadata left out.

    Raises:
        BadInput: it is no document, or not a good one.
    """
    if isinstance(item, Record):
        return item, item.left_out.keys()
    row = mapping_of_row(item)
    if not isinstance(row, Mapping | Document):
        raise BadInput(f"{quote_value(row)} is neither a Document nor a mapping of its fields.")
    document, left_out = parse_document_with_losses(row)
    return document, left_out.keys()


def document_id(item: object) -> str | None:
    """The id of a document or mapping; None if it has none."""
    found = item.get("id") if isinstance(item, Mapping) else getattr(item, "id", None)
    try:
        return id_text(found)
    except BadInput:
        return None


class UnreadablePicture(NamedTuple):
    """A picture that could not be read or opened: its name, and the error."""

    name: str
    error: BadInput | Missing


# Tokens (n, K, D), if they are kept, and codes (n,) of n passages.
CopiedRows: TypeAlias = tuple[Tokens | None, Codes]


@dataclass(slots=True)
class PendingDocument:
    """A document that waits for its commit. Its pictures have the paths they will be stored at.

    Attributes:
        passages: None if the stored ones stay.
        replaces: whether a document of its id is stored already.
        length, cut: see `EncodedDocument`.
        copied: tokens and codes of its passages, if they are those of another document.
        regains: whether all that it gains is a picture that was missing before.
        line: its line in the source file.
        dropped: True once it turns out that nothing of it is to be written.
    """

    document: Document
    content: Content
    passages: list[Passage] | None
    replaces: bool
    length: int = 0
    cut: int = 0
    copied: CopiedRows | None = None
    regains: bool = False
    line: int | None = None
    dropped: bool = False

    @property
    def to_encode(self) -> list[Passage]:
        """Its passages whose tokens have to be computed."""
        return (self.passages or []) if self.copied is None else []

    def take(self, remade: PendingDocument) -> None:
        """Become a document of the same id and line that was prepared with fewer pictures."""
        self.document, self.content = remade.document, remade.content
        self.passages, self.replaces = remade.passages, remade.replaces
        self.length, self.cut, self.copied = remade.length, remade.cut, remade.copied


@dataclass(frozen=True, slots=True)
class PendingPicture:
    """A picture file, and a function that waits for the open picture.

    The function returns None if the encoder opens pictures itself.
    """

    file: PictureFile
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
        return sum(len(picture.file.data) for picture in self.pictures.values())

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
        end = start + len(new.to_encode)
        part, codes = None if new.passages is None else tokens[start:end], None
        if new.copied is not None:
            part, codes = new.copied
        yield EncodedDocument(
            new.document, new.content, new.passages, part, codes, new.length, new.cut
        )
        start = end
