"""Retriever: queries → the best documents of a knowledge base, by late interaction.

It knows how passages become documents, ties, filters, and when its index is out of date. It does
not know how scores are computed (index/) nor what is on disk (store/).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rag_vqa.errors import UsageError
from rag_vqa.retriever import choosing, filters
from rag_vqa.retriever.filters import Where
from rag_vqa.retriever.index import NO_KEY, Choice, Index
from rag_vqa.retriever.store.blocks import Block, blocks, runs
from rag_vqa.retriever.store.segments import SegmentGone
from rag_vqa.types import Document, Hit, Passage, Query

if TYPE_CHECKING:
    from rag_vqa.retriever.knowledge_base import KnowledgeBase

Keys = NDArray[np.int64]
Found = list[tuple[float, str, int, int]]  # score, id and row of a document, key of its passage


class Retriever:
    """Searches one knowledge base; several may be open on it at once.

    Its index follows the knowledge base: what was committed before a search began is found by it.
    Rows stay in their mapped files.

    Attributes:
        choice: the engine, and why; `engine` "auto" goes by the number of passages.
    """

    def __init__(self, kb: KnowledgeBase, engine: str = "auto") -> None:
        self._kb, self._store = kb, kb.store
        self.choice: Choice = choosing.choose(kb.store, engine)
        self._lock = threading.Lock()
        self._begin(generation=-1)

    def keep(self) -> None:
        """Bring the index up to date and write down what it worked out, so that the next one that
        is opened need not. Raises RagVqaError if another process is writing."""
        with self._lock, self._store.writing(), self._store.db.snapshot():
            self._refresh()
            choosing.keep(self._store, self._index)

    def search(
        self,
        queries: Sequence[Query],
        k: int,
        where: Where | None = None,
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
        if isinstance(queries, str | Query):
            raise UsageError("Queries come in a list: give [Query(text, image)].")
        if where:
            filters.rows(self._store, where)  # a name that is wrong is told before any model loads
        if not queries or not len(self._kb):
            return [[] for _ in queries]
        tokens = self._kb.encoder.encode_queries(queries)
        with self._lock:
            while True:
                commits = self._store.db.number("commits")
                try:
                    return self._search(tokens, k, where)
                except SegmentGone:  # compacted away after the snapshot was begun
                    if self._store.db.number("commits") == commits:
                        raise

    def _search(self, tokens: NDArray[np.float32], k: int, where: Where | None) -> list[list[Hit]]:
        """All of it on one commit."""
        with self._store.db.snapshot():
            self._refresh()
            found = self._best(tokens, k, self._among(where) if where else None)
            passages = self._store.passages([key for hits in found for *_, key in hits])
            documents = self._store.documents(sorted({row for row, _ in passages.values()}))
        return [_hits(hits, passages, documents) for hits in found]

    def _begin(self, generation: int) -> None:
        """An empty index, for the rows of one generation of segments."""
        self._index: Index = choosing.empty_index(self._store, self.choice)
        self._generation, self._commits, self._block = generation, -1, 0
        self._keys: Keys = np.empty(0, np.int64)  # (N,) ascending: the rows in the index …
        self._rows: Keys = np.empty(0, np.int64)  # (N,) … and the rows of their documents

    def _refresh(self) -> None:
        """Bring the index to the commit of this snapshot. Keys only grow and are never reused."""
        db = self._store.db
        commits, generation = db.number("commits"), db.number("generation")
        if commits == self._commits:
            return
        if generation != self._generation:  # compacted: let the old files go
            self._begin(generation)
        try:
            self._take(list(blocks(db, after=self._block)))
            self._drop(self._store.gone(after=self._commits))
        except BaseException:  # half of a change: the next search begins anew
            self._begin(generation=-1)
            raise
        self._commits = commits

    def _take(self, new: Sequence[Block]) -> None:
        for run in runs(new):
            tokens, codes = self._store.segments.read(run.segment, run.first, len(run.keys))
            self._index.add(tokens, run.keys, codes)
            self._keys = np.concatenate([self._keys, run.keys])
            self._rows = np.concatenate([self._rows, run.documents])
        self._block = new[-1].number if new else self._block

    def _drop(self, gone: Keys) -> None:
        if not len(gone):
            return
        self._index.delete(gone)
        left = ~np.isin(self._keys, gone)
        self._keys, self._rows = self._keys[left], self._rows[left]

    def _among(self, where: Where) -> Keys:
        """Keys of the passages whose documents pass the filter."""
        return self._keys[np.isin(self._rows, filters.rows(self._store, where))]

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
        there = keys != NO_KEY
        keys, scores = keys[there], scores[there]
        rows = self._rows[np.searchsorted(self._keys, keys)]
        _, first = np.unique(rows, return_index=True)  # of each document its best passage
        ids = self._store.ids(rows[first].tolist())
        best = zip(scores[first].tolist(), rows[first].tolist(), keys[first].tolist(), strict=True)
        found = [(score, ids[row], row, key) for score, row, key in best]
        return sorted(found, key=lambda hit: (-hit[0], hit[1]))


def _hits(
    found: Found, passages: Mapping[int, tuple[int, Passage]], documents: Mapping[int, Document]
) -> list[Hit]:
    return [
        Hit(documents[row], passages[key][1], rank, score, {"retrieve": score})
        for rank, (score, _, row, key) in enumerate(found, 1)
    ]
