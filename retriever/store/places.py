"""Where the row of each key lies, for reading rows in any order: what copying needs.

It knows keys and mapped files. It does not know documents.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rag_vqa.retriever.codes import Codes
from rag_vqa.retriever.store.blocks import Keys, blocks
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
        self._rows = [store.segments.read_sound(block) for block in found]
        self._keys: Keys = np.concatenate([np.empty(0, np.int64), *(b.keys for b in found)])
        self._block = np.repeat(np.arange(len(found)), [len(b) for b in found])
        self._row = np.concatenate([np.empty(0, np.int64), *(np.arange(len(b)) for b in found)])
        order = np.argsort(self._keys)
        self._keys, self._block, self._row = (
            a[order] for a in (self._keys, self._block, self._row)
        )

    def rows(self, keys: Keys) -> tuple[Tokens | None, Codes]:
        """Tokens (n, K, D), if they are kept, and codes (n,) of keys (n,) that are there, n > 0."""
        at = np.searchsorted(self._keys, keys)
        parts = [(self._rows[self._block[i]], int(self._row[i])) for i in at.tolist()]
        codes = np.stack([codes[row] for (_, codes), row in parts])
        if parts[0][0][0] is None:
            return None, codes
        return np.stack([tokens[row] for (tokens, _), row in parts if tokens is not None]), codes
