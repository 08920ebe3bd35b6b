"""Metadata filters (`where=`): which documents have metadata of certain values.

Knows names, values, and what to answer to an unknown name. Does not know passages or scores.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from rag_vqa.errors import UsageError
from rag_vqa.formatting import did_you_mean, quote_value
from rag_vqa.retriever.store.document_store import Store
from rag_vqa.types import Document, Scalar

Where = Mapping[str, Scalar | Sequence[Scalar]]
_CHUNK = 400


def matching_rows(store: Store, where: Where) -> NDArray[np.int64]:
    """Rows (n,), ascending, of the documents that have, of each name, the value or one of a list.

    Raises:
        UsageError: a name that no document has.
    """
    names = store.metadata_names()
    chosen: NDArray[np.int64] | None = None
    for name, value in where.items():
        if name not in names:
            known = f"there is: {', '.join(names)}" if names else "no document has any"
            raise UsageError(
                f"No document has metadata {quote_value(name)}; {known}.{did_you_mean(name, names)}"
            )
        values = [value] if isinstance(value, str | int | float | None) else list(value)
        found = store.rows_where(name, values)
        chosen = found if chosen is None else np.intersect1d(chosen, found)
    return np.empty(0, np.int64) if chosen is None else chosen


def list_documents(store: Store, where: Where | None, after: str | None) -> Iterator[Document]:
    """Documents in the order of their first adding; see `KnowledgeBase.list`."""
    start = 0
    if after is not None:
        found = store.document(after)
        if found is None:
            raise UsageError(
                f"No document has the id {quote_value(after)}: the list cannot go on there."
            )
        start, _ = found
    if not where:
        return (document for _, document in store.all_documents(start))
    chosen = matching_rows(store, where)
    return _documents_in_order(store, chosen[chosen > start].tolist())


def _documents_in_order(store: Store, chosen: Sequence[int]) -> Iterator[Document]:
    for at in range(0, len(chosen), _CHUNK):
        found = store.documents(chosen[at : at + _CHUNK])
        yield from (found[row] for row in sorted(found))


def check_limit(limit: int | None) -> int | None:
    """How many are asked for. Raises UsageError for fewer than none."""
    if limit is not None and limit < 0:
        raise UsageError(f"limit is {limit}: give 0 or more, or None for all.")
    return limit
