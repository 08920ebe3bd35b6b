"""Retriever: queries → the best documents of a knowledge base, by late interaction.

It knows how passages become documents, ties, filters, and when its index is out of date. It does
not know how scores are computed (index/) nor what is on disk (store.py).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rag_vqa.errors import UsageError
from rag_vqa.formats.document import nearest, shown
from rag_vqa.retriever.index import NO_KEY, Index, make_index
from rag_vqa.types import Document, Hit, Passage, Query, Scalar

if TYPE_CHECKING:
    from rag_vqa.retriever.knowledge_base import KnowledgeBase

Keys = NDArray[np.int64]
Found = list[tuple[float, str, int]]  # score, document, key of its best passage


class Retriever:
    """Searches one knowledge base; several may be open on it at once.

    The tokens of all passages are held in memory (K · D · 2 bytes each) and follow the knowledge
    base: what was committed before a search began is found by it.
    """

    def __init__(self, kb: KnowledgeBase, engine: str = "exact") -> None:
        self._kb, self._store = kb, kb.store
        self._index: Index = make_index(engine)
        self._owners: dict[int, str] = {}  # key → document, of all rows in the index
        self._commits = -1
        self._lock = threading.Lock()

    def search(
        self,
        queries: Sequence[Query],
        k: int,
        where: Mapping[str, Scalar | Sequence[Scalar]] | None = None,
    ) -> list[list[Hit]]:
        """The k best documents of each query, each with the passage that matched best.

        Args:
            k: documents; all of them if there are fewer.
            where: values that a document's metadata must have, name by name; of a list, any.

        Returns: for each query hits by falling score, equal scores by document id.

        Raises:
            UsageError: k < 1, or a name in `where` that no document has.
        """
        if k < 1:
            raise UsageError(f"k is {k}: ask for at least 1.")
        if where:
            self._among(where)  # a name that is wrong is told before any model loads
        if not queries or not len(self._kb):
            return [[] for _ in queries]
        tokens = self._kb.encoder.encode_queries(queries)
        with self._lock, self._store.db.snapshot():
            self._refresh()
            found = self._best(tokens, k, self._among(where) if where else None)
            keys = [key for row in found for _, _, key in row]
            passages = self._store.passages(keys)
            documents = self._store.documents(sorted({p.document for p in passages.values()}))
        return [_hits(row, passages, documents) for row in found]

    def _refresh(self) -> None:
        """Bring the index to the commit of this snapshot. Keys only grow and are never reused."""
        commits = self._store.db.commits()
        if commits == self._commits:
            return
        owners = self._store.owners()
        gone = np.array([key for key in self._owners if key not in owners], np.int64)
        keys, tokens = self._store.tokens(after=max(self._owners, default=0))
        self._index.delete(gone)
        self._index.add(tokens, keys)
        self._owners, self._commits = owners, commits

    def _among(self, where: Mapping[str, Scalar | Sequence[Scalar]]) -> Keys:
        """Keys of the passages whose documents pass the filter."""
        names = self._store.metadata_names()
        chosen: Keys | None = None
        for name, value in where.items():
            if name not in names:
                known = f"there is: {', '.join(names)}" if names else "no document has any"
                raise UsageError(
                    f"No document has metadata {shown(name)}; {known}.{nearest(name, names)}"
                )
            values = [value] if isinstance(value, str | int | float | None) else list(value)
            keys = self._store.keys_where(name, values)
            chosen = keys if chosen is None else np.intersect1d(chosen, keys)
        return np.empty(0, np.int64) if chosen is None else chosen

    def _best(self, tokens: NDArray[np.float32], k: int, among: Keys | None) -> list[Found]:
        """The k best documents of each query (Q, K, D). Asks for ever more passages: several may
        belong to one document, and equal scores at the end may hide a document of a lower id."""
        total = len(self._index) if among is None else len(among)
        asked = min(2 * k, total)
        while total:
            keys, scores = self._index.search(tokens, asked, among)
            found = [self._documents(*row) for row in zip(keys, scores, strict=True)]
            last = scores[:, -1]
            settled = [
                len(f) >= k and f[k - 1][0] > end for f, end in zip(found, last, strict=True)
            ]
            if asked == total or all(settled):
                return [row[:k] for row in found]
            asked = min(2 * asked, total)
        return [[] for _ in tokens]

    def _documents(self, keys: Keys, scores: NDArray[np.float32]) -> Found:
        """Passages (n,) best first → documents by falling score, then id."""
        best: dict[str, tuple[float, str, int]] = {}
        for key, score in zip(keys.tolist(), scores.tolist(), strict=True):
            if key != NO_KEY:
                owner = self._owners[key]
                best.setdefault(owner, (score, owner, key))
        return sorted(best.values(), key=lambda hit: (-hit[0], hit[1]))


def _hits(
    found: Found, passages: Mapping[int, Passage], documents: Mapping[str, Document]
) -> list[Hit]:
    return [
        Hit(documents[owner], passages[key], rank, score, {"retrieve": score})
        for rank, (score, owner, key) in enumerate(found, 1)
    ]
