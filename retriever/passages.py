"""Document → Passages: windows of its text, title in front, each with at most one image.

It knows how text is cut so that the encoder loses none of it. It does not know the tokenizer
(it is given a counter) nor how passages are stored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest

from rag_vqa.errors import BadInput
from rag_vqa.types import Document, Passage

# Part of what a knowledge base records: other passages mean other tokens, so change it with them.
SPLITTING = "window-1"

_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|(?<=[.!?…][\"'”’)\]])\s+|(?<=[。！？])|\n+")
# No tokenizer packs more characters into a token on average, so longer texts need no counting:
# counting one word of a megabyte is what would take minutes.
_WIDEST_TOKEN = 24

Fits = Callable[[str], bool]


def split(document: Document, count: Callable[[str], int], window: int) -> list[Passage]:
    """Cut a document into passages that each fit the encoder's window.

    Windows end at sentence ends; a sentence longer than a window is cut between words, a word
    longer than a window between characters. Window i carries image i where there is one, else the
    first; images beyond the windows make passages of the title and that image.

    Args:
        count: tokens of a text, start and end marks included.
        window: tokens that fit.

    Raises:
        BadInput: the document has neither text nor image.

    >>> words = lambda text: len(text.split())
    >>> [p.text for p in split(Document("a", "One two. Three four five.", title="T"), words, 4)]
    ['T\\nOne two.', 'T\\nThree four five.']
    """
    if not document.text.strip() and not document.images:
        raise BadInput(f"document {document.id!r} has neither text nor image: give it one of them.")

    def fits(text: str) -> bool:
        return len(text) <= window * _WIDEST_TOKEN and count(text) <= window

    head = _head(document, count, window)
    texts = _windows(document.text.strip(), lambda body: fits(_join(head, body)), window)
    first = document.images[0] if document.images else None
    return [
        Passage(document.id, position, _join(head, text), first if image is None else image)
        for position, (text, image) in enumerate(zip_longest(texts, document.images))
    ]


def _head(document: Document, count: Callable[[str], int], window: int) -> str:
    """Title · section, cut to half a window: a long title must leave room for the text."""
    parts = (document.title.strip(), document.section.strip())
    head = " · ".join(part for part in parts if part)
    room = window // 2

    def fits(text: str) -> bool:
        return len(text) <= room * _WIDEST_TOKEN and count(text) <= room

    return head if not head or fits(head) else next(_cut(head.split(), " ", fits, room))


def _join(head: str, body: str | None) -> str:
    return "\n".join(part for part in (head, body) if part)


def _windows(text: str, fits: Fits, window: int) -> list[str]:
    """Sentences packed greedily into as few windows as fit, in order."""
    if not text:
        return []
    if fits(text):  # as written: its line breaks stay
        return [text]
    windows: list[str] = []
    for piece in _pieces(text, fits, window):
        joined = f"{windows[-1]} {piece}" if windows else piece
        if windows and fits(joined):
            windows[-1] = joined
        else:
            windows.append(piece)
    return windows


def _pieces(text: str, fits: Fits, window: int) -> Iterator[str]:
    """Sentences; those that do not fit, in parts that do."""
    for sentence in _SENTENCE_END.split(text):
        words = sentence.split()
        if words and fits(whole := " ".join(words)):
            yield whole
        elif words:
            yield from _cut(words, " ", fits, window)


def _cut(units: Sequence[str], joiner: str, fits: Fits, most: int) -> Iterator[str]:
    """Runs of words (or of characters) as long as fit; every unit is at least one token wide."""
    start = 0
    while start < len(units):
        low, high = 1, min(most, len(units) - start)
        while low < high:
            middle = (low + high + 1) // 2
            if fits(joiner.join(units[start : start + middle])):
                low = middle
            else:
                high = middle - 1
        run = joiner.join(units[start : start + low])
        start += low
        if low == 1 and len(run) > 1 and not fits(run):
            yield from _cut(run, "", fits, most * _WIDEST_TOKEN)
        else:
            yield run
