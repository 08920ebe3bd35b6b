"""Writing direction: letters at places on a line, in the order in which they are read.

Knows Arabic, Hebrew and other scripts that run leftwards, with numbers and Latin words among them.
Does not know pages. Programs write such text in the order of reading, or of its look from left to
right, or word by word one way and the words the other: only the places of letters tell.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from itertools import groupby
from statistics import median
from typing import Final, TypeAlias

Letter: TypeAlias = tuple[float, float, str]  # left and right edge on its line, and its text
_LEFTWARD: Final = frozenset(("R", "AL"))
_RIGHTWARD: Final = frozenset(("L", "EN", "AN"))
_SPACE: Final = 0.35  # of the usual width of a letter
_MIRRORED: Final = str.maketrans("()[]{}<>«»", ")(][}{><»«")


def is_leftward(text: str) -> bool:
    """Whether a letter belongs to a script that runs leftwards.

    >>> is_leftward("א"), is_leftward("a")
    (True, False)
    """
    return text > "\u0589" and unicodedata.bidirectional(text[0]) in _LEFTWARD


def runs_leftwards(texts: Iterable[str]) -> bool:
    """Whether most letters of some texts belong to scripts that run leftwards."""
    balance = 0
    for text in texts:
        for letter in text:
            kind = unicodedata.bidirectional(letter)
            balance += (kind in _LEFTWARD) - (kind == "L")
    return balance > 0


def order_letters(letters: Sequence[Letter]) -> str:
    """The text of letters on one line, in reading order.

    >>> order_letters([(0, 1, "2"), (1, 2, "1"), (3, 4, "ב"), (4, 5, "א")])
    'אב 21'
    """
    visual = _insert_spaces(_attach_marks(letters))
    text = "".join(visual[at] for at in reading_order(visual))
    opening, closing = text.find("("), text.find(")")
    is_mirrored = 0 <= closing < opening and runs_leftwards(visual)
    return text.translate(_MIRRORED) if is_mirrored else text


def reading_order(visual: Sequence[str]) -> list[int]:
    """Numbers of pieces of one line that are given from left to right, in reading order.

    Words against the main direction are turned as a whole, with what stands between them.

    >>> reading_order([".", "P", "-100", "ב", "א"])
    [4, 3, 1, 2, 0]
    """
    leftwards = runs_leftwards(visual)
    order = list(range(len(visual)))[:: -1 if leftwards else 1]
    kinds = [_kind(visual[at]) for at in order]
    inside = _fill_between(kinds, leftwards)
    found: list[int] = []
    for is_inside, group in groupby(range(len(order)), key=lambda number: inside[number]):
        part = [order[number] for number in group]
        found += reversed(part) if is_inside else part
    return found


def _attach_marks(letters: Sequence[Letter]) -> list[Letter]:
    """Letters from left to right; a mark stays behind the letter that it stands on."""
    bases: list[Letter] = []
    for left, right, text in letters:
        if text and unicodedata.bidirectional(text[0]) == "NSM" and bases:
            middle = (left + right) / 2
            at = min(range(len(bases)), key=lambda n: abs(bases[n][0] + bases[n][1] - 2 * middle))
            bases[at] = (bases[at][0], bases[at][1], bases[at][2] + text)
        elif text:
            bases.append((left, right, text))
    return sorted(bases, key=lambda letter: letter[0] + letter[1])


def _insert_spaces(letters: list[Letter]) -> list[str]:
    """The texts of letters, with a blank where there is a gap between them."""
    width = median(right - left for left, right, _ in letters)
    texts: list[str] = []
    end = letters[0][0]
    for left, right, text in letters:
        if left - end > _SPACE * width:
            texts.append(" ")
        texts.append(text)
        end = max(end, right)
    return texts


def _kind(text: str) -> str:
    """The direction of a piece: that of its first letter or digit."""
    kinds = [unicodedata.bidirectional(letter) for letter in text]
    known = (kind for kind in kinds if kind in _LEFTWARD or kind in _RIGHTWARD)
    return next(known, kinds[0] if kinds else "")


def _fill_between(kinds: Sequence[str], leftwards: bool) -> list[bool]:
    """What runs against the main direction, and what stands between two such pieces."""
    strong, against = (_RIGHTWARD, _LEFTWARD) if leftwards else (_LEFTWARD, frozenset("L"))
    filled = [kind in strong for kind in kinds]
    last: int | None = None
    for at, kind in enumerate(kinds):
        if kind in strong:
            if last is not None:
                filled[last:at] = [True] * (at - last)
            last = at
        elif kind in against:
            last = None
    return filled
