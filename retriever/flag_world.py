"""The flag world, recognised by its sentences: the documents that the embedded models know.

Knows the sentences of a document of the flag world, and how many documents have to be of that kind.
Records nothing: a mark could become false with the next document, and knowledge bases that are
older than this file are recognised as well. Does not know countries, nor where documents come from.
Apart because the knowledge base asks about its documents, and a build about its source's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

SAMPLE_DOCUMENTS: Final = 200  # looked at, evenly spaced
_LEAST_SENTENCES: Final = 0.5  # of a document's sentences; names such as "St. John's" add some
_LEAST_DOCUMENTS: Final = 0.9  # a few notes of one's own among the flags change nothing
# How demo/world/texts.py begins its sentences.
_BEGINNINGS: Final = (
    "It lies in|Its area is|The country is (?:coastal|landlocked)|Neighbours on land:|It borders|"
    "The highest point is|In \\d{4} the population was|Official languages?:|The largest city is|"
    "The demonym is|The capital is|The form of state is an?|It became independent in|"
    "The national day is|The currency is the|The currency code is|The subunit is the|"
    "Central bank:|The calling code is|The internet domain is|Traffic drives on the|"
    "The time zone is|The ISO country code is|The flag shows|Its colours are|It was adopted in"
)
_SENTENCE: Final = re.compile(rf"(?:^|\s)(?:{_BEGINNINGS})(?=[ .])")
_END: Final = re.compile(r"[.!?](?=\s|$)")
_LONGEST: Final = 4_000  # characters looked at; a country's whole page is shorter


def is_flag_text(text: str) -> bool:
    """True if most sentences of a text are written as in the flag world.

    >>> is_flag_text("The capital is Kingston. The national day is 6 August.")
    True
    >>> is_flag_text("The capital of Jamaica is Kingston.")
    False
    """
    text = text[:_LONGEST]
    known = len(_SENTENCE.findall(text))
    return known > 0 and known >= _LEAST_SENTENCES * len(_END.findall(text))


def are_flag_texts(texts: Iterable[str]) -> bool:
    """True if nine in ten texts are of the flag world; False if there is none.

    >>> are_flag_texts(["The capital is Kingston."] * 9 + ["A note of my own."])
    True
    """
    judged = [is_flag_text(text) for text in texts]
    return bool(judged) and sum(judged) >= _LEAST_DOCUMENTS * len(judged)
