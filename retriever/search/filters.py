"""Metadata filters (`where=`): which documents have metadata of certain values.

Knows names, values, and what to answer to an unknown name. Does not know passages or scores.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from rag_vqa.errors import UsageError
from rag_vqa.formatting import did_you_mean, quote_value
from rag_vqa.retriever.store.document_store import Store
from rag_vqa.types import Document, Where

_CHUNK = 400


def matching_rows(store: Store, where: Where) -> NDArray[np.int64]:
    """Ascending rows (n,) of the documents that have the value, or one of a list, of each name.

    Raises:
        UsageError: a name that no document has.
    """
    names = store.metadata_names()
    rows: NDArray[np.int64] | None = None
    for name, value in where.items():
        if name not in names:
            known = f"there is: {', '.join(names)}" if names else "no document has any"
            raise UsageError(
                f"No document has metadata {quote_value(name)}; {known}.{did_you_mean(name, names)}"
            )
        values = [value] if isinstance(value, str | int | float | None) else list(value)
        matching = store.rows_where(name, values)
        rows = matching if rows is None else np.intersect1d(rows, matching)
    return np.empty(0, np.int64) if rows is None else rows


def list_documents(store: Store, where: Where | None, after: str | None) -> Iterator[Document]:
    """Documents in the order in which they were first added; see `KnowledgeBase.list`."""
    start = 0
    if after is not None:
        previous = store.document(after)
        if previous is None:
            raise UsageError(
                f"No document has the id {quote_value(after)}: the list cannot go on there."
            )
        start, _ = previous
    if not where:
        return (document for _, document in store.all_documents(start))
    rows = matching_rows(store, where)
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
