"""Search: queries to the best documents of a knowledge base, by late interaction, and by words.

Knows how passages become documents and pages, ties, filters, which queries are searched by words
too, and when its index is out of date. Does not know how scores are computed (index/, bm25.py) or
fused (fusion.py), nor what is on disk (store/).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from rag_vqa.checkpoints import EMBEDDED
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
from rag_vqa.retriever.search.bm25 import WordIndex, subject_words
from rag_vqa.retriever.search.filters import FilteredRows
from rag_vqa.retriever.search.fusion import (
    FUSION_DEPTH,
    RARE_WORDS,
    RARE_WORDS_ALONE,
    RARE_WORDS_WITH_PICTURE,
    SAMPLED_PASSAGES,
    SCORED_DOCUMENTS,
    Candidate,
    Scales,
    fuse_rankings,
    fuse_scores,
    to_hits,
)
from rag_vqa.retriever.store.document_store import Store
from rag_vqa.retriever.store.segments import Block, SegmentGone, join_blocks, read_blocks
from rag_vqa.types import Hit, Hybrid, Passage, Query, Where

if TYPE_CHECKING:
    from rag_vqa.retriever.explain import Explanation

PassageSearch = Callable[[int, Keys | None], tuple[Keys, Scores]]  # the best k among those keys


class Searchable(Protocol):
    """The part of a knowledge base that a Retriever needs."""

    @property
    def store(self) -> Store: ...
    @property
    def encoder(self) -> TokenEncoder: ...
    @property
    def is_flag_world(self) -> bool: ...
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
        self._words: dict[bool, WordIndex] = {}  # by `weighted`, made by the first search of words
        self._flag_world: tuple[int, bool] | None = None  # of a commit
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
        hybrid: Hybrid = False,
        sections: bool = False,
    ) -> list[list[Hit]]:
        """The k best documents of each query, each with the passage that matched best.

        Args:
            k: number of documents; all of them if there are fewer.
            where: a filter on metadata: values by name, of a list any value, bounds of a range
                ({"year": {">=": 1780, "<": 1850}, "kind": ["cup", "plate"]}), or texts as for
                `--where` (["year>=1780", "kind=cup,plate"]).
            hybrid: True: fuse a second ranking, of passages that share words with the query's text
                (BM25), with late interaction's by reciprocal rank. It finds documents in a
                language that the retriever does not read. An image alone has no words. "auto": only
                with the embedded retriever, and then by score (`fuse_scores`): for a query without
                a picture, and for any query with words if the documents are not the flag world.
            sections: rank pages (`parent`) first, then return the best document of each of the k
                best pages. A document without a parent is a page of its own.

        Returns: for each query hits by falling score, equal scores by document id. `scores` has
            "retrieve", late interaction's; where words are searched also "lexical", BM25's (each if
            its ranking reached the document) and "fused", which is then the score: by rank at most
            2 / 61, by score 1 for the best match or more if words agree, below 0 for documents
            less alike than an unrelated one. Compare scores within one query only.

        Raises:
            UsageError: k < 1, or a name in `where` that no document has.
            Missing: `hybrid`, and this Python has no FTS5.
        """
        if k < 1:
            raise UsageError(f"k is {k}: ask for at least 1.")
        if isinstance(queries, str | Query):
            raise UsageError("Queries come in a list: give [Query(text, image)].")
        if any(not isinstance(query.text, str) for query in queries):
            raise UsageError('The text of a query is no text. Give one, or "" to search a picture.')
        passing = FilteredRows(self._store, where) if where else None
        if passing is not None and not len(passing.read()):  # before any model loads
            return [[] for _ in queries]
        if not queries or not len(self._kb):
            return [[] for _ in queries]
        encoded = [self.encoded_query(query, hybrid) for query in queries]
        tokens = self._kb.encoder.encode_queries(encoded)
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

    def adds_words(self, query: Query) -> bool:
        """Whether `hybrid` "auto" searches words for this query."""
        is_embedded = self._store.manifest.source == EMBEDDED
        is_known = has_picture(query) and is_embedded and self._is_flag_world()
        return is_embedded and not is_known and bool(subject_words(query.text))

    def encoded_query(self, query: Query, hybrid: Hybrid) -> Query:
        """The query as it is encoded: under "auto" the embedded retriever gets a picture without
        the text, unless the documents are the flag world, whose questions it knows."""
        is_embedded = self._store.manifest.source == EMBEDDED
        if hybrid == "auto" and is_embedded and has_picture(query) and not self._is_flag_world():
            return replace(query, text="")
        return query

    def _is_flag_world(self) -> bool:
        commit = self._store.db.number("commits")
        if self._flag_world is None or self._flag_world[0] != commit:
            self._flag_world = commit, self._kb.is_flag_world
        return self._flag_world[1]

    def _search(
        self,
        queries: Sequence[Query],
        tokens: NDArray[np.float32],
        k: int,
        passing: FilteredRows | None,
        hybrid: Hybrid,
        sections: bool,
    ) -> list[list[Hit]]:
        """The whole search, on one commit."""
        with self._store.db.snapshot():
            self._refresh()
            among = None
            if passing is not None:
                among = self._keys[np.isin(self._rows, passing.read())]
            ranked: dict[int, list[Candidate]] = {}
            if hybrid == "auto":
                chosen = [at for at, query in enumerate(queries) if self.adds_words(query)]
                for at in chosen:
                    ranked[at] = self._fuse_scores(queries[at], tokens[[at]], k, among, sections)
            rest = [at for at in range(len(queries)) if at not in ranked]
            found = self._rank(
                [queries[at].text for at in rest], tokens[rest], k, among, hybrid is True, sections
            )
            ranked |= dict(zip(rest, found, strict=True))
            in_order = [ranked[at] for at in range(len(queries))]
            passages = self._store.passages([found.key for row in in_order for found in row])
            documents = self._store.documents(sorted({row for row, _ in passages.values()}))
        return [to_hits(row, passages, documents) for row in in_order]

    def _rank(
        self,
        texts: Sequence[str],
        tokens: NDArray[np.float32],
        k: int,
        among: Keys | None,
        hybrid: bool,
        sections: bool,
    ) -> list[list[Candidate]]:
        """The k best of each query by late interaction; `hybrid`: fused with words, by rank."""
        if not texts:
            return []
        depth = max(k, FUSION_DEPTH) if hybrid else k
        by_tokens = partial(self._index.search, tokens)
        ranked = self._best_documents(by_tokens, len(texts), depth, among, sections)
        if not hybrid:
            return ranked
        by_words = partial(self._current_words().search, texts)
        lexical = self._best_documents(by_words, len(texts), depth, among, sections)
        return [fuse_rankings(*pair)[:k] for pair in zip(ranked, lexical, strict=True)]

    def _fuse_scores(
        self,
        query: Query,
        tokens: NDArray[np.float32],
        k: int,
        among: Keys | None,
        sections: bool,
    ) -> list[Candidate]:
        """The k best of one query by both scores, which all candidates of either ranking get."""
        by_tokens = partial(self._index.search, tokens)
        words = self._current_words(weighted=True)
        by_words = partial(words.search, [query.text])
        total = len(self._keys) if among is None else len(among)
        depth = max(k, SCORED_DOCUMENTS)
        sample = self._keys[:: -(-len(self._keys) // SAMPLED_PASSAGES)]
        counted = RARE_WORDS if self._is_flag_world() else RARE_WORDS_ALONE
        if has_picture(query):
            counted = RARE_WORDS_WITH_PICTURE
        scales = Scales(
            unrelated=float(by_tokens(len(sample), sample)[1].mean()),
            best=float(by_tokens(1, None)[1][0, 0]),
            words=counted * words.rare_word_idf,
        )
        while True:
            seen = self._best_documents(by_tokens, 1, depth, among, False)[0]
            named = self._best_documents(by_words, 1, depth, among, False)[0]
            rows = {found.row for found in (*seen, *named)}
            keys = self._keys[np.isin(self._rows, list(rows))]
            keys = keys if among is None else np.intersect1d(keys, among)
            seen, named = (
                self._best_documents(search, 1, len(rows), keys, False)[0]
                for search in (by_tokens, by_words)
            )
            fused = fuse_scores(seen, named, scales)
            pages = self._group_by_page(fused) if sections else fused
            if len(pages) >= k or depth >= total:
                return pages[:k]
            depth *= 4  # many documents of few pages

    def _current_words(self, weighted: bool = False) -> WordIndex:
        """The word index of this snapshot's passages. A key stands for the same text for ever."""
        words = self._words.get(weighted) or WordIndex(weighted)
        self._words[weighted] = words
        if not np.array_equal(words.keys, self._keys):
            new = np.setdiff1d(self._keys, words.keys, assume_unique=True)
            removed = np.setdiff1d(words.keys, self._keys, assume_unique=True)
            words.update(removed, self._store.passage_texts(new.tolist()))
        return words

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


def has_picture(query: Query) -> bool:
    """Whether there is a picture to search with."""
    return query.image is not None and query.image != ""
