"""Where the row of each key lies, for reading rows in any order: what copying needs.

It knows keys and mapped files. It does not know documents.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rag_vqa.retriever.codes import Codes
from rag_vqa.retriever.store.blocks import Keys, blocks, runs
from rag_vqa.retriever.store.segments import Tokens

if TYPE_CHECKING:
    from rag_vqa.retriever.store.store import Store


class Places:
    """All rows of one snapshot, mapped; they stay readable when that is over.

    Raises:
        CorruptKnowledgeBase: rows do not have their checksum.
        SegmentGone: a compaction was faster; take a new snapshot.
    """

    def __init__(self, store: Store) -> None:
        found = list(blocks(store.db))
        for block in found:
            store.segments.check_block(block)
        # A mapping holds a descriptor: one of each run, since a slow build makes very many blocks.
        joined = list(runs(found))
        sizes = [len(run.keys) for run in joined]
        self._rows = [
            store.segments.read(run.segment, run.first, size)
            for run, size in zip(joined, sizes, strict=True)
        ]
        self._keys: Keys = np.concatenate([np.empty(0, np.int64), *(run.keys for run in joined)])
        self._run = np.repeat(np.arange(len(joined)), sizes)
        self._row = np.concatenate([np.empty(0, np.int64), *(np.arange(size) for size in sizes)])
        order = np.argsort(self._keys)
        self._keys, self._run, self._row = (a[order] for a in (self._keys, self._run, self._row))

    def rows(self, keys: Keys) -> tuple[Tokens | None, Codes]:
        """Tokens (n, K, D), if they are kept, and codes (n,) of keys (n,) that are there, n > 0."""
        at = np.searchsorted(self._keys, keys)
        parts = [(self._rows[self._run[i]], int(self._row[i])) for i in at.tolist()]
        codes = np.stack([codes[row] for (_, codes), row in parts])
        if parts[0][0][0] is None:
            return None, codes
        return np.stack([tokens[row] for (tokens, _), row in parts if tokens is not None]), codes
