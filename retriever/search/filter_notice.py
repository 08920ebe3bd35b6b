"""What to say if no document passes a filter: which values there are.

Knows how values look in one line. Does not know where the line is shown.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Sequence

import numpy as np

from rag_vqa.formatting import one_line
from rag_vqa.retriever.search.filter_language import NameFilter
from rag_vqa.retriever.search.filter_values import read_number
from rag_vqa.retriever.search.filters import read_filter, rows_of_name
from rag_vqa.retriever.search.periods import Period, read_period
from rag_vqa.retriever.store.document_store import Store
from rag_vqa.retriever.store.metadata_table import (
    NUMBERS,
    TEXTS,
    Span,
    count_values,
    metadata_values,
    rows_with_values,
)
from rag_vqa.types import Scalar, Where

_SHOWN = 10  # values of one name
_LISTED = 2000  # values that are compared to find the nearest, or the least and the greatest
_LONGEST = 60  # characters of one value


def describe_no_match(store: Store, where: Where | None) -> str:
    """Why no document passes the filter, and which values there are; "" if a document passes.

    Raises:
        UsageError: as `filters.matching_rows`.
    """
    if not where:
        return ""
    found = [(wanted, rows_of_name(store, wanted)) for wanted in read_filter(store, where)]
    if not found or len(functools.reduce(np.intersect1d, [rows for _, rows in found])):
        return ""
    failing = [wanted for wanted, rows in found if not len(rows)]
    if failing:
        asked = ", ".join(map(_condition, failing))
    else:
        asked = " together with ".join(f"{_condition(w)} (in {len(rows):,})" for w, rows in found)
    named = failing or [wanted for wanted, _ in found]
    values = (f"Values of {one_line(w.name)}: {_describe_values(store, w)}." for w in named)
    return f"No document has {asked}. {' '.join(values)}"


def _condition(wanted: NameFilter) -> str:
    return _shorten(" and ".join(wanted.texts))


def _describe_values(store: Store, wanted: NameFilter) -> str:
    """The values of one name: all if they are few, else from the least to the greatest, or some."""
    db, name = store.db, wanted.name
    numbers = metadata_values(db, name, NUMBERS, _LISTED)
    texts = metadata_values(db, name, TEXTS, _LISTED)
    listed = [*numbers, *texts]
    if len(listed) <= _SHOWN:
        counts = count_values(db, name, listed)
        ordered = sorted(zip(listed, counts, strict=True), key=lambda pair: -pair[1])
        shown = ", ".join(f"{_show(store, name, value)} ({n:,})" for value, n in ordered)
        return shown or "no value"
    ends = _ends(numbers, texts)
    count = f"{len(listed):,}{' or more' if _LISTED in (len(numbers), len(texts)) else ''}"
    if ends:
        return f"{ends[0]} to {ends[1]} ({count} values)"
    asked = wanted.texts[-1].partition("=")[2]
    near = difflib.get_close_matches(asked, texts, _SHOWN, 0.6)
    chosen = list(dict.fromkeys([*near, *listed]))[:_SHOWN]
    shown = ", ".join(_show(store, name, value) for value in chosen)
    return f"{shown} … ({count} values)"


def _ends(numbers: Sequence[int | float], texts: Sequence[str]) -> tuple[str, str] | None:
    """The least and the greatest value, if all are numbers, or all are dates."""
    if _LISTED in (len(numbers), len(texts)):
        return None
    written = [read_number(text) for text in texts]
    if all(number is not None for number in written):
        everything = [*numbers, *(number for number in written if number is not None)]
        return f"{min(everything)}", f"{max(everything)}"
    dates = [(read_period(text), text) for text in texts]
    known = [(date.start, text) for date, text in dates if isinstance(date, Period)]
    if not numbers and len(known) == len(texts):
        return min(known)[1], max(known)[1]
    return None


def _show(store: Store, name: str, value: Scalar) -> str:
    """A value as a filter takes it."""
    if isinstance(value, str):
        text = _shorten(value)
        needs_quotes = "," in text or text != text.strip() or text[:1] in ("", *"'\"<>=")
        return repr(text) if needs_quotes else text
    if value in (0, 1) and _is_boolean(store, name, value):
        return "true" if value else "false"
    return str(value)


def _is_boolean(store: Store, name: str, value: Scalar) -> bool:
    """Whether 0 or 1 stands for a boolean in a document that has it: the table has only numbers."""
    rows = rows_with_values(store.db, name, [Span.single_value(value)])[:1].tolist()
    for document in store.documents(rows).values():
        found = document.metadata.get(name)
        return any(
            isinstance(each, bool) for each in (found if isinstance(found, tuple) else (found,))
        )
    return False


def _shorten(text: str) -> str:
    line = one_line(text)
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
