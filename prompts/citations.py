"""Parses citations: which documents an answer cites, and which citations are invalid.

Knows the forms [n], [n, m] and [n-m], also in full-width brackets. Does not know whether a document
supports the sentence that cites it.

Apart because the pipeline only wires; this reads text, and has its own tests.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

# A longer number is no document, and int() refuses very long ones.
_NUMBER = "[0-9]{1,6}"
_DASH = r"\s*[-\u2010-\u2015\u2212]\s*"
_ITEM = f"{_NUMBER}(?:{_DASH}{_NUMBER})?"
_LIST = rf"\s*({_ITEM}(?:\s*[,;\uff0c\u3001\uff1b]\s*{_ITEM})*)\s*"
# [2], [1, 3], [1-3]; also in full-width brackets, which models write: \u30102\u3011, \uff3b2\uff3d.
_CITATION = re.compile(rf"[\[\u3010\uff3b]{_LIST}[\]\u3011\uff3d]")
_RANGE = re.compile(f"({_NUMBER})(?:{_DASH}({_NUMBER}))?")


class Citations(NamedTuple):
    """Numbers in the order of first mention: `valid` ones of documents shown, and all others."""

    valid: tuple[int, ...]
    invalid: tuple[int, ...]


def parse_citations(text: str, evidence: int) -> Citations:
    """The numbers that `text` cites, of documents shown as 1 … evidence.

    >>> parse_citations("In burrows [2], on cliffs [1, 2], as [7] says.", 3)
    Citations(valid=(2, 1), invalid=(7,))
    >>> parse_citations("In burrows [1-3].", 3)
    Citations(valid=(1, 2, 3), invalid=())
    """
    found = " ".join(_CITATION.findall(text))
    pairs: list[tuple[str, str]] = _RANGE.findall(found)
    numbers = dict.fromkeys(
        n for low, high in pairs for n in _numbers_in_range(low, high, evidence)
    )
    valid = tuple(number for number in numbers if 1 <= number <= evidence)
    return Citations(valid, tuple(number for number in numbers if number not in valid))


def _numbers_in_range(first: str, last: str, evidence: int) -> Iterator[int]:
    """All numbers of a range. Of the invalid part only the ends, which may be far apart."""
    low, high = int(first), int(last or first)
    yield low
    yield from range(max(low + 1, 1), min(high, evidence + 1))
    if high != low:
        yield high
