"""What a retriever is: the protocol of an encoder, and the registry of retriever families.

Knows names, shapes and which family reads a checkpoint. Does not know towers, devices or batching:
importing this imports no torch, and a family's modules are imported when they are first needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from rag_vqa.retriever.image_workers import ImageOpener
from rag_vqa.types import Passage, Query

Tokens = NDArray[np.float32]
ENCODER_OPTIONS = ("dtype", "parity", "tokenizer", "image_processor")


class TokenEncoder(Protocol):
    """Turns passages and queries into K unit vectors of width D each.

    Attributes:
        source: the path or hub id that the model was loaded from, as given.
        revision: commit or tag of the hub; None or "" where there is none.
        options: what was said on loading beyond the defaults and shapes the document side, to be
            said again: of OPTIONS.
        fingerprint: hash of everything on the document side that shapes a token.
        window: how many tokens its text tower reads, start and end marks included.
    """

    @property
    def source(self) -> str: ...
    @property
    def revision(self) -> str | None: ...
    @property
    def options(self) -> Mapping[str, str | bool]: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def K(self) -> int: ...
    @property
    def D(self) -> int: ...
    @property
    def window(self) -> int: ...

    def count_tokens(self, text: str) -> int:
        """Tokens of `text` as the tower would read them, start and end marks included."""

    def encode_queries(self, queries: Sequence[Query]) -> Tokens:
        """Queries to (Q, K, D) float32, unit rows."""

    def encode_passages(self, passages: Sequence[Passage]) -> Tokens:
        """Passages to (N, K, D) float32, unit rows."""


@runtime_checkable
class HasImageOpener(Protocol):
    """An encoder that says how pictures are opened for it: they are read once, ahead of it, and
    its passages come with them. One that does not gets passages with paths, and opens them."""

    def opener(self) -> ImageOpener:
        """What opens them, once for each run of adding, which closes it."""
