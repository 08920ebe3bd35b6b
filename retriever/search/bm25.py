"""BM25: ranks passages by the words that they share with a query.

Knows words, SQLite's FTS5 and scores. Does not know documents on disk, nor how its ranking is fused
with late interaction's. The first hybrid search makes the word index from the passages, in seconds,
in a temporary database; later ones update it by keys. So a knowledge base is neither bigger nor
slower to build for it, older ones have it too, and a read-only folder is no obstacle.

Words are runs of Unicode's letters, digits and marks, without case and accents, not stemmed. In
scripts without spaces between words (Chinese, Japanese, Thai, …), and in Korean, a word is two
neighbouring characters. FTS5's own "trigram" would need three, and most Chinese words have two.

A weighted index serves people's questions: it knows English stems (Porter's), leaves out English
words that every question has, finds names with one letter wrong, and counts a passage's first line,
which is its title and section, several times.
"""

from __future__ import annotations

import math
import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from unicodedata import category

import numpy as np

from rag_vqa.errors import Missing
from rag_vqa.retriever.index import NO_KEY, Keys, Scores

# Different words of a question that are searched for; an encoder reads 77 tokens.
MAX_QUERY_WORDS = 256
HEAD_WEIGHT = 4.0  # of a passage's first line; chosen on the demo's and the museum's dev questions
LEAST_IDF = 1e-6  # FTS5's, of a word that half of the rows have
# English words that say how a question is put, not what it asks about.
_STOP_WORDS = """
    a about an and are as at be been by can could did do does done for from give had has have he her
    here his how i in into is it its know many may me might much my name of on or our please s say
    shall she should tell than that the their them then there these they this those to was we were
    what when where which who whom whose why will with would you your
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())
_LEAST_LETTERS = 5  # of a word that is also searched with one letter wrong
_MOST_CORRECTED = 3  # unknown words of a question that are corrected
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_CATEGORIES = "L* N* Co Mn Mc"
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai and Lao, Burmese, Khmer
    "\u3005-\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30ff\uff66-\uff9f"  # Japanese
    "\uac00-\ud7a3\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+"  # Korean, Han
)


class WordIndex:
    """Passages' words by key; see `Index` for the shapes of results.

    Args:
        weighted: with stems, stop words, corrected names and a weight for first lines.
    """

    def __init__(self, weighted: bool = False) -> None:
        self.keys: Keys = np.empty(0, np.int64)
        self._weighted = weighted
        # "": a temporary file, which SQLite writes only if memory is short, and removes.
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        try:
            self._db.execute(
                "CREATE VIRTUAL TABLE words USING fts5(head, text, tokenize="
                f'"{"porter " * weighted}unicode61 remove_diacritics 2 '
                f"categories '{_CATEGORIES}'\")"
            )
        except sqlite3.OperationalError as error:
            raise Missing(
                f"Searching by words needs SQLite's FTS5, which this Python lacks ({error}). "
                "Install another build of Python, or search without: retriever.hybrid=false"
            ) from error

    def update(self, removed: Keys, new: Iterable[tuple[int, str]]) -> None:
        """Remove the rows of these keys (n,) and add new ones, all of it or nothing."""
        added: list[int] = []

        def texts() -> Iterator[tuple[int, str, str]]:
            for key, text in new:
                added.append(key)
                first, _, rest = text.partition("\n")
                head, body = (first, rest) if self._weighted and rest else ("", text)
                yield key, _pair_unspaced(head), _pair_unspaced(body)

        self._db.execute("BEGIN")
        try:
            self._db.executemany(
                "DELETE FROM words WHERE rowid = ?", ((k,) for k in removed.tolist())
            )
            self._db.executemany("INSERT INTO words (rowid, head, text) VALUES (?, ?, ?)", texts())
            self._db.execute("COMMIT")
        finally:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        remaining = self.keys[~np.isin(self.keys, removed)]
        self.keys = np.union1d(remaining, np.array(added, np.int64))

    @property
    def rare_word_idf(self) -> float:
        """Inverse document frequency of a word that one row has, as FTS5 computes it."""
        return max(math.log(max(len(self.keys) - 0.5, 1.0) / 1.5), LEAST_IDF)

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
            keys, values = self._matches(self._words_of(text))
            if among is not None:
                is_wanted = np.isin(keys, among)
                keys, values = keys[is_wanted], values[is_wanted]
            order = np.lexsort((keys, -values))[:k]
            best_keys[row, : len(order)], scores[row, : len(order)] = keys[order], values[order]
        return best_keys, scores

    def close(self) -> None:
        """Close and remove the temporary database."""
        self._db.close()

    def _words_of(self, text: str) -> list[str]:
        """The words to search for; unknown ones together with what they may be meant for."""
        if not self._weighted:
            return query_words(text)
        words = subject_words(text)
        long = [w for w in words if w.isascii() and w.isalpha() and len(w) >= _LEAST_LETTERS]
        unknown = [word for word in long if not self._has(word)][:_MOST_CORRECTED]
        return words + [found for word in unknown for found in self._similar_words(word)]

    def _similar_words(self, word: str) -> list[str]:
        """Words of the rows that differ in one letter, or in the order of two."""
        word = word.lower()
        cuts = [(word[:at], word[at:]) for at in range(len(word) + 1)]
        others = [a + b[1:] for a, b in cuts if b]
        others += [a + b[1] + b[0] + b[2:] for a, b in cuts if len(b) > 1]
        others += [a + c + rest for a, b in cuts for c in _LETTERS for rest in {b, b[1:]}]
        return [other for other in dict.fromkeys(others) if other != word and self._has(other)]

    def _has(self, word: str) -> bool:
        sql = "SELECT 1 FROM words WHERE words MATCH ? LIMIT 1"
        return self._db.execute(sql, [f'"{word}"']).fetchone() is not None

    def _matches(self, words: Sequence[str]) -> tuple[Keys, Scores]:
        """Keys and scores of all rows that have one of the words, in no order."""
        if not words:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        query = " OR ".join(f'"{word}"' for word in words)
        # FTS5's bm25 is negative: lower is better.
        sql = "SELECT rowid, -bm25(words, ?, 1.0) FROM words WHERE words MATCH ?"
        weight = HEAD_WEIGHT if self._weighted else 1.0
        rows = self._db.execute(sql, [weight, query]).fetchall()
        return np.array([k for k, _ in rows], np.int64), np.array([s for _, s in rows], np.float32)


def query_words(text: str) -> list[str]:
    """The different words of a question, the first MAX_QUERY_WORDS of them.

    >>> query_words('Was isst "der" OR die*? 东京都')
    ['Was', 'isst', 'der', 'OR', 'die', '东京', '京都']
    """
    spaced = "".join(c if _is_word_character(c) else " " for c in _pair_unspaced(text))
    return list(dict.fromkeys(spaced.split()))[:MAX_QUERY_WORDS]


def subject_words(text: str) -> list[str]:
    """The words of a question that say what it asks about.

    >>> subject_words("What is the capital of Jamaica?"), subject_words("What is this?")
    (['capital', 'Jamaica'], [])
    """
    return [word for word in query_words(text) if word.lower() not in STOP_WORDS]


def _is_word_character(character: str) -> bool:
    kind = category(character)
    return kind[0] in "LN" or kind in ("Co", "Mn", "Mc")


def _pair_unspaced(text: str) -> str:
    """Rewrites runs of scripts without spaces as pairs of neighbouring characters."""

    def pairs_of(run: re.Match[str]) -> str:
        characters = run[0]
        return f" {' '.join(a + b for a, b in pairwise(characters)) or characters} "

    return _UNSPACED.sub(pairs_of, text)
