"""Segments: files of tokens and codes that only grow, and the blocks that say which rows are whose.

Knows the layout of a segment file, headers, bounds, and how blocks are recorded and read back.
Does not know documents (document_store.py). A row counts once the database says so; bytes beyond
the last committed row were left by a killed commit.

    segments/000007.tokens    64 bytes of header, then (K, D) fp16 a row
    segments/000007.codes     64 bytes of header, then a row of `code_dtype(K, D)` each

A committed byte is never changed and no file is ever truncated, so a mapping stays valid.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag_vqa.errors import CorruptKnowledgeBase
from rag_vqa.retriever.index import Codes
from rag_vqa.retriever.index.rows import code_dtype
from rag_vqa.retriever.store.database import Database
from rag_vqa.retriever.store.schema import COLUMNS, Commit, checksum_error, hash_bytes
from rag_vqa.storage import atomic

Keys = NDArray[np.int64]
SEGMENTS_FOLDER = "segments"
SEGMENT_ROWS = 2**15  # a segment with this many rows takes no more
HEADER_BYTES = 64  # rows of 32 × 128 tokens then begin at multiples of a cache line
_MAGIC = b"RVKBSEG\1"
_FIELDS = struct.Struct("<8s8sIIII")  # magic, kind, number, K, D, bytes a row
Tokens = NDArray[np.float16]
_REPAIR_HINT = "Restore it from a copy, or build the knowledge base again: rag-vqa kb build"


@dataclass(frozen=True, slots=True)
class Block:
    """Rows of a segment that one commit wrote, from row `first` on.

    Attributes:
        keys, documents: (n,) the key of each row, and the database row of its document.
        tokens, codes: hashes of the rows' bytes; None where tokens are not kept.
    """

    number: int
    segment: int
    first: int
    keys: Keys
    documents: Keys
    tokens: bytes | None
    codes: bytes

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True, slots=True)
class BlockRun:
    """Blocks that follow each other in one segment: one mapping for all of them."""

    segment: int
    first: int
    keys: Keys
    documents: Keys


def record_block(commit: Commit, block: Block) -> None:
    """Record a block at the end of its segment, and where the segment now ends."""
    keys, documents = (a.astype("<i8").tobytes() for a in (block.keys, block.documents))
    commit.insert(
        "blocks", block.number, block.segment, block.first, len(block), keys, documents,
        block.tokens, block.codes,
    )  # fmt: skip
    commit.remove("segments", "number", block.segment)
    commit.insert("segments", block.segment, block.first + len(block))


def read_blocks(db: Database, after: int = 0) -> Iterator[Block]:
    """All blocks with numbers greater than `after`, in the order in which they were written.

    Raises:
        CorruptKnowledgeBase: a block is not as it was written.
    """
    query = (
        f"SELECT {', '.join(COLUMNS['blocks'])}, checksum FROM blocks "
        "WHERE number > ? ORDER BY number"
    )
    last = -1
    for *values, check in db.stream(query, [after]):
        number, segment, first, rows, keys, documents, tokens, codes = values
        if what := checksum_error("blocks", values, check):
            raise db.corruption_error(f"row {number!r} of blocks {what}")
        if not len(keys) == len(documents) == 8 * rows > 0:
            raise db.corruption_error(f"block {number} is not of {rows} rows")
        own, whose = (np.frombuffer(part, "<i8").astype(np.int64) for part in (keys, documents))
        if (own <= np.concatenate([[last], own[:-1]])).any():  # a search relies on it
            raise db.corruption_error(f"the keys of block {number} do not ascend")
        last = int(own[-1])
        yield Block(number, segment, first, own, whose, tokens, codes)


def join_blocks(blocks: Iterable[Block]) -> Iterator[BlockRun]:
    """Join blocks where one begins at the end of the one before."""
    together: list[Block] = []
    for block in blocks:
        last = together[-1] if together else None
        if last and (block.segment, block.first) != (last.segment, last.first + len(last)):
            yield _join_run(together)
            together = []
        together.append(block)
    if together:
        yield _join_run(together)


def _join_run(together: Sequence[Block]) -> BlockRun:
    keys = np.concatenate([block.keys for block in together])
    documents = np.concatenate([block.documents for block in together])
    return BlockRun(together[0].segment, together[0].first, keys, documents)


class SegmentGone(CorruptKnowledgeBase):
    """A segment's file does not exist: compacted away after the snapshot began, or lost."""


class Segments:
    """The segment files of one knowledge base; without `keep_tokens` only those of codes."""

    def __init__(self, folder: Path, K: int, D: int, keep_tokens: bool) -> None:
        self.folder = folder / SEGMENTS_FOLDER
        self._shape = (K, D)
        self._types: dict[str, np.dtype[Any]] = {"codes": code_dtype(K, D)}
        if keep_tokens:
            self._types["tokens"] = np.dtype(("<f2", (K, D)))

    def path(self, number: int, kind: str) -> Path:
        """Path of the file of one kind, "tokens" or "codes"."""
        return self.folder / f"{number:06}.{kind}"

    def paths(self, number: int) -> dict[str, Path]:
        """Paths of all files of a segment, by kind."""
        return {kind: self.path(number, kind) for kind in self._types}

    def offset(self, kind: str, row: int) -> int:
        """Byte at which a row begins in its file."""
        return HEADER_BYTES + row * self._types[kind].itemsize

    def start(self, number: int) -> None:
        """Write the headers of a new segment."""
        for kind in self._types:
            atomic.write_at(self.path(number, kind), 0, self._header(number, kind))
        atomic.sync_folder(self.folder)

    def append(
        self, number: int, first: int, tokens: Tokens | None, codes: Codes
    ) -> tuple[bytes | None, bytes]:
        """Write rows at the committed end and sync them; returns the hashes of both kinds."""
        hashes: dict[str, bytes] = {}
        for kind, rows in (("tokens", tokens), ("codes", codes)):
            if kind in self._types and rows is not None:
                data = _row_bytes(rows)
                atomic.write_at(self.path(number, kind), self.offset(kind, first), data)
                hashes[kind] = hash_bytes(data)
        return hashes.get("tokens"), hashes["codes"]

    def read(self, number: int, first: int, rows: int) -> tuple[Tokens | None, Codes]:
        """Map committed rows, read-only: tokens (rows, K, D), if they are kept, and codes.

        Raises:
            SegmentGone: the file does not exist any more.
            CorruptKnowledgeBase: the file is too short.
        """
        codes = self._map(number, "codes", first, rows)
        tokens = self._map(number, "tokens", first, rows) if "tokens" in self._types else None
        return tokens, codes

    def hashes(self, number: int, first: int, rows: int) -> tuple[bytes | None, bytes]:
        """The hashes that `append` returned, computed again from the bytes on the disk."""
        tokens, codes = self.read(number, first, rows)
        return None if tokens is None else hash_bytes(_row_bytes(tokens)), hash_bytes(
            _row_bytes(codes)
        )

    def check_block(self, block: Block) -> None:
        """Raise CorruptKnowledgeBase if a block's bytes have changed since they were written.

        Called before rows are copied: a copy must not give damaged rows a new, valid checksum.
        """
        found = self.hashes(block.segment, block.first, len(block))
        due = (block.tokens, block.codes)
        for kind, is_, was in zip(("tokens", "codes"), found, due, strict=True):
            if is_ != was:
                path, offset = self.path(block.segment, kind), self.offset(kind, block.first)
                raise damaged_file(path, offset, "the rows from here do not have their checksum")

    def check(self, number: int, rows: int) -> None:
        """Raise unless the files exist, with valid headers and at least `rows` rows."""
        for kind in self._types:
            path, size = self.path(number, kind), self._size(number, kind)
            if size < (due := self.offset(kind, rows)):
                raise damaged_file(path, size, f"it ends there, {due} bytes were committed")
            with path.open("rb") as file:
                found = file.read(HEADER_BYTES)
            if found != (good := self._header(number, kind)):
                at = next(i for i, (a, b) in enumerate(zip(found, good, strict=True)) if a != b)
                raise damaged_file(path, at, "its header is not that of this segment")

    def files(self) -> Iterator[Path]:
        """All files that are named like segments."""
        for path in sorted(self.folder.iterdir()):
            if path.stem.isdecimal() and path.suffix in (".tokens", ".codes"):
                yield path

    def _header(self, number: int, kind: str) -> bytes:
        if not 0 <= number < 2**32:  # only a forged database gets here
            raise damaged_file(self.path(number, kind), 0, "there is no segment with this number")
        fields = (_MAGIC, kind.encode(), number, *self._shape, self._types[kind].itemsize)
        head = _FIELDS.pack(*fields).ljust(HEADER_BYTES - 16, b"\0")
        return head + hash_bytes(head)

    def _size(self, number: int, kind: str) -> int:
        path = self.path(number, kind)
        try:
            return path.stat().st_size
        except FileNotFoundError as error:
            raise SegmentGone(
                f"{path} is damaged at byte 0: the file is missing. {_REPAIR_HINT}"
            ) from error

    def _map(self, number: int, kind: str, first: int, rows: int) -> NDArray[Any]:
        path, size = self.path(number, kind), self._size(number, kind)
        if size < (due := self.offset(kind, first + rows)):  # reading beyond its end would kill us
            raise damaged_file(path, size, f"it ends there, {due} bytes were committed")
        try:
            offset = self.offset(kind, first)
            mapped = np.memmap(path, np.uint8, "r", offset, (due - offset,))
        except FileNotFoundError as error:
            raise SegmentGone(
                f"{path} is damaged at byte 0: the file is missing. {_REPAIR_HINT}"
            ) from error
        kind_type = self._types[kind]
        plain = mapped.view(np.ndarray)
        shape = (rows, *kind_type.shape)
        return plain.view(kind_type.base).reshape(shape)


def damaged_file(path: Path, offset: int, what: str) -> CorruptKnowledgeBase:
    """The error that names file and offset; the caller raises it."""
    return CorruptKnowledgeBase(f"{path} is damaged at byte {offset}: {what}. {_REPAIR_HINT}")


def _row_bytes(rows: NDArray[Any]) -> memoryview:
    return np.ascontiguousarray(rows).reshape(-1).view(np.uint8).data


class RowReader:
    """Reads rows by key, in any order. Maps all rows of one snapshot, and outlives it.

    Raises:
        CorruptKnowledgeBase: rows do not have their checksum.
        SegmentGone: a compaction was faster; take a new snapshot.
    """

    def __init__(self, db: Database, segments: Segments) -> None:
        found = list(read_blocks(db))
        for block in found:
            segments.check_block(block)
        # A mapping holds a file descriptor: one for each run, as a slow build makes many blocks.
        joined = list(join_blocks(found))
        sizes = [len(run.keys) for run in joined]
        self._rows = [
            segments.read(run.segment, run.first, size)
            for run, size in zip(joined, sizes, strict=True)
        ]
        self._keys: Keys = np.concatenate([np.empty(0, np.int64), *(run.keys for run in joined)])
        self._run = np.repeat(np.arange(len(joined)), sizes)
        self._row = np.concatenate([np.empty(0, np.int64), *(np.arange(size) for size in sizes)])
        order = np.argsort(self._keys)
        self._keys, self._run, self._row = (a[order] for a in (self._keys, self._run, self._row))

    def has(self, keys: Keys) -> bool:
        """Whether all these keys exist in the snapshot."""
        return bool(np.isin(keys, self._keys).all())

    def rows(self, keys: Keys) -> tuple[Tokens | None, Codes]:
        """Tokens (n, K, D), if they are kept, and codes (n,) of existing keys (n,), n > 0."""
        at = np.searchsorted(self._keys, keys)
        parts = [(self._rows[self._run[i]], int(self._row[i])) for i in at.tolist()]
        codes = np.stack([codes[row] for (_, codes), row in parts])
        if parts[0][0][0] is None:
            return None, codes
        return np.stack([tokens[row] for (tokens, _), row in parts if tokens is not None]), codes
