"""Comparing short answers where no benchmark prescribes how: the demo, own question sets.

Knows texts. Does not know any benchmark's rules: those are in `infoseek` and `evqa`, and their
normalisation loses what tells apart UTC+1 and UTC-1, 3.5 and 35.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence

# With the spaces before it, and with the full stop after it if that ends the answer.
# Up to three digits: no prompt shows a thousand documents, and [1990] is a year.
_CITATION = re.compile(r"\s*\[\d{1,3}(?:\s*,\s*\d{1,3})*\](?:\s*\.\s*$)?")
_APOSTROPHES = str.maketrans("", "", "'`´‘’ʼ")
_DASHES = str.maketrans(dict.fromkeys("‐‑‒–—−", "-"))
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_STOP = re.compile(r"\.(?!\d)|(?<=[^\W\d])\.")  # no decimal point: "U.S.A.", "No.5"
_ARTICLES = frozenset({"a", "an", "the"})
_UNKNOWN = frozenset(
    {"unknown", "answer is unknown", "it is unknown", "i do not know", "i dont know",
     "i cannot tell", "cannot tell"}
)  # fmt: skip


def strip_citations(text: str, cited: Collection[int] | None = None) -> str:
    """The text without its citations `[n]` and `[n, m]`, and the full stop after the last one.

    Args:
        cited: the numbers that are citations, if known: all others stay.

    >>> strip_citations("[2] Oslo"), strip_citations("Oslo [2]."), strip_citations("A [1], b [2]")
    ('Oslo', 'Oslo', 'A, b')
    """

    def replacement(match: re.Match[str]) -> str:
        numbers = map(int, re.findall(r"\d+", match[0]))
        return "" if cited is None or all(n in cited for n in numbers) else match[0]

    return _CITATION.sub(replacement, text).strip()


def normalize(text: str) -> str:
    """Normalise an answer for comparison. Exactly, in this order:

    1. Apostrophes are removed. Every dash becomes "-". Unicode NFKC and case folding: "km²" is
       "km2", full-width digits are digits. Accents stay: "São" is not "Sao".
    2. A thousands comma is removed: "1,000" is "1000".
    3. Full stops are removed, except decimal points, also leading ones: "U.S.A." is "usa"; "3.5"
       and ".5" stay.
    4. "+" and "-" stay if they are a sign, which is before a digit and not after one: "UTC+1",
       "-4". A "+" at the beginning is removed: "+47" is "47". So is the "." of ".no".
    5. Any other character that is not a letter, digit or mark becomes a space: "red-orange",
       "1990-2000", "50%".
    6. The words a, an, the are removed, unless nothing would be left; spaces are squeezed.

    >>> normalize("The U.S.A."), normalize("+47"), normalize(".no"), normalize("UTC−5")
    ('usa', '47', 'no', 'utc-5')
    """
    text = text.translate(_APOSTROPHES).translate(_DASHES)
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    text = _STOP.sub("", _THOUSANDS.sub("", text))
    words = "".join(_comparable_character(text, place) for place in range(len(text))).split()
    words = [word for word in words if word not in _ARTICLES] or words
    return " ".join(words).removeprefix("+")


def _comparable_character(text: str, place: int) -> str:
    """The character at a place, or a space instead of one that is not compared."""
    char, before, after = text[place], text[place - 1 : place], text[place + 1 : place + 2]
    if char == "." or unicodedata.category(char)[0] in "LMN":  # only decimal points are left
        return char
    return char if char in "+-" and after.isdigit() and not before.isdigit() else " "


def exact_match(prediction: str, answers: Sequence[str]) -> bool:
    """Whether the prediction without its citations equals one of the answers after `normalize`.

    An empty prediction, and a question without answers, never match.

    >>> exact_match("Oslo [1].", ["Oslo", "Christiania"])
    True
    """
    normal = normalize(strip_citations(prediction))
    return bool(normal) and any(normalize(answer) == normal for answer in answers)


def is_unknown(prediction: str) -> bool:
    """Whether the whole answer abstains: "unknown", as prompts request, or "I don't know".

    An empty answer does not abstain, and "Unknown Pleasures" is an answer.

    >>> is_unknown("Unknown. [1]"), is_unknown("Unknown Pleasures"), is_unknown("")
    (True, False, False)
    """
    return normalize(strip_citations(prediction)) in _UNKNOWN
