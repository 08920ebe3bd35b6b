"""Search: queries to the best documents of a knowledge base, by late interaction.

Knows how passages become documents and pages, ties, filters, which engine searches, and when its
index is out of date. Does not know how scores are computed (index/, hybrid.py) nor what is on disk
(store/).
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rag_vqa.errors import CorruptKnowledgeBase, RagVqaError, UsageError
from rag_vqa.retriever.index import NO_KEY, EngineChoice, Index, make_index, suggest_engine
from rag_vqa.retriever.index.index_files import UNFINISHED
from rag_vqa.retriever.search import filters
from rag_vqa.retriever.search.filters import Where
from rag_vqa.retriever.search.hybrid import Candidate, WordIndex, fuse_rankings, to_hits
from rag_vqa.retriever.store.document_store import Store
from rag_vqa.retriever.store.segments import Block, SegmentGone, join_blocks, read_blocks
from rag_vqa.storage import atomic
from rag_vqa.types import Hit, Passage, Query

if TYPE_CHECKING:
    from rag_vqa.retriever.explain import Explanation
    from rag_vqa.retriever.knowledge_base import KnowledgeBase

# What candidates are found by, of rows by key: it holds for good, and can be made again.
CANDIDATES_FILE = "candidates.safetensors"
Keys = NDArray[np.int64]
Scores = NDArray[np.float32]
PassageSearch = Callable[[int, Keys | None], tuple[Keys, Scores]]  # the best k, among those keys
# Documents of each ranking that are fused, or k if that is more. Where one of the two knows
# nothing, what both have by chance far down outweighs what one has at its top: so few, chosen on
# the demo's development half, in English and in German.
FUSION_DEPTH = 10


def choose_engine(store: Store, engine: str) -> EngineChoice:
    """The engine of that name, or, of "auto", the one that suits the passages there are."""
    if engine != "auto":
        return EngineChoice(engine, f"{engine}, as asked")
    return suggest_engine(store.count()[1], store.manifest.K, store.manifest.D)


def make_empty_index(store: Store, choice: EngineChoice) -> Index:
    """An index for the rows of a knowledge base; what was kept for it is used."""
    options: dict[str, Any] = {}
    if choice.engine == "faiss" and (file := _candidates_path(store)).is_file():
        options["derived"] = file
    try:
        return make_index(choice.engine, **options)
    except CorruptKnowledgeBase as error:
        warnings.warn(f"{error} It is worked out anew.", stacklevel=2)
        return make_index(choice.engine)


def save_candidates(store: Store, index: Index) -> None:
    """Write down what an index worked out, for the next one. The caller holds the lock.

    It can be made again: that it could not be written is a warning."""
    from rag_vqa.retriever.index.faiss_engine import FaissIndex

    if not isinstance(index, FaissIndex):
        return
    try:
        for left in store.folder.glob(
            f"{CANDIDATES_FILE}.*{UNFINISHED}"
        ):  # by a killed process: ours is the lock
            atomic.remove_file(left)
        index.keep(_candidates_path(store))
    except RagVqaError as error:
        warnings.warn(f"{error} Until then searches begin by working it out.", stacklevel=2)


def _candidates_path(store: Store) -> Path:
    return store.folder / CANDIDATES_FILE


class Retriever:
    """Searches one knowledge base; several may be open on it at once.

    Its index follows the knowledge base: what was committed before a search began is found by it.
    Rows stay in their mapped files.

    Attributes:
        choice: the engine, and why; `engine` "auto" goes by the number of passages.
    """

    def __init__(self, kb: KnowledgeBase, engine: str = "auto") -> None:
        self._kb, self._store = kb, kb.store
        self.choice: EngineChoice = choose_engine(kb.store, engine)
        self._lock = threading.Lock()
        self._words: WordIndex | None = None  # made when it is first asked
        self._reset_index(generation=-1)

    @property
    def commit(self) -> int:
        """Number of the commit that the last search stood on; -1 before the first."""
        return self._commits

    def keep(self) -> None:
        """Bring the index up to date and write down what it worked out, so that the next one that
        is opened need not. Raises Locked if another process is writing."""
        with self._lock, self._store.writing(), self._store.db.snapshot():
            self._refresh()
            save_candidates(self._store, self._index)

    def search(
        self,
        queries: Sequence[Query],
        k: int,
        where: Where | None = None,
        hybrid: bool = False,
        sections: bool = False,
    ) -> list[list[Hit]]:
        """The k best documents of each query, each with the passage that matched best.

        Args:
            k: documents; all of them if there are fewer.
            where: values that a document's metadata must have, name by name; of a list, any.
            hybrid: a second ranking, of passages that share words with the query's text (BM25),
                is fused with late interaction's by reciprocal rank. Documents in a language that
                the retriever does not read are found by it. An image alone has no words.
            sections: pages first: of each of the k pages (`parent`) with the best documents, its
                best one. A document without a parent stands alone.

        Returns: for each query hits by falling score, equal scores by document id. `scores` has
            "retrieve", late interaction's; under `hybrid` also "lexical" (each where its ranking
            got to the document) and "fused", which is then the score.

        Raises:
            UsageError: k < 1, or a name in `where` that no document has.
            Missing: `hybrid`, and this Python has no FTS5.
        """
        if k < 1:
            raise UsageError(f"k is {k}: ask for at least 1.")
        if isinstance(queries, str | Query):
            raise UsageError("Queries come in a list: give [Query(text, image)].")
        if where:
            filters.matching_rows(
                self._store, where
            )  # a name that is wrong is told before any model loads
        if not queries or not len(self._kb):
            return [[] for _ in queries]
        tokens = self._kb.encoder.encode_queries(queries)
        with self._lock:
            while True:
                commits = self._store.db.number("commits")
                try:
                    return self._search(queries, tokens, k, where, hybrid, sections)
                except SegmentGone:  # compacted away after the snapshot was begun
                    if self._store.db.number("commits") == commits:
                        raise

    def explain(self, query: Query, passage: Passage, pairs: int | None = 5) -> Explanation:
        """Why a passage (of a hit: `hit.passage`) matches a query; both are encoded anew.

        Raises:
            UsageError: an encoder of another kind than ReT's, or pairs < 0.
        """
        from rag_vqa.retriever.explain import explain
        from rag_vqa.retriever.modeling.encoder import Encoder

        encoder = self._kb.encoder
        if not isinstance(encoder, Encoder):
            raise UsageError("Only matches of ReT can be explained, and this encoder is none.")
        return explain(encoder, query, passage, pairs)

    def _search(
        self,
        queries: Sequence[Query],
        tokens: NDArray[np.float32],
        k: int,
        where: Where | None,
        hybrid: bool,
        sections: bool,
    ) -> list[list[Hit]]:
        """All of it on one commit."""
        with self._store.db.snapshot():
            self._refresh()
            among = self._filtered_keys(where) if where else None
            depth = max(k, FUSION_DEPTH) if hybrid else k
            by_tokens = partial(self._index.search, tokens)
            found = self._best_documents(by_tokens, len(queries), depth, among, sections)
            if hybrid:
                by_words = partial(self._current_words().search, [query.text for query in queries])
                worded = self._best_documents(by_words, len(queries), depth, among, sections)
                found = [fuse_rankings(*pair)[:k] for pair in zip(found, worded, strict=True)]
            passages = self._store.passages([hit.key for row in found for hit in row])
            documents = self._store.documents(sorted({row for row, _ in passages.values()}))
        return [to_hits(row, passages, documents) for row in found]

    def _current_words(self) -> WordIndex:
        """The words of this snapshot's passages. A key means one text for ever."""
        if self._words is None:
            self._words = WordIndex()
        if not np.array_equal(self._words.keys, self._keys):
            new = np.setdiff1d(self._keys, self._words.keys, assume_unique=True)
            gone = np.setdiff1d(self._words.keys, self._keys, assume_unique=True)
            self._words.change(gone, self._store.texts(new.tolist()))
        return self._words

    def _reset_index(self, generation: int) -> None:
        """An empty index, for the rows of one generation of segments."""
        self._index: Index = make_empty_index(self._store, self.choice)
        self._generation, self._commits, self._block = generation, -1, 0
        self._keys: Keys = np.empty(0, np.int64)  # (N,) ascending: the rows in the index …
        self._rows: Keys = np.empty(0, np.int64)  # (N,) … and the rows of their documents
        self._parent: dict[int, str] = {}  # of documents by row, those that were asked for

    def _refresh(self) -> None:
        """Bring the index to the commit of this snapshot. Keys only grow and are never reused."""
        db = self._store.db
        commits, generation = db.number("commits"), db.number("generation")
        if commits == self._commits:
            return
        if generation != self._generation:  # compacted: let the old files go
            self._reset_index(generation)
        try:
            self._add_blocks(list(read_blocks(db, after=self._block)))
            self._remove_keys(self._store.gone(after=self._commits))
        except BaseException:  # half of a change: the next search begins anew
            self._reset_index(generation=-1)
            raise
        self._commits, self._parent = commits, {}

    def _add_blocks(self, new: Sequence[Block]) -> None:
        for run in join_blocks(new):
            tokens, codes = self._store.segments.read(run.segment, run.first, len(run.keys))
            self._index.add(tokens, run.keys, codes)
            self._keys = np.concatenate([self._keys, run.keys])
            self._rows = np.concatenate([self._rows, run.documents])
        self._block = new[-1].number if new else self._block

    def _remove_keys(self, gone: Keys) -> None:
        if not len(gone):
            return
        self._index.delete(gone)
        left = ~np.isin(self._keys, gone)
        self._keys, self._rows = self._keys[left], self._rows[left]

    def _filtered_keys(self, where: Where) -> Keys:
        """Keys of the passages whose documents pass the filter."""
        return self._keys[np.isin(self._rows, filters.matching_rows(self._store, where))]

    def _best_documents(
        self, search: PassageSearch, queries: int, k: int, among: Keys | None, sections: bool
    ) -> list[list[Candidate]]:
        """The k best documents of each query. Asks for ever more passages: several may belong to
        one document or page, and equal scores at the end may hide a document of a lower id."""
        total = len(self._keys) if among is None else len(among)
        asked = min(2 * k, total)
        while total:
            keys, scores = search(asked, among)
            found = [self._group_by_document(*row) for row in zip(keys, scores, strict=True)]
            if sections:
                found = [self._group_by_page(row) for row in found]
            settled = [
                end == -np.inf or (len(row) >= k and row[k - 1].score > end)
                for row, end in zip(found, scores[:, -1], strict=True)
            ]
            if asked == total or all(settled):
                return [row[:k] for row in found]
            asked = min(2 * asked, total)
        return [[] for _ in range(queries)]

    def _group_by_document(self, keys: Keys, scores: Scores) -> list[Candidate]:
        """Passages (n,) best first → documents by falling score, then id."""
        there = keys != NO_KEY
        keys, scores = keys[there], scores[there]
        rows = self._rows[np.searchsorted(self._keys, keys)]
        _, first = np.unique(rows, return_index=True)  # of each document its best passage
        ids = self._store.ids(rows[first].tolist())
        best = zip(scores[first].tolist(), rows[first].tolist(), keys[first].tolist(), strict=True)
        found = [Candidate(score, ids[row], row, key, row) for score, row, key in best]
        return sorted(found, key=lambda hit: (-hit.score, hit.id))

    def _group_by_page(self, found: Iterable[Candidate]) -> list[Candidate]:
        """Of each page its best document, in the same order. A page is as good as that one: on
        the demo's development half no mean of its documents' scores ranked pages better."""
        found = list(found)
        parents = self._load_parents([hit.row for hit in found])
        pages: dict[int | str, Candidate] = {}
        for hit in found:
            page = parents[hit.row] or hit.row
            pages.setdefault(page, replace(hit, page=page))
        return list(pages.values())

    def _load_parents(self, rows: Sequence[int]) -> Mapping[int, str]:
        """Parents of documents by row, "" of one that stands alone."""
        new = [row for row in rows if row not in self._parent]
        self._parent |= {r: document.parent for r, document in self._store.documents(new).items()}
        return self._parent
