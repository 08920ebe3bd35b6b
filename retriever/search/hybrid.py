"""Hybrid search: BM25 over the passages' words, fused with late interaction by reciprocal rank.

Knows words, SQLite's FTS5, rankings and scores. Does not know documents on disk, nor the index of
tokens. The word index lives in a temporary database of its own, made of passages by the first
hybrid search, in seconds, and brought up to date by their keys. So a knowledge base is neither
bigger nor slower to build for it, older ones have it too, and a read-only folder is no obstacle.

Words are what Unicode calls letters, digits and marks, without case and accents; no language's
endings are cut. Where a script sets no spaces between words (Chinese, Japanese, Thai, …), and in
Korean, a word is two neighbouring characters. FTS5's own "trigram" would need three, and most
Chinese words are of two.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TypeVar
from unicodedata import category

import numpy as np
from numpy.typing import NDArray

from rag_vqa.errors import Missing
from rag_vqa.retriever.index import NO_KEY
from rag_vqa.types import Document, Hit, Passage

Keys = NDArray[np.int64]
Scores = NDArray[np.float32]
MAX_QUERY_WORDS = (
    256  # different words of a question that are looked for; an encoder reads 77 tokens
)
_CATEGORIES = "L* N* Co Mn Mc"
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai and Lao, Burmese, Khmer
    "\u3005-\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30ff\uff66-\uff9f"  # Japanese
    "\uac00-\ud7a3\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+"  # Korean, Han
)
RRF_CONSTANT = 60  # as published: how little the first ranks stand out
T = TypeVar("T", bound=Hashable)


class WordIndex:
    """Rows of text by key; see `Index` for the shapes of an answer."""

    def __init__(self) -> None:
        self.keys: Keys = np.empty(0, np.int64)
        # "": a temporary file, which SQLite writes only where memory is short, and removes.
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        try:
            self._db.execute(
                "CREATE VIRTUAL TABLE words USING fts5(text, tokenize="
                f"\"unicode61 remove_diacritics 2 categories '{_CATEGORIES}'\")"
            )
        except sqlite3.OperationalError as error:
            raise Missing(
                f"Searching by words needs SQLite's FTS5, which this Python lacks ({error}). "
                "Install another build of Python, or search without: retriever.hybrid=false"
            ) from error

    def change(self, gone: Keys, new: Iterable[tuple[int, str]]) -> None:
        """Let go of the rows of keys (n,), and take new ones: all of it or nothing."""
        added: list[int] = []

        def texts() -> Iterator[tuple[int, str]]:
            for key, text in new:
                added.append(key)
                yield key, _pair_unspaced(text)

        self._db.execute("BEGIN")
        try:
            self._db.executemany("DELETE FROM words WHERE rowid = ?", ((k,) for k in gone.tolist()))
            self._db.executemany("INSERT INTO words (rowid, text) VALUES (?, ?)", texts())
            self._db.execute("COMMIT")
        finally:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        left = self.keys[~np.isin(self.keys, gone)]
        self.keys = np.union1d(left, np.array(added, np.int64))

    def search(
        self, texts: Sequence[str], k: int, among: Keys | None = None
    ) -> tuple[Keys, Scores]:
        """The k best rows for each text by BM25 (SQLite's: k1 1.2, b 0.75), best first, ties to
        the lower key.

        Rows that share no word with a text are not found; those short of k end in NO_KEY and -inf.
        A text is data: none of it is taken for FTS5's query language.

        Returns: keys (Q, k) and scores (Q, k), higher is better.
        """
        found = np.full((len(texts), k), NO_KEY, np.int64)
        scores = np.full((len(texts), k), -np.inf, np.float32)
        for row, text in enumerate(texts):
            keys, values = self._matches(query_words(text))
            if among is not None:
                there = np.isin(keys, among)
                keys, values = keys[there], values[there]
            best = np.lexsort((keys, -values))[:k]
            found[row, : len(best)], scores[row, : len(best)] = keys[best], values[best]
        return found, scores

    def close(self) -> None:
        """Let go of the temporary database."""
        self._db.close()

    def _matches(self, asked: Sequence[str]) -> tuple[Keys, Scores]:
        if not asked:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        query = " OR ".join(f'"{word}"' for word in asked)
        # FTS5's bm25 is negative: lower is better.
        sql = "SELECT rowid, -bm25(words) FROM words WHERE words MATCH ?"
        rows = self._db.execute(sql, [query]).fetchall()
        return np.array([k for k, _ in rows], np.int64), np.array([s for _, s in rows], np.float32)


def query_words(text: str) -> list[str]:
    """The different words of a question, the first MOST.

    >>> query_words('Was isst "der" OR die*? 东京都')
    ['Was', 'isst', 'der', 'OR', 'die', '东京', '京都']
    """
    kept = "".join(c if _is_word_character(c) else " " for c in _pair_unspaced(text))
    return list(dict.fromkeys(kept.split()))[:MAX_QUERY_WORDS]


def _is_word_character(character: str) -> bool:
    kind = category(character)
    return kind[0] in "LN" or kind in ("Co", "Mn", "Mc")


def _pair_unspaced(text: str) -> str:
    """Runs of scripts without spaces as pairs of neighbours; all else as it is."""

    def pairs(run: re.Match[str]) -> str:
        found = run[0]
        return f" {' '.join(a + b for a, b in pairwise(found)) or found} "

    return _UNSPACED.sub(pairs, text)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A document, by id and row, with its best passage, by key, and that one's score.

    Attributes:
        page: the row again, or the parent, where that is what counts.
        scores: by stage, where there was more than one.
    """

    score: float
    id: str
    row: int
    key: int
    page: int | str
    scores: Mapping[str, float] = field(default_factory=dict)


def reciprocal_rank_fusion(rankings: Iterable[Iterable[T]]) -> dict[T, float]:
    """Σ 1 / (60 + rank) of each thing over the rankings that it is in, ranks from 1.

    Source: Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and
    individual Rank Learning Methods", SIGIR 2009.

    >>> reciprocal_rank_fusion([["a", "b"], ["b"]]) == {"a": 1 / 61, "b": 1 / 62 + 1 / 61}
    True
    """
    fused: dict[T, float] = {}
    for ranking in rankings:
        for rank, thing in enumerate(ranking, 1):
            fused[thing] = fused.get(thing, 0.0) + 1 / (RRF_CONSTANT + rank)
    return fused


def fuse_rankings(by_tokens: Sequence[Candidate], by_words: Sequence[Candidate]) -> list[Candidate]:
    """One ranking of two, equal scores by id. What both found is as late interaction found it."""
    stages = {"lexical": by_words, "retrieve": by_tokens}
    scores: dict[int | str, dict[str, float]] = {}
    best: dict[int | str, Candidate] = {}
    for stage, ranking in stages.items():
        for hit in ranking:
            scores.setdefault(hit.page, {})[stage] = hit.score
            best[hit.page] = hit
    for page, score in reciprocal_rank_fusion(
        [hit.page for hit in ranking] for ranking in stages.values()
    ).items():
        best[page] = replace(best[page], score=score, scores={**scores[page], "fused": score})
    return sorted(best.values(), key=lambda hit: (-hit.score, hit.id))


def to_hits(
    found: Sequence[Candidate],
    passages: Mapping[int, tuple[int, Passage]],
    documents: Mapping[int, Document],
) -> list[Hit]:
    """As hits: passages with the rows of their documents by key, documents by row."""
    return [
        Hit(documents[hit.row], passages[hit.key][1], rank, hit.score,
            hit.scores or {"retrieve": hit.score})
        for rank, hit in enumerate(found, 1)
    ]  # fmt: skip
