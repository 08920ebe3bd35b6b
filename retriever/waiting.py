"""Documents on their way into a knowledge base, and the pictures that they wait for.

It knows what is written together. It does not know encoders, processes or the store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from rag_vqa.retriever.store import Content, Encoded
from rag_vqa.types import Document, Passage


@dataclass(slots=True)
class Waiting:
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
class Picture:
    """The file, and what waits until it is open: None where the encoder opens it by itself."""

    data: bytes
    opened: Callable[[], Image | None]


@dataclass(slots=True)
class Batch:
    """What will be one commit.

    Attributes:
        pictures: by where they will lie: of equal ones one is opened.
        size: passages, and documents without.
        taken: documents given in this run up to its last one.
    """

    documents: list[Waiting] = field(default_factory=list)
    pictures: dict[Path, Picture] = field(default_factory=dict)
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


def encoded(documents: Sequence[Waiting], tokens: NDArray[np.float16]) -> Iterator[Encoded]:
    """Documents as the store takes them, with `tokens` (N, K, D) of their passages in turn."""
    start = 0
    for new in documents:
        end = start + len(new.passages or ())
        part = None if new.passages is None else tokens[start:end]
        yield Encoded(new.document, new.content, new.passages, part, None, new.length, new.cut)
        start = end
