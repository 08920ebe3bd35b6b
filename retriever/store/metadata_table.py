"""The table of metadata, as filters read it: its names, their values, the documents of a value.

Knows the order in which SQLite keeps values (null, numbers, texts), and how a million rows are read
fast. Does not know what a filter means (search/filter_values.py), and opens no document.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from rag_vqa.retriever.store.database import Database
from rag_vqa.retriever.store.segments import Keys
from rag_vqa.types import Scalar

_FEW_VALUES = 4096  # so many are looked up one by one, which is faster than reading all rows
_MOST_BITS = 10**9
LAST_CHARACTER = "\U0010ffff"


@dataclass(frozen=True, slots=True)
class Span:
    """Values from `low` to `high`, in SQLite's order: numbers, then texts by their bytes.

    Attributes:
        low_open, high_open: that end is not in the span.
    """

    low: Scalar | bytes
    high: Scalar | bytes
    low_open: bool = False
    high_open: bool = False

    @classmethod
    def single_value(cls, value: Scalar) -> Span:
        """One value."""
        return cls(value, value)

    def overlap(self, other: Span) -> Span:
        """What lies in both; both are of numbers, or of texts."""
        (low, low_open), (high, high_open) = (self.low, self.low_open), (self.high, self.high_open)
        if _order(other.low, other.low_open) > _order(low, low_open):
            low, low_open = other.low, other.low_open
        if _order(other.high, not other.high_open) < _order(high, not high_open):
            high, high_open = other.high, other.high_open
        return Span(low, high, low_open, high_open)

    @property
    def condition(self) -> str:
        """The span as SQL; its parameters are `low` and `high`."""
        low, high = ">" if self.low_open else ">=", "<" if self.high_open else "<="
        return f"value {low} ? AND value {high} ?"


def _order(end: Any, more: bool) -> tuple[bool, Any, bool]:
    return isinstance(end, bytes), end, more


NUMBERS = Span(-math.inf, math.inf)
TEXTS = Span("", b"", high_open=True)  # any bytes are greater than any text, and none are stored


def metadata_names(db: Database) -> list[str]:
    """All names that metadata of any document uses, in order."""
    # One look-up a name: DISTINCT would read a row of each document.
    query = """WITH RECURSIVE found(name) AS (
        SELECT min(name) FROM metadata UNION ALL
        SELECT (SELECT min(name) FROM metadata WHERE name > found.name) FROM found
        WHERE found.name IS NOT NULL) SELECT name FROM found WHERE name IS NOT NULL"""
    names = [name for (name,) in db.rows(query)]
    if not all(isinstance(name, str) for name in names):
        raise db.corruption_error("a name of metadata is no text")
    return names


def metadata_values(db: Database, name: str, span: Span, limit: int | None = None) -> list[Any]:
    """The values that metadata `name` has in a span, each once, in order; at most `limit`."""
    few = min(_FEW_VALUES, _FEW_VALUES if limit is None else limit)
    query = f"""WITH RECURSIVE found(value) AS (
        SELECT min(value) FROM metadata WHERE name = ? AND {span.condition} UNION ALL
        SELECT (SELECT min(value) FROM metadata WHERE name = ? AND value > found.value
                AND value {"<" if span.high_open else "<="} ?)
        FROM found WHERE found.value IS NOT NULL
        ) SELECT value FROM found WHERE value IS NOT NULL LIMIT ?"""
    bounds = [name, span.low, span.high]
    found = [value for (value,) in db.rows(query, [*bounds, name, span.high, few + 1])]
    if len(found) <= few or (limit is not None and limit <= few):
        return found[:limit]
    query = f"SELECT DISTINCT value FROM metadata WHERE name = ? AND {span.condition} LIMIT ?"
    return [value for (value,) in db.rows(query, [*bounds, -1 if limit is None else limit])]


def first_texts(db: Database, name: str, span: Span, length: int) -> list[str]:
    """Of the texts in a span that begin with the same `length` characters the first one, in order.

    Shorter texts are all returned. One look-up each: a million times may lie on few days.
    """
    query = f"""WITH RECURSIVE found(value) AS (
        SELECT min(value) FROM metadata WHERE name = ? AND {span.condition} UNION ALL
        SELECT (SELECT min(value) FROM metadata WHERE name = ?
                AND value > CASE WHEN length(found.value) < ? THEN found.value
                            ELSE substr(found.value, 1, ?) || ? END
                AND value {"<" if span.high_open else "<="} ?)
        FROM found WHERE found.value IS NOT NULL
        ) SELECT value FROM found WHERE value IS NOT NULL"""
    bounds = [name, span.low, span.high]
    return [
        v for (v,) in db.rows(query, [*bounds, name, length, length, LAST_CHARACTER, span.high])
    ]


def rows_with_values(db: Database, name: str, spans: Iterable[Span]) -> Keys:
    """Rows (n,), ascending, of documents whose metadata `name` has a value in one of the spans."""
    head = "FROM metadata WHERE name = ? AND"
    return join_rows(
        part
        for span in spans
        for part in _read_rows(
            db, "document", f"{head} {span.condition}", [name, span.low, span.high]
        )
    )


def rows_without_value(db: Database, name: str) -> Keys:
    """Rows (n,), ascending, of documents whose metadata `name` is null or not there."""
    everything = join_rows(_read_rows(db, "row", "FROM documents", []))
    having = join_rows(
        _read_rows(db, "document", "FROM metadata WHERE name = ? AND value IS NOT NULL", [name])
    )
    return everything[~np.isin(everything, having, assume_unique=True)]


def count_values(db: Database, name: str, values: Iterable[Scalar]) -> list[int]:
    """How many documents have each value of metadata `name`."""
    query = "SELECT count(DISTINCT document) FROM metadata WHERE name = ? AND value = ?"
    return [int(db.rows(query, [name, value])[0][0]) for value in values]


def _read_rows(db: Database, column: str, tail: str, values: list[Any]) -> Iterator[Keys]:
    # As one text of numbers: a third of the time of a tuple for each row.
    query = f"SELECT group_concat({column}), sum(typeof({column}) <> 'integer') {tail}"
    ((joined, wrong),) = db.rows(query, values)
    if wrong:
        raise db.corruption_error("metadata is not of documents: a row's number is no number")
    if joined:
        yield np.fromstring(joined, np.int64, sep=",")


def join_rows(parts: Iterable[Keys]) -> Keys:
    """All rows once, ascending: by a bit for each, because sorting a million takes longer."""
    listed = [part for part in parts if len(part)]
    last = max((int(part.max()) for part in listed), default=-1)
    if last > _MOST_BITS or any(int(part.min()) < 0 for part in listed):  # a forged file
        return np.unique(np.concatenate(listed))
    found = np.zeros(last + 1, bool)
    for part in listed:
        found[part] = True
    return np.flatnonzero(found).astype(np.int64, copy=False)
