"""Passages: splits a document into windows of its text, with the title and at most one image each.

Knows that the encoder must lose none of the text, by which rules a knowledge base cuts it, and how
much is lost uncut. Does not know these rules (text_pieces.py, window_packing.py, window_1.py), the
tokenizer (callers pass a counter), nor how passages are stored.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import zip_longest

from rag_vqa.formats.document import check_content, searchable_text
from rag_vqa.formats.text_pieces import split_pieces
from rag_vqa.retriever import window_1
from rag_vqa.retriever.window_packing import WIDEST_TOKEN, pack_pieces
from rag_vqa.types import Document, Passage

# A knowledge base records these names. Whoever changes how passages are cut must change the name:
# other passages mean other tokens.
SPLITTINGS = {"window": "window-2", "none": "none-1"}
# Names of splittings that older knowledge bases have, and keep → the option they were built with.
OLDER_SPLITTINGS = {"window-1": "window"}

_CHARACTERS_AT_ONCE = 1000  # counted at once, if a whole text is counted


def split_document(
    document: Document,
    count: Callable[[str], int],
    window: int,
    splitting: str = SPLITTINGS["window"],
) -> list[Passage]:
    """Cut a document into passages that each fit the encoder's window.

    A text that fits stays as it is. Otherwise windows end at the ends of sentences, rows of tables,
    items of lists and lines of code; each window of a table begins with its header. What is longer
    than a window is cut between words, a word longer than a window between characters. Window i has
    image i if there is one, else the first image. Each image beyond the windows makes a passage of
    the title and that image.

    Args:
        count: returns the tokens of a text, start and end marks included.
        window: number of tokens that fit.
        splitting: the name that the knowledge base records; it says by which rules it is cut.

    Raises:
        BadInput: the document has neither text nor image.

    >>> words = lambda text: len(text.split())
    >>> document = Document("a", "One two. Three four five.", title="T")
    >>> [passage.text for passage in split_document(document, words, 4)]
    ['T\\nOne two.', 'T\\nThree four five.']
    """
    check_content(document)

    def fits(text: str) -> bool:
        return len(text) <= window * WIDEST_TOKEN and count(text) <= window

    head = _title_line(document, count, window)

    def fits_below_title(body: str) -> bool:
        return fits(_join_title(head, body))

    text = searchable_text(document)
    if not text or fits_below_title(text):
        texts = [text] if text else []
    elif splitting == "window-1":
        texts = window_1.pack_text(text, fits_below_title, window)
    else:
        texts = pack_pieces(split_pieces(text), fits_below_title, window)
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
        return len(text) <= room * WIDEST_TOKEN and count(text) <= room

    return (
        head if not head or fits(head) else next(window_1.cut_to_fit(head.split(), " ", fits, room))
    )


def _join_title(head: str, body: str | None) -> str:
    return "\n".join(part for part in (head, body) if part)
