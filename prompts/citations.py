"""Which documents an answer cites, and which of its citations name none.

It knows the form [n]. It does not know whether the document says what is cited for.
"""

from __future__ import annotations

import re
from typing import NamedTuple

# [2], [1, 3]; more digits than these are no number of a document, and too many stop int().
_CITATION = re.compile(r"\[\s*([0-9]{1,6}(?:\s*[,;]\s*[0-9]{1,6})*)\s*\]")


class Cited(NamedTuple):
    """Numbers in the order of first mention: those of documents shown, and all others."""

    there: tuple[int, ...]
    invalid: tuple[int, ...]


def cited(text: str, evidence: int) -> Cited:
    """The numbers that `text` cites, where 1 … evidence were shown.

    >>> cited("In burrows [2], on cliffs [1, 2], as [7] says.", 3)
    Cited(there=(2, 1), invalid=(7,))
    """
    found = re.findall(r"[0-9]+", " ".join(_CITATION.findall(text)))
    numbers = tuple(dict.fromkeys(map(int, found)))
    there = tuple(number for number in numbers if 1 <= number <= evidence)
    return Cited(there, tuple(number for number in numbers if number not in there))
