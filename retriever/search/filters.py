"""Metadata filters (`where=`): which documents pass, and what to say if none does.

Knows how conditions become rows of the store's table of metadata: no document is opened. Does not
know how a filter is written (filter_language.py), what a value means (filter_values.py), passages
or scores.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from rag_vqa.errors import UsageError
from rag_vqa.formatting import quote_value
from rag_vqa.retriever.search.filter_language import Choice, NameFilter, read_where
from rag_vqa.retriever.search.filter_values import Value, range_spans
from rag_vqa.retriever.search.periods import DAY_LENGTH, read_period, read_stored_period
from rag_vqa.retriever.store.database import Database
from rag_vqa.retriever.store.document_store import Store
from rag_vqa.retriever.store.metadata_table import (
    LAST_CHARACTER,
    Span,
    first_texts,
    join_rows,
    metadata_values,
    rows_with_values,
    rows_without_value,
)
from rag_vqa.types import Document, Scalar, Where

_CHUNK = 400
Rows = NDArray[np.int64]


def matching_rows(store: Store, where: Where) -> Rows:
    """Ascending rows (n,) of the documents that pass the filter.

    Raises:
        UsageError: the filter cannot be read, or has a name that no document has.
    """
    rows: Rows | None = None
    for wanted in read_filter(store, where):
        passing = rows_of_name(store, wanted)
        rows = passing if rows is None else rows[np.isin(rows, passing, assume_unique=True)]
    return np.empty(0, np.int64) if rows is None else rows


class FilteredRows:
    """The documents that pass a filter, looked up once for each commit."""

    def __init__(self, store: Store, where: Where) -> None:
        self._store, self._where = store, where
        self._commit, self._rows = -1, np.empty(0, np.int64)

    def read(self) -> Rows:
        """Ascending rows (n,) at the commit that the store shows now. Raises as `matching_rows`."""
        commit = self._store.db.number("commits")
        if commit != self._commit:
            self._rows = matching_rows(self._store, self._where)
            self._commit = commit  # of before: a commit in between is noticed the next time
        return self._rows


def read_filter(store: Store, where: Where) -> list[NameFilter]:
    """What a filter asks of each name. Raises UsageError as `matching_rows`."""
    return read_where(where, store.metadata_names())


def rows_of_name(store: Store, wanted: NameFilter) -> Rows:
    """Ascending rows (n,) of the documents that have what is asked of one name."""
    db, name = store.db, wanted.name
    if wanted.choices is None:
        return rows_with_values(db, name, _range_spans(db, wanted))
    spans = [span for choice in wanted.choices for span in _chosen_spans(db, name, choice)]
    if wanted.bounds:
        spans = [s for span in spans for s in _passing_spans(db, name, span, wanted.in_range)]
    rows = rows_with_values(db, name, spans)
    if any(value.null for choice in wanted.choices for value in choice.values):
        rows = join_rows([rows, rows_without_value(db, name)])
    return rows


def _range_spans(db: Database, wanted: NameFilter) -> Iterator[Span]:
    """Stored values that pass all bounds."""
    numbers, texts, all_numbers_pass = range_spans(wanted.bounds)
    if all_numbers_pass:
        yield numbers
    else:
        yield from _passing_spans(db, wanted.name, numbers, wanted.in_range)
    if all(bound.value.period is not None for bound in wanted.bounds):
        yield from _passing_dates(db, wanted, texts)
    else:
        yield from _passing_spans(db, wanted.name, texts, wanted.in_range)


def _passing_dates(db: Database, wanted: NameFilter, texts: Span) -> Iterator[Span]:
    """Stored texts that pass bounds that are dates. Of most days only the day is tested."""

    def judge(first: str) -> tuple[Span, bool | None]:
        """The texts of one day, and whether they pass; None: each needs a test of its own."""
        if len(first) < DAY_LENGTH:
            return Span.single_value(first), wanted.in_range(first)
        name = first[:DAY_LENGTH]
        day, texts = read_period(name), Span(name, name + LAST_CHARACTER)
        if day is None:
            return texts, None
        found = {bound.holds_all_day(day) for bound in wanted.bounds}
        return texts, False if False in found else None if None in found else True

    judged = map(judge, first_texts(db, wanted.name, texts, DAY_LENGTH))
    for passes, run in itertools.groupby(judged, key=lambda pair: pair[1]):
        spans = [span for span, _ in run]
        joined = Span(spans[0].low, spans[-1].high).overlap(texts)
        if passes is None:
            yield from _passing_spans(db, wanted.name, joined, wanted.in_range)
        elif passes:
            yield joined


def _chosen_spans(db: Database, name: str, choice: Choice) -> list[Span]:
    """Stored values that a choice means."""
    if choice.whole is not None and (found := _equal_spans(db, name, choice.whole)):
        return found
    return [span for value in choice.values for span in _meant_spans(db, name, value)]


def _meant_spans(db: Database, name: str, value: Value) -> list[Span]:
    """Stored values that equal this one, and times on its day; if there are none, dates in its
    year or month."""
    found = _equal_spans(db, name, value)
    period = value.period
    if period is None or (found and period.is_longer_than_a_day):
        return found

    def is_within(stored: Scalar) -> bool:
        date = read_stored_period(stored) if isinstance(stored, str) else None
        return date is not None and date.is_within(period)

    return found + [
        passing
        for span in value.period_spans()
        for passing in _passing_spans(db, name, span, is_within)
    ]


def _equal_spans(db: Database, name: str, value: Value) -> list[Span]:
    return [s for span in value.spans() for s in _passing_spans(db, name, span, value.equals)]


def _passing_spans(
    db: Database, name: str, span: Span, passes: Callable[[Scalar], bool]
) -> Iterator[Span]:
    """Stored values of a span that pass a test: neighbours that all pass are one span."""
    first: Scalar = None
    last: Scalar = None
    for value in metadata_values(db, name, span):
        if passes(value):
            first = value if first is None else first
            last = value
        elif first is not None:
            yield Span(first, last)
            first = None
    if first is not None:
        yield Span(first, last)


def list_documents(store: Store, rows: Rows | None, after: str | None) -> Iterator[Document]:
    """Documents in the order in which they were first added; see `KnowledgeBase.list`.

    Args:
        rows: only these; None lists all.
    """
    start = 0
    if after is not None:
        previous = store.document(after)
        if previous is None:
            raise UsageError(
                f"No document has the id {quote_value(after)}: the list cannot go on there."
            )
        start, _ = previous
    if rows is None:
        return (document for _, document in store.all_documents(start))
    return _documents_in_order(store, rows[rows > start].tolist())


def _documents_in_order(store: Store, rows: Sequence[int]) -> Iterator[Document]:
    for start in range(0, len(rows), _CHUNK):
        documents = store.documents(rows[start : start + _CHUNK])
        yield from (documents[row] for row in sorted(documents))


def check_limit(limit: int | None) -> int | None:
    """The limit itself. Raises UsageError if it is negative."""
    if limit is not None and limit < 0:
        raise UsageError(f"limit is {limit}: give 0 or more, or None for all.")
    return limit
