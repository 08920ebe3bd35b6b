"""Compaction: rows that count are copied into new segments, the others are let go.

It knows the order of steps: new files, one commit that switches to them, old files away. Readers
keep what they have mapped, and move to the new files at their next search.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rag_vqa.retriever.codes import Codes
from rag_vqa.retriever.store import files
from rag_vqa.retriever.store.blocks import Block, Keys, blocks, record
from rag_vqa.retriever.store.collect import collect, collect_pictures
from rag_vqa.retriever.store.commit import Commit
from rag_vqa.retriever.store.segments import Tokens

if TYPE_CHECKING:
    from rag_vqa.retriever.store.store import Store

_BLOCK = 4096  # rows of a new block, and what is held in memory


@dataclass(frozen=True, slots=True)
class Compacted:
    """What a compaction let go: rows of tokens, pictures, bytes of segments."""

    rows: int
    pictures: int
    bytes: int


def compact(store: Store) -> Compacted:
    """Let go of what deleted documents left. The caller holds the lock.

    Raises:
        CorruptKnowledgeBase: rows to be copied do not have their checksum; nothing was changed.
    """
    gone = store.gone()
    freed = _switch(store, gone) if len(gone) else 0
    collect(store)
    return Compacted(len(gone), collect_pictures(store), freed)


def _switch(store: Store, gone: Keys) -> int:
    """Commit the new segments, then remove the old; how many bytes fewer there are."""
    with store.db.commit() as commit:
        found = list(blocks(store.db))
        old = sorted({number for (number,) in store.db.rows("SELECT number FROM segments")})
        commit.clear("blocks")
        commit.clear("segments")
        commit.clear("gone")
        writer = _Writer(store, commit)
        for block in found:
            writer.take(block, ~np.isin(block.keys, gone))
        writer.flush()
        commit.set_meta("generation", str(store.db.number("generation") + 1))
    new = [number for (number,) in store.db.rows("SELECT number FROM segments")]
    outgrown, written = (
        [path for number in numbers for path in store.segments.paths(number).values()]
        for numbers in (old, new)
    )
    freed = sum(p.stat().st_size for p in outgrown) - sum(p.stat().st_size for p in written)
    for path in outgrown:
        files.remove(path)
    return freed


class _Writer:
    """Gathers rows until there is a block of them."""

    def __init__(self, store: Store, commit: Commit) -> None:
        self._store, self._commit = store, commit
        self._parts: list[tuple[Keys, Keys, Tokens | None, Codes]] = []
        self._rows = 0

    def take(self, block: Block, keep: NDArray[np.bool_]) -> None:
        """Take the rows of a block that are to be kept."""
        segments = self._store.segments
        segments.check_block(block)
        tokens, codes = segments.read(block.segment, block.first, len(block))
        if keep.any():
            kept = None if tokens is None else tokens[keep]
            self._parts.append((block.keys[keep], block.documents[keep], kept, codes[keep]))
            self._rows += int(keep.sum())
        if self._rows >= _BLOCK:
            self.flush()

    def flush(self) -> None:
        """Write what was gathered."""
        if not self._parts:
            return
        keys, documents, tokens, codes = zip(*self._parts, strict=True)
        rows = None if tokens[0] is None else np.concatenate(tokens)
        segment, first = self._store.open_segment(self._commit)
        hashes = self._store.segments.append(segment, first, rows, np.concatenate(codes))
        number = self._commit.issue("blocks")
        whose = (np.concatenate(keys), np.concatenate(documents))
        record(self._commit, Block(number, segment, first, *whose, *hashes))
        self._parts, self._rows = [], 0
