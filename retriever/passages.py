"""Document → Passages: windows of its text, title in front, each with at most one image; or one.

It knows how text is cut so that the encoder loses none of it, and how much is lost uncut. It does
not know the tokenizer (it is given a counter) nor how passages are stored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest

from rag_vqa.formats.document import check_content, searched
from rag_vqa.types import Document, Passage

# What a knowledge base records: other passages mean other tokens, so change a name with them.
SPLITTINGS = {"window": "window-1", "none": "none-1"}

_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|(?<=[.!?…][\"'”’)\]])\s+|(?<=[。！？])|\n+")
# No tokenizer packs more characters into a token on average, so longer texts need no counting:
# counting one word of a megabyte is what would take minutes.
_WIDEST_TOKEN = 24
_COUNTED = 1000  # characters counted at once, where a whole text is counted

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
    check_content(document)

    def fits(text: str) -> bool:
        return len(text) <= window * _WIDEST_TOKEN and count(text) <= window

    head = _head(document, count, window)
    texts = _windows(searched(document), lambda body: fits(_join(head, body)), window)
    first = document.images[0] if document.images else None
    return [
        Passage(document.id, position, _join(head, text), first if image is None else image)
        for position, (text, image) in enumerate(zip_longest(texts, document.images))
    ]


def whole(document: Document) -> Passage:
    """A document as one passage, with its first image, for benchmarks: the encoder reads what
    fits its window. `length` says how much that is not.

    Raises:
        BadInput: the document has neither text nor image.
    """
    check_content(document)
    head = " · ".join(part for part in (document.title.strip(), document.section.strip()) if part)
    image = document.images[0] if document.images else None
    return Passage(document.id, 0, _join(head, searched(document)), image)


def length(text: str, count: Callable[[str], int]) -> int:
    """Tokens of a text of any length, without start and end marks.

    >>> length("One two. " * 1000, lambda text: len(text.split()) + 2)
    2000
    """
    marks, total, waiting = count(""), 0, ""
    for word in text.split():
        for start in range(0, len(word), _COUNTED):
            piece = word[start : start + _COUNTED]
            if len(waiting) + len(piece) > _COUNTED:
                total += count(waiting) - marks
                waiting = ""
            waiting = f"{waiting} {piece}" if waiting else piece
    return total + count(waiting) - marks


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
    sentences = [" ".join(words) for words in map(str.split, _SENTENCE_END.split(text)) if words]
    return _packed(sentences, fits, window)


def _packed(pieces: list[str], fits: Fits, window: int) -> list[str]:
    """Pieces joined into windows; one that does not fit is cut. `pieces` is used up."""
    windows: list[str] = []
    start, size = 0, 1
    while start < len(pieces):
        size = _most(pieces, start, " ", fits, size, len(pieces))
        if size:
            windows.append(" ".join(pieces[start : start + size]))
            start += size
        else:  # what its last part leaves free is used by what follows
            parts = [*_cut(pieces[start].split(), " ", fits, window)]
            *full, pieces[start] = _packed(parts, fits, window)
            windows += full
    return windows


def _cut(units: Sequence[str], joiner: str, fits: Fits, limit: int) -> Iterator[str]:
    """Runs of words (or of characters) as long as fit; every unit is at least one token wide."""
    start, size = 0, 1
    while start < len(units):
        size = _most(units, start, joiner, fits, size, limit)
        run = joiner.join(units[start : start + max(1, size)])
        start += max(1, size)
        if size or len(run) == 1:
            yield run
        else:
            yield from _cut(run, "", fits, limit * _WIDEST_TOKEN)


def _most(units: Sequence[str], start: int, joiner: str, fits: Fits, guess: int, limit: int) -> int:
    """How many units from `start` on fit together, 0 if not even one.

    Counting tokens is what takes long: the search sets out from a guess, the size of the run
    before, and asks two or three times where runs are alike.
    """

    def fit(size: int) -> bool:
        return fits(joiner.join(units[start : start + size]))

    most = min(limit, len(units) - start)
    low, high, step = 0, most + 1, 1  # low fits, high does not
    size = min(max(1, guess), most)
    while low + 1 < high:
        if fit(size):
            low = size
            step, size = (2 * step, low + step) if high > most else (step, (low + high) // 2)
        else:
            high = size
            step, size = (2 * step, high - step) if low == 0 else (step, (low + high) // 2)
        size = min(max(size, low + 1), high - 1)
    return low
