"""Hybrid search: BM25 over the passages' words, fused with late interaction by reciprocal rank.

Knows words, SQLite's FTS5, rankings and scores. Does not know documents on disk, nor the index of
tokens. The first hybrid search makes the word index from the passages, in seconds, in a temporary
database; later ones update it by keys. So a knowledge base is neither bigger nor slower to build
for it, older ones have it too, and a read-only folder is no obstacle.

Words are runs of Unicode's letters, digits and marks, without case and accents, not stemmed. In
scripts without spaces between words (Chinese, Japanese, Thai, …), and in Korean, a word is two
neighbouring characters. FTS5's own "trigram" would need three, and most Chinese words have two.
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

from rag_vqa.errors import Missing
from rag_vqa.retriever.index import NO_KEY, Keys, Scores
from rag_vqa.types import Document, Hit, Passage

# Different words of a question that are searched for; an encoder reads 77 tokens.
MAX_QUERY_WORDS = 256
_CATEGORIES = "L* N* Co Mn Mc"
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai and Lao, Burmese, Khmer
    "\u3005-\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30ff\uff66-\uff9f"  # Japanese
    "\uac00-\ud7a3\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+"  # Korean, Han
)
RRF_CONSTANT = 60  # as published: the larger, the less the first ranks stand out
T = TypeVar("T", bound=Hashable)


class WordIndex:
    """Passages' words by key; see `Index` for the shapes of results."""

    def __init__(self) -> None:
        self.keys: Keys = np.empty(0, np.int64)
        # "": a temporary file, which SQLite writes only if memory is short, and removes.
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

    def update(self, removed: Keys, new: Iterable[tuple[int, str]]) -> None:
        """Remove the rows of these keys (n,) and add new ones, all of it or nothing."""
        added: list[int] = []

        def texts() -> Iterator[tuple[int, str]]:
            for key, text in new:
                added.append(key)
                yield key, _pair_unspaced(text)

        self._db.execute("BEGIN")
        try:
            self._db.executemany(
                "DELETE FROM words WHERE rowid = ?", ((k,) for k in removed.tolist())
            )
            self._db.executemany("INSERT INTO words (rowid, text) VALUES (?, ?)", texts())
            self._db.execute("COMMIT")
        finally:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        remaining = self.keys[~np.isin(self.keys, removed)]
        self.keys = np.union1d(remaining, np.array(added, np.int64))

    def search(
        self, texts: Sequence[str], k: int, among: Keys | None = None
    ) -> tuple[Keys, Scores]:
        """The k best rows for each text by BM25, best first, ties to the lower key.

        BM25 is SQLite's, with k1 1.2 and b 0.75. Rows that share no word with a text are not found;
        results short of k end in NO_KEY and -inf. No part of a text is read as FTS5's query syntax.

        Returns: keys (Q, k) and scores (Q, k), higher is better.
        """
        best_keys = np.full((len(texts), k), NO_KEY, np.int64)
        scores = np.full((len(texts), k), -np.inf, np.float32)
        for row, text in enumerate(texts):
            keys, values = self._matches(query_words(text))
            if among is not None:
                is_wanted = np.isin(keys, among)
                keys, values = keys[is_wanted], values[is_wanted]
            order = np.lexsort((keys, -values))[:k]
            best_keys[row, : len(order)], scores[row, : len(order)] = keys[order], values[order]
        return best_keys, scores

    def close(self) -> None:
        """Close and remove the temporary database."""
        self._db.close()

    def _matches(self, words: Sequence[str]) -> tuple[Keys, Scores]:
        """Keys and scores of all rows that have one of the words, in no order."""
        if not words:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        query = " OR ".join(f'"{word}"' for word in words)
        # FTS5's bm25 is negative: lower is better.
        sql = "SELECT rowid, -bm25(words) FROM words WHERE words MATCH ?"
        rows = self._db.execute(sql, [query]).fetchall()
        return np.array([k for k, _ in rows], np.int64), np.array([s for _, s in rows], np.float32)


def query_words(text: str) -> list[str]:
    """The different words of a question, the first MAX_QUERY_WORDS of them.

    >>> query_words('Was isst "der" OR die*? 东京都')
    ['Was', 'isst', 'der', 'OR', 'die', '东京', '京都']
    """
    spaced = "".join(c if _is_word_character(c) else " " for c in _pair_unspaced(text))
    return list(dict.fromkeys(spaced.split()))[:MAX_QUERY_WORDS]


def _is_word_character(character: str) -> bool:
    kind = category(character)
    return kind[0] in "LN" or kind in ("Co", "Mn", "Mc")


def _pair_unspaced(text: str) -> str:
    """Rewrites runs of scripts without spaces as pairs of neighbouring characters."""

    def pairs_of(run: re.Match[str]) -> str:
        characters = run[0]
        return f" {' '.join(a + b for a, b in pairwise(characters)) or characters} "

    return _UNSPACED.sub(pairs_of, text)


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
