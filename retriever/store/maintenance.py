"""Compact a knowledge base, or copy it, while other processes read it.

Knows the order of steps. Compacting: new segments, one commit that switches to them, then the old
files go. Copying: bytes first, the database last, so that an interrupted copy is no knowledge base
and the same call continues it. Does not know what the bytes mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rag_vqa.errors import CorruptKnowledgeBase, UsageError
from rag_vqa.retriever.index import Codes
from rag_vqa.retriever.store.database import DATABASE_FILE
from rag_vqa.retriever.store.document_content import Pictures
from rag_vqa.retriever.store.document_store import has_foreign_files, remove_leftovers
from rag_vqa.retriever.store.schema import Commit
from rag_vqa.retriever.store.segments import (
    Block,
    Keys,
    Segments,
    Tokens,
    read_blocks,
    record_block,
)
from rag_vqa.storage import atomic, lock

if TYPE_CHECKING:
    from rag_vqa.retriever.store.document_store import Store

_BLOCK_ROWS = 4096  # rows of a new block, and what is held in memory
_COPY_BYTES = 2**24  # bytes copied at once


@dataclass(frozen=True, slots=True)
class CompactReport:
    """What a compaction removed: rows of tokens, pictures, bytes of segments."""

    rows: int
    pictures: int
    bytes: int


def compact_store(store: Store) -> CompactReport:
    """Remove what deleted documents left. The caller holds the lock.

    Raises:
        CorruptKnowledgeBase: rows to copy do not have their checksum; nothing was changed.
    """
    deleted = store.deleted_keys()
    freed = _switch_segments(store, deleted) if len(deleted) else 0
    remove_leftovers(store)
    return CompactReport(len(deleted), remove_unused_pictures(store), freed)


def _switch_segments(store: Store, deleted: Keys) -> int:
    """Commit new segments, then remove the old ones; returns how many bytes that freed."""
    with store.db.commit() as commit:
        found = list(read_blocks(store.db))
        old = sorted({number for (number,) in store.db.rows("SELECT number FROM segments")})
        commit.clear("blocks")
        commit.clear("segments")
        commit.clear("gone")
        writer = _RowWriter(store, commit)
        for block in found:
            writer.take(block, ~np.isin(block.keys, deleted))
        writer.flush()
        commit.set_meta("generation", str(store.db.number("generation") + 1))
    new = [number for (number,) in store.db.rows("SELECT number FROM segments")]
    old_files, new_files = (
        [path for number in numbers for path in store.segments.paths(number).values()]
        for numbers in (old, new)
    )
    freed = sum(p.stat().st_size for p in old_files) - sum(p.stat().st_size for p in new_files)
    for path in old_files:
        atomic.remove_file(path)
    return freed


class _RowWriter:
    """Gathers rows and writes them in blocks."""

    def __init__(self, store: Store, commit: Commit) -> None:
        self._store, self._commit = store, commit
        self._parts: list[tuple[Keys, Keys, Tokens | None, Codes]] = []
        self._rows = 0

    def take(self, block: Block, keep: NDArray[np.bool_]) -> None:
        """Take those rows of a block that `keep` marks."""
        segments = self._store.segments
        segments.check_block(block)
        tokens, codes = segments.read(block.segment, block.first, len(block))
        if keep.any():
            kept = None if tokens is None else tokens[keep]
            self._parts.append((block.keys[keep], block.documents[keep], kept, codes[keep]))
            self._rows += int(keep.sum())
        if self._rows >= _BLOCK_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write the gathered rows as one block."""
        if not self._parts:
            return
        keys, documents, tokens, codes = zip(*self._parts, strict=True)
        rows = None if tokens[0] is None else np.concatenate(tokens)
        segment, first = self._store.open_segment(self._commit)
        hashes = self._store.segments.append(segment, first, rows, np.concatenate(codes))
        number = self._commit.next_key("blocks")
        whose = (np.concatenate(keys), np.concatenate(documents))
        record_block(self._commit, Block(number, segment, first, *whose, *hashes))
        self._parts, self._rows = [], 0


def copy_store(store: Store, folder: Path) -> None:
    """Copy the last commit to `folder`, which is new, empty, or left by an interrupted copy.

    Raises:
        UsageError: the folder holds other files, or a knowledge base.
    """
    if store.folder.resolve() in folder.resolve().parents:
        raise UsageError(f"{folder} lies inside the knowledge base: give a folder outside of it.")
    if folder.exists() and (
        not folder.is_dir() or has_foreign_files(folder) or (folder / DATABASE_FILE).exists()
    ):
        raise UsageError(f"{folder} exists and is not empty: give another name for the copy.")
    atomic.make_folder(folder)
    with lock.hold_lock(folder):
        while True:
            generation = store.db.number("generation")
            try:
                _copy_snapshot(store, folder)
                return
            except (CorruptKnowledgeBase, FileNotFoundError):
                # A compaction removed files of this snapshot: the next snapshot has others.
                if store.db.number("generation") == generation:
                    raise


def _copy_snapshot(store: Store, folder: Path) -> None:
    made = store.manifest
    segments = Segments(folder, made.K, made.D, made.keep_tokens)
    pictures = Pictures(folder)
    for inner in (segments.folder, pictures.folder):
        atomic.make_folder(inner)
    new = folder / f"{store.db.file.name}{atomic.PARTIAL_SUFFIX}"
    atomic.remove_file(new)
    with store.db.snapshot():
        store.db.copy_to(new)
        for number, rows in store.segment_rows():
            store.segments.check(number, rows)
            for kind, path in store.segments.paths(number).items():
                _copy_bytes(path, segments.path(number, kind), segments.offset(kind, rows))
        for name in {image for _, d in store.all_documents() for image in d.images}:
            pictures.keep_copy(Path(str(name)))
    for inner in (segments.folder, pictures.folder, folder):
        atomic.sync_folder(inner)
    atomic.replace_file(new, folder / store.db.file.name)


def _copy_bytes(source: Path, target: Path, size: int) -> None:
    with source.open("rb") as file:
        for offset in range(0, size, _COPY_BYTES):
            atomic.write_at(target, offset, file.read(min(_COPY_BYTES, size - offset)))


def remove_unused_pictures(store: Store) -> int:
    """Remove pictures that no document names; returns how many."""
    used = {image for _, document in store.all_documents() for image in document.images}
    unused = [path for path in store.pictures.files() if path not in used]
    for path in unused:
        atomic.remove_file(path)
    return len(unused)
