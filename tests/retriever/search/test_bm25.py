"""BM25 by its formula, words of many scripts, and texts that are data."""

import math
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rag_vqa.errors import Missing
from rag_vqa.retriever.index import NO_KEY
from rag_vqa.retriever.search import bm25 as search_bm25
from rag_vqa.retriever.search.bm25 import MAX_QUERY_WORDS, WordIndex, query_words

NONE = np.empty(0, np.int64)


def holding(*texts: str) -> WordIndex:
    """Words of those texts, by keys 1, 2, …"""
    made = WordIndex()
    made.update(NONE, enumerate(texts, 1))
    return made


def found(held: WordIndex, text: str, k: int = 9) -> list[int]:
    keys, _ = held.search([text], k)
    return [key for key in keys[0].tolist() if key != NO_KEY]


def bm25(texts: Sequence[str], query: str) -> NDArray[np.float64]:
    """As SQLite documents it: k1 1.2, b 0.75, a word's idf never under 1e-6."""
    rows = [text.split() for text in texts]
    mean = sum(map(len, rows)) / len(rows)
    scores = np.zeros(len(rows))
    for word in dict.fromkeys(query.split()):
        having = sum(word in row for row in rows)
        idf = max(math.log((len(rows) - having + 0.5) / (having + 0.5)), 1e-6)
        for n, row in enumerate(rows):
            times = row.count(word)
            scores[n] += idf * times * 2.2 / (times + 1.2 * (0.25 + 0.75 * len(row) / mean))
    return scores


def test_scores_and_order_are_the_formula_s() -> None:
    rng = np.random.default_rng(0)
    made = [
        " ".join(f"w{n}" for n in rng.zipf(1.5, int(rng.integers(3, 30))) % 40) for _ in range(80)
    ]
    queries = ["w1 w7 w9", "w2", "w3 w3 w20", "w999"]
    keys, scores = holding(*made).search(queries, 80)
    for row, values, query in zip(keys, scores, queries, strict=True):
        due = bm25(made, query)
        shared = [n for n in range(80) if set(query.split()) & set(made[n].split())]
        assert sorted(row[row != NO_KEY] - 1) == shared
        np.testing.assert_allclose(values[: len(shared)], due[row[: len(shared)] - 1], atol=1e-5)
        assert (values[len(shared) :] == -np.inf).all() and (row[len(shared) :] == NO_KEY).all()
        assert list(values) == sorted(values, reverse=True)


def test_ties_go_to_the_lower_key_and_among_chooses() -> None:
    held = holding(*["same words"] * 9)
    assert found(held, "words", 4) == [1, 2, 3, 4]
    keys, _ = held.search(["words"], 3, np.array([8, 3, 77]))
    assert keys.tolist() == [[3, 8, NO_KEY]]


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("Die Hauptstadt von Österreich ist Wien.", "HAUPTSTADT"),
        ("Die Hauptstadt von Österreich ist Wien.", "osterreich?"),
        ("東京都は日本の首都です。", "日本はどこ"),
        ("北京是中华人民共和国的首都", "首都"),
        ("서울은 대한민국의 수도이다", "대한민국은"),
        ("กรุงเทพมหานครเป็นเมืองหลวง", "เมืองหลวง"),
        ("عاصمة لبنان هي بيروت", "بيروت؟"),
        ("भारत की राजधानी नई दिल्ली है", "राजधानी"),
        ("Столица России — Москва", "москва"),
    ],
)
def test_words_of_many_scripts(text: str, query: str) -> None:
    assert found(holding("nothing of it", text, "— 1"), query) == [2]


def test_two_characters_that_are_no_neighbours_are_no_word() -> None:
    assert found(holding("京東"), "東京") == []


@pytest.mark.parametrize(
    "query",
    [
        '"',
        "b*",
        "text: b",
        "b OR",
        "NEAR(b",
        "-b",
        "^b",
        "(b",
        "b AND NOT",
        "b\0",
        "\ud800 b",
        "'b",
    ],
)
def test_a_question_is_data(query: str) -> None:
    held = holding("b", "bc", "text", "or and not near")
    due = {1} if "b" in query_words(query) else set()
    assert due <= set(found(held, query)) and 2 not in found(held, query)


def test_a_question_of_any_length_is_put() -> None:
    many = " ".join(f"x{n}" for n in range(100_000))
    held = holding("x3", f"x{MAX_QUERY_WORDS}")
    assert len(query_words(many)) == MAX_QUERY_WORDS and found(held, many) == [1]


def test_a_change_is_whole_or_nothing() -> None:
    held = holding("puffin", "stork")

    def broken() -> Iterator[tuple[int, str]]:
        yield 3, "puffin"
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        held.update(np.array([1]), broken())
    assert found(held, "puffin") == [1] and held.keys.tolist() == [1, 2]
    held.update(np.array([1]), [(3, "puffin")])
    assert found(held, "puffin") == [3] and held.keys.tolist() == [2, 3]


def test_a_python_without_fts5_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    class Without(sqlite3.Connection):
        def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
            return super().execute(sql.replace("fts5", "no_fts5"), *values)

    connect = sqlite3.connect
    monkeypatch.setattr(
        search_bm25.sqlite3, "connect", lambda *a, **named: connect(*a, factory=Without, **named)
    )
    with pytest.raises(Missing, match=r"no_fts5.*Install another build of Python"):
        WordIndex()
