"""Passages: splits a document into windows of its text, with the title and at most one image each.

Knows how to cut text so that the encoder loses none of it, and how much it loses uncut. Does not
know the tokenizer (callers pass a counter) nor how passages are stored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest

from rag_vqa.formats.document import check_content, searchable_text
from rag_vqa.types import Document, Passage

# A knowledge base records these names. Whoever changes how passages are cut must change the name:
# other passages mean other tokens.
SPLITTINGS = {"window": "window-1", "none": "none-1"}

_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|(?<=[.!?…][\"'”’)\]])\s+|(?<=[。！？])|\n+")
# No tokenizer packs more characters into a token on average, so longer texts need no counting.
# Counting a word of a megabyte would take minutes.
_WIDEST_TOKEN = 24
_CHARACTERS_AT_ONCE = 1000  # counted at once, if a whole text is counted

Fits = Callable[[str], bool]


def split_document(document: Document, count: Callable[[str], int], window: int) -> list[Passage]:
    """Cut a document into passages that each fit the encoder's window.

    Windows end at sentence ends; a sentence longer than a window is cut between words, a word
    longer than a window between characters. Window i has image i if there is one, else the first
    image. Each image beyond the windows makes a passage of the title and that image.

    Args:
        count: returns the tokens of a text, start and end marks included.
        window: number of tokens that fit.

    Raises:
        BadInput: the document has neither text nor image.

    >>> words = lambda text: len(text.split())
    >>> document = Document("a", "One two. Three four five.", title="T")
    >>> [passage.text for passage in split_document(document, words, 4)]
    ['T\\nOne two.', 'T\\nThree four five.']
    """
    check_content(document)

    def fits(text: str) -> bool:
        return len(text) <= window * _WIDEST_TOKEN and count(text) <= window

    head = _title_line(document, count, window)
    texts = _pack_text(
        searchable_text(document), lambda body: fits(_join_title(head, body)), window
    )
    first = document.images[0] if document.images else None
    return [
        Passage(document.id, position, _join_title(head, text), first if image is None else image)
        for position, (text, image) in enumerate(zip_longest(texts, document.images))
    ]


def whole_document_passage(document: Document) -> Passage:
    """A document as one passage, with its first image, for benchmarks.

    The encoder reads only what fits its window; `count_long_text` counts how much there is.

    Raises:
        BadInput: the document has neither text nor image.
    """
    check_content(document)
    head = " · ".join(part for part in (document.title.strip(), document.section.strip()) if part)
    image = document.images[0] if document.images else None
    return Passage(document.id, 0, _join_title(head, searchable_text(document)), image)


def count_long_text(text: str, count: Callable[[str], int]) -> int:
    """Tokens of a text of any length, without start and end marks.

    >>> count_long_text("One two. " * 1000, lambda text: len(text.split()) + 2)
    2000
    """
    marks, total, chunk = count(""), 0, ""
    for word in text.split():
        for start in range(0, len(word), _CHARACTERS_AT_ONCE):
            piece = word[start : start + _CHARACTERS_AT_ONCE]
            if len(chunk) + len(piece) > _CHARACTERS_AT_ONCE:
                total += count(chunk) - marks
                chunk = ""
            chunk = f"{chunk} {piece}" if chunk else piece
    return total + count(chunk) - marks


def _title_line(document: Document, count: Callable[[str], int], window: int) -> str:
    """Title · section, cut to half a window: a long title must leave room for the text."""
    parts = (document.title.strip(), document.section.strip())
    head = " · ".join(part for part in parts if part)
    room = window // 2

    def fits(text: str) -> bool:
        return len(text) <= room * _WIDEST_TOKEN and count(text) <= room

    return head if not head or fits(head) else next(_cut_to_fit(head.split(), " ", fits, room))


def _join_title(head: str, body: str | None) -> str:
    return "\n".join(part for part in (head, body) if part)


def _pack_text(text: str, fits: Fits, window: int) -> list[str]:
    """Sentences packed greedily into as few windows as fit, in order."""
    if not text:
        return []
    if fits(text):  # unchanged: its line breaks stay
        return [text]
    sentences = [" ".join(words) for words in map(str.split, _SENTENCE_END.split(text)) if words]
    return _pack_pieces(sentences, fits, window)


def _pack_pieces(pieces: list[str], fits: Fits, window: int) -> list[str]:
    """Pieces joined into windows; a piece that does not fit is cut. Changes `pieces`."""
    windows: list[str] = []
    start, size = 0, 1
    while start < len(pieces):
        size = _largest_fit(pieces, start, " ", fits, size, len(pieces))
        if size:
            windows.append(" ".join(pieces[start : start + size]))
            start += size
        else:  # the next pieces may fill up its last part
            parts = [*_cut_to_fit(pieces[start].split(), " ", fits, window)]
            *full, pieces[start] = _pack_pieces(parts, fits, window)
            windows += full
    return windows


def _cut_to_fit(units: Sequence[str], joiner: str, fits: Fits, limit: int) -> Iterator[str]:
    """The longest runs of words (or characters) that fit; each unit is at least one token."""
    start, size = 0, 1
    while start < len(units):
        size = _largest_fit(units, start, joiner, fits, size, limit)
        run = joiner.join(units[start : start + max(1, size)])
        start += max(1, size)
        if size or len(run) == 1:
            yield run
        else:
            yield from _cut_to_fit(run, "", fits, limit * _WIDEST_TOKEN)


def _largest_fit(
    units: Sequence[str], start: int, joiner: str, fits: Fits, guess: int, limit: int
) -> int:
    """How many units from `start` on fit together, 0 if not even one does.

    Counting tokens takes the time. So the search starts from a guess, the size of the run before,
    and counts only two or three times if runs are alike.
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
