"""Search: queries to the best documents of a knowledge base, by late interaction, and by words.

Knows how passages become documents and pages, ties, filters, how the rankings of tokens and words
are fused, and when its index is out of date. Does not know how scores are computed (index/,
bm25.py) nor what is on disk (store/).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from rag_vqa.errors import UsageError
from rag_vqa.retriever.index import (
    NO_KEY,
    EngineChoice,
    HasCache,
    Index,
    Keys,
    Scores,
    choose_engine,
    make_cached_index,
    save_cache,
)
from rag_vqa.retriever.modeling import TokenEncoder
from rag_vqa.retriever.search.bm25 import WordIndex
from rag_vqa.retriever.search.filters import FilteredRows
from rag_vqa.retriever.store.document_store import Store
from rag_vqa.retriever.store.segments import Block, SegmentGone, join_blocks, read_blocks
from rag_vqa.types import Document, Hit, Passage, Query, Where

if TYPE_CHECKING:
    from rag_vqa.retriever.explain import Explanation

PassageSearch = Callable[[int, Keys | None], tuple[Keys, Scores]]  # the best k among those keys
# Documents of each ranking that are fused, or k if that is more. Where one of the two knows
# nothing, the documents that both rank low by chance outweigh the other's best ones. So this is
# small; it was chosen on the demo's development half, in English and in German.
FUSION_DEPTH = 10
RRF_CONSTANT = 60  # as published: the larger, the less the first ranks stand out
T = TypeVar("T", bound=Hashable)


class Searchable(Protocol):
    """The part of a knowledge base that a Retriever needs."""

    @property
    def store(self) -> Store: ...
    @property
    def encoder(self) -> TokenEncoder: ...
    def __len__(self) -> int: ...


class Retriever:
    """Searches one knowledge base; several may be open on it at once.

    Its index follows the knowledge base: a search finds what was committed before it began. Rows
    stay in their mapped files.

    Attributes:
        choice: the engine, and why; `engine` "auto" chooses by the number of passages.
    """

    def __init__(self, kb: Searchable, engine: str = "auto") -> None:
        self._kb, self._store = kb, kb.store
        count, manifest = kb.store.count()[1], kb.store.manifest
        self.choice: EngineChoice = choose_engine(engine, count, manifest.K, manifest.D)
        self._lock = threading.Lock()
        self._words: WordIndex | None = None  # made by the first hybrid search
        self._reset_index(generation=-1)

    @property
    def commit(self) -> int:
        """Number of the commit that the last search saw; -1 before the first search."""
        return self._commits

    @property
    def has_cache(self) -> bool:
        """Whether `keep` saves anything for this engine."""
        return isinstance(self._index, HasCache)

    def keep(self) -> None:
        """Bring the index up to date and save what it computed, so that the next index that is
        opened need not compute it. Raises Locked if another process is writing."""
        with self._lock, self._store.hold_writer_lock(), self._store.db.snapshot():
            self._refresh()
            save_cache(self._index, self.choice, self._store.folder)

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
            k: number of documents; all of them if there are fewer.
            where: a filter on metadata: values by name, of a list any value, bounds of a range
                ({"year": {">=": 1780, "<": 1850}, "kind": ["cup", "plate"]}), or texts as for
                `--where` (["year>=1780", "kind=cup,plate"]).
            hybrid: fuse a second ranking, of passages that share words with the query's text
                (BM25), with late interaction's by reciprocal rank. It finds documents in a
                language that the retriever does not read. An image alone has no words.
            sections: rank pages (`parent`) first, then return the best document of each of the k
                best pages. A document without a parent is a page of its own.

        Returns: for each query hits by falling score, equal scores by document id. `scores` has
            "retrieve", late interaction's; under `hybrid` also "lexical" (each if its ranking
            reached the document) and "fused", which is then the score.

        Raises:
            UsageError: k < 1, or a name in `where` that no document has.
            Missing: `hybrid`, and this Python has no FTS5.
        """
        if k < 1:
            raise UsageError(f"k is {k}: ask for at least 1.")
        if isinstance(queries, str | Query):
            raise UsageError("Queries come in a list: give [Query(text, image)].")
        passing = FilteredRows(self._store, where) if where else None
        if passing is not None and not len(passing.read()):  # before any model loads
            return [[] for _ in queries]
        if not queries or not len(self._kb):
            return [[] for _ in queries]
        tokens = self._kb.encoder.encode_queries(queries)
        with self._lock:
            while True:
                commits = self._store.db.number("commits")
                try:
                    return self._search(queries, tokens, k, passing, hybrid, sections)
                except SegmentGone:  # compacted away after the snapshot was begun
                    if self._store.db.number("commits") == commits:
                        raise

    def explain(self, query: Query, passage: Passage, pairs: int | None = 5) -> Explanation:
        """Why a passage (of a hit: `hit.passage`) matches a query. Encodes both anew.

        Raises:
            UsageError: the encoder cannot be explained (it is not of a family with attribution),
                or pairs < 0.
        """
        from rag_vqa.retriever.explain import explain
        from rag_vqa.retriever.modeling.encoder import Encoder

        encoder = self._kb.encoder
        if not isinstance(encoder, Encoder):
            raise UsageError(
                "Only matches of ReT can be explained, and this encoder is of another kind."
            )
        return explain(encoder, query, passage, pairs)

    def _search(
        self,
        queries: Sequence[Query],
        tokens: NDArray[np.float32],
        k: int,
        passing: FilteredRows | None,
        hybrid: bool,
        sections: bool,
    ) -> list[list[Hit]]:
        """The whole search, on one commit."""
        with self._store.db.snapshot():
            self._refresh()
            among = None
            if passing is not None:
                among = self._keys[np.isin(self._rows, passing.read())]
            depth = max(k, FUSION_DEPTH) if hybrid else k
            by_tokens = partial(self._index.search, tokens)
            ranked = self._best_documents(by_tokens, len(queries), depth, among, sections)
            if hybrid:
                by_words = partial(self._current_words().search, [query.text for query in queries])
                lexical = self._best_documents(by_words, len(queries), depth, among, sections)
                ranked = [fuse_rankings(*pair)[:k] for pair in zip(ranked, lexical, strict=True)]
            passages = self._store.passages([found.key for row in ranked for found in row])
            documents = self._store.documents(sorted({row for row, _ in passages.values()}))
        return [to_hits(row, passages, documents) for row in ranked]

    def _current_words(self) -> WordIndex:
        """The word index of this snapshot's passages. A key stands for the same text for ever."""
        if self._words is None:
            self._words = WordIndex()
        if not np.array_equal(self._words.keys, self._keys):
            new = np.setdiff1d(self._keys, self._words.keys, assume_unique=True)
            removed = np.setdiff1d(self._words.keys, self._keys, assume_unique=True)
            self._words.update(removed, self._store.passage_texts(new.tolist()))
        return self._words

    def _reset_index(self, generation: int) -> None:
        """Start with an empty index for the rows of one generation of segments."""
        self._index: Index = make_cached_index(self.choice, self._store.folder)
        self._generation, self._commits, self._block = generation, -1, 0
        self._keys: Keys = np.empty(0, np.int64)  # (N,) ascending: the rows in the index …
        self._rows: Keys = np.empty(0, np.int64)  # (N,) … and the rows of their documents
        self._parent: dict[int, str] = {}  # by row of a document, those read so far

    def _refresh(self) -> None:
        """Bring the index to the commit of this snapshot. Keys only grow and are never reused."""
        db = self._store.db
        commits, generation = db.number("commits"), db.number("generation")
        if commits == self._commits:
            return
        if generation != self._generation:  # compacted: release the old files
            self._reset_index(generation)
        try:
            self._add_blocks(list(read_blocks(db, after=self._block)))
            self._remove_keys(self._store.deleted_keys(after=self._commits))
        except BaseException:  # half a change: the next search starts with an empty index
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

    def _remove_keys(self, removed: Keys) -> None:
        if not len(removed):
            return
        self._index.delete(removed)
        remaining = ~np.isin(self._keys, removed)
        self._keys, self._rows = self._keys[remaining], self._rows[remaining]

    def _best_documents(
        self, search: PassageSearch, queries: int, k: int, among: Keys | None, sections: bool
    ) -> list[list[Candidate]]:
        """The k best documents (or, with `sections`, pages) of each query.

        Doubles the number of passages until the result is certain: several passages may belong to
        one document or page, and equal scores at the end may hide a document of a lower id.
        """
        total = len(self._keys) if among is None else len(among)
        depth = min(2 * k, total)
        while total:
            keys, scores = search(depth, among)
            ranked = [self._group_by_document(*row) for row in zip(keys, scores, strict=True)]
            if sections:
                ranked = [self._group_by_page(row) for row in ranked]
            is_certain = [
                end == -np.inf or (len(row) >= k and row[k - 1].score > end)
                for row, end in zip(ranked, scores[:, -1], strict=True)
            ]
            if depth == total or all(is_certain):
                return [row[:k] for row in ranked]
            depth = min(2 * depth, total)
        return [[] for _ in range(queries)]

    def _group_by_document(self, keys: Keys, scores: Scores) -> list[Candidate]:
        """Passages (n,) best first → documents by falling score, then id."""
        is_row = keys != NO_KEY
        keys, scores = keys[is_row], scores[is_row]
        rows = self._rows[np.searchsorted(self._keys, keys)]
        _, first = np.unique(rows, return_index=True)  # of each document its best passage
        ids = self._store.ids(rows[first].tolist())
        best = zip(scores[first].tolist(), rows[first].tolist(), keys[first].tolist(), strict=True)
        ranked = [Candidate(score, ids[row], row, key, row) for score, row, key in best]
        return sorted(ranked, key=lambda found: (-found.score, found.id))

    def _group_by_page(self, ranked: Sequence[Candidate]) -> list[Candidate]:
        """The best document of each page, in the same order.

        A page is as good as that document: on the demo's development half no mean of its documents'
        scores ranked pages better.
        """
        parents = self._load_parents([found.row for found in ranked])
        pages: dict[int | str, Candidate] = {}
        for found in ranked:
            page = parents[found.row] or found.row
            pages.setdefault(page, replace(found, page=page))
        return list(pages.values())

    def _load_parents(self, rows: Sequence[int]) -> Mapping[int, str]:
        """Parents of documents by row, "" of a document that stands alone."""
        new = [row for row in rows if row not in self._parent]
        self._parent |= {r: document.parent for r, document in self._store.documents(new).items()}
        return self._parent


@dataclass(frozen=True, slots=True)
class Candidate:
    """A document that a search found, before it is read from the store.

    Attributes:
        score: of its best passage.
        row, key: the document's row, and the key of its best passage.
        page: the row again, or the document's parent if pages are ranked.
        scores: by stage, if there was more than one.
    """

    score: float
    id: str
    row: int
    key: int
    page: int | str
    scores: Mapping[str, float] = field(default_factory=dict)


def reciprocal_rank_fusion(rankings: Iterable[Iterable[T]]) -> dict[T, float]:
    """Σ 1 / (60 + rank) of each item over the rankings that have it, ranks from 1.

    Source: Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and
    individual Rank Learning Methods", SIGIR 2009.

    >>> reciprocal_rank_fusion([["a", "b"], ["b"]]) == {"a": 1 / 61, "b": 1 / 62 + 1 / 61}
    True
    """
    fused: dict[T, float] = {}
    for ranking in rankings:
        for rank, item in enumerate(ranking, 1):
            fused[item] = fused.get(item, 0.0) + 1 / (RRF_CONSTANT + rank)
    return fused


def fuse_rankings(by_tokens: Sequence[Candidate], by_words: Sequence[Candidate]) -> list[Candidate]:
    """One ranking of two, equal scores by id.

    A document in both keeps the passage that late interaction found.
    """
    stages = {"lexical": by_words, "retrieve": by_tokens}
    scores: dict[int | str, dict[str, float]] = {}
    best: dict[int | str, Candidate] = {}
    for stage, ranking in stages.items():
        for found in ranking:
            scores.setdefault(found.page, {})[stage] = found.score
            best[found.page] = found
    pages = ([found.page for found in ranking] for ranking in stages.values())
    for page, score in reciprocal_rank_fusion(pages).items():
        best[page] = replace(best[page], score=score, scores={**scores[page], "fused": score})
    return sorted(best.values(), key=lambda found: (-found.score, found.id))


def to_hits(
    ranked: Sequence[Candidate],
    passages: Mapping[int, tuple[int, Passage]],
    documents: Mapping[int, Document],
) -> list[Hit]:
    """Candidates as hits, ranks from 1.

    Args:
        passages: by key, each with its document's row.
        documents: by row.
    """
    return [
        Hit(documents[found.row], passages[found.key][1], rank, found.score,
            found.scores or {"retrieve": found.score})
        for rank, found in enumerate(ranked, 1)
    ]  # fmt: skip
