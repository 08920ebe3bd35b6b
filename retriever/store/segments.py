"""Rows of tokens and codes in files that only grow: written at their end, read by mapping.

It knows the layout of a file, headers and bounds. It does not know keys, documents or commits: a
row counts once the database says so, and what lies beyond is what a killed commit left.

    segments/000007.tokens    64 bytes of header, then (K, D) fp16 a row
    segments/000007.codes     64 bytes of header, then a row of `codes.row_type(K, D)` each

A committed byte is never changed and no file is ever cut, so that a mapping stays good.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag_vqa.errors import CorruptKnowledgeBase
from rag_vqa.retriever.codes import Codes, row_type
from rag_vqa.retriever.store import files
from rag_vqa.retriever.store.blocks import Block
from rag_vqa.retriever.store.tables import hash_of

FOLDER = "segments"
CLOSED = 2**15  # rows: a segment of so many takes no more
HEADER = 64  # bytes; rows of 32 × 128 tokens then begin at multiples of a cache line
_MAGIC = b"RVKBSEG\1"
_FIELDS = struct.Struct("<8s8sIIII")  # magic, kind, number, K, D, bytes a row

Tokens = NDArray[np.float16]


class SegmentGone(CorruptKnowledgeBase):
    """A segment's file is not there: compacted away since the snapshot was begun, or lost."""


class Segments:
    """The files of one knowledge base; without `keep_tokens` those of the codes alone."""

    def __init__(self, folder: Path, K: int, D: int, keep_tokens: bool) -> None:
        self.folder = folder / FOLDER
        self._shape = (K, D)
        self._types: dict[str, np.dtype[Any]] = {"codes": row_type(K, D)}
        if keep_tokens:
            self._types["tokens"] = np.dtype(("<f2", (K, D)))

    def path(self, number: int, kind: str) -> Path:
        """Of the file of one kind: "tokens" or "codes"."""
        return self.folder / f"{number:06}.{kind}"

    def paths(self, number: int) -> dict[str, Path]:
        """Of all files of a segment, by kind."""
        return {kind: self.path(number, kind) for kind in self._types}

    def offset(self, kind: str, row: int) -> int:
        """Where a row begins in its file."""
        return HEADER + row * self._types[kind].itemsize

    def begin(self, number: int) -> None:
        """Write the headers of a segment that has no committed rows."""
        for kind in self._types:
            files.write_at(self.path(number, kind), 0, self._header(number, kind))
        files.sync_folder(self.folder)

    def append(
        self, number: int, first: int, tokens: Tokens | None, codes: Codes
    ) -> tuple[bytes | None, bytes]:
        """Write rows at the committed end, safe on return; the hashes of both kinds."""
        hashes: dict[str, bytes] = {}
        for kind, rows in (("tokens", tokens), ("codes", codes)):
            if kind in self._types and rows is not None:
                data = _bytes(rows)
                files.write_at(self.path(number, kind), self.offset(kind, first), data)
                hashes[kind] = hash_of(data)
        return hashes.get("tokens"), hashes["codes"]

    def read(self, number: int, first: int, rows: int) -> tuple[Tokens | None, Codes]:
        """Committed rows, mapped, read-only: tokens (rows, K, D), if they are kept, and codes.

        Raises:
            SegmentGone: there is no such file any more.
            CorruptKnowledgeBase: the file is too short.
        """
        codes = self._map(number, "codes", first, rows)
        tokens = self._map(number, "tokens", first, rows) if "tokens" in self._types else None
        return tokens, codes

    def hashes(self, number: int, first: int, rows: int) -> tuple[bytes | None, bytes]:
        """What `append` returned, from what is there now."""
        tokens, codes = self.read(number, first, rows)
        return None if tokens is None else hash_of(_bytes(tokens)), hash_of(_bytes(codes))

    def check_block(self, block: Block) -> None:
        """Raise CorruptKnowledgeBase unless a block's bytes are still those that were written:
        what is copied must not get a new checksum."""
        found = self.hashes(block.segment, block.first, len(block))
        due = (block.tokens, block.codes)
        for kind, is_, was in zip(("tokens", "codes"), found, due, strict=True):
            if is_ != was:
                path, offset = self.path(block.segment, kind), self.offset(kind, block.first)
                raise corrupt(path, offset, "the rows from here do not have their checksum")

    def check(self, number: int, rows: int) -> None:
        """Raise unless the files are there with sound headers and at least so many rows."""
        for kind in self._types:
            path, size = self.path(number, kind), self._size(number, kind)
            if size < (due := self.offset(kind, rows)):
                raise corrupt(path, size, f"it ends there, {due} bytes were committed")
            with path.open("rb") as file:
                found = file.read(HEADER)
            if found != (good := self._header(number, kind)):
                at = next(i for i, (a, b) in enumerate(zip(found, good, strict=True)) if a != b)
                raise corrupt(path, at, "its header is not that of this segment")

    def there(self) -> Iterator[Path]:
        """All files that are segments by name."""
        for path in sorted(self.folder.iterdir()):
            if path.stem.isdecimal() and path.suffix in (".tokens", ".codes"):
                yield path

    def _header(self, number: int, kind: str) -> bytes:
        if not 0 <= number < 2**32:  # only who forges it gets there
            raise corrupt(self.path(number, kind), 0, "no segment has such a number")
        fields = (_MAGIC, kind.encode(), number, *self._shape, self._types[kind].itemsize)
        head = _FIELDS.pack(*fields).ljust(HEADER - 16, b"\0")
        return head + hash_of(head)

    def _size(self, number: int, kind: str) -> int:
        path = self.path(number, kind)
        try:
            return path.stat().st_size
        except FileNotFoundError as error:
            raise SegmentGone(f"{path} is damaged at byte 0: it is not there. {_MEND}") from error

    def _map(self, number: int, kind: str, first: int, rows: int) -> NDArray[Any]:
        path, size = self.path(number, kind), self._size(number, kind)
        if size < (due := self.offset(kind, first + rows)):  # touching what is not there is fatal
            raise corrupt(path, size, f"it ends there, {due} bytes were committed")
        try:
            offset = self.offset(kind, first)
            mapped = np.memmap(path, np.uint8, "r", offset, (due - offset,))
        except FileNotFoundError as error:
            raise SegmentGone(f"{path} is damaged at byte 0: it is not there. {_MEND}") from error
        kind_type = self._types[kind]
        plain = mapped.view(np.ndarray)
        shape = (rows, *kind_type.shape)
        return plain.view(kind_type.base).reshape(shape)


def corrupt(path: Path, offset: int, what: str) -> CorruptKnowledgeBase:
    """The error that names file and offset, for the caller to raise."""
    return CorruptKnowledgeBase(f"{path} is damaged at byte {offset}: {what}. {_MEND}")


_MEND = "Restore it from a copy, or build the knowledge base again: rag-vqa kb build"


def _bytes(rows: NDArray[Any]) -> memoryview:
    return np.ascontiguousarray(rows).reshape(-1).view(np.uint8).data
