"""Paragraphs: rows of a page become text, with words joined that a line's end had cut.

Knows where a paragraph begins and what a hyphen means. Does not know columns or tables: rows come
in reading order, and those of tables are text already.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Final

from rag_vqa.formats.documents.page_boxes import Row
from rag_vqa.formats.documents.pdf_text import LINE_END_HYPHEN

_MAX_WORDS: Final = 200_000  # that are remembered of a document
_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_LIST_MARK = re.compile(r"(?:[•▪‣◦●○■□➢✓❖–—*·-]|\(?(?:\d{1,3}|[a-zA-Z])[.)])\s")
_SENTENCE_END = re.compile(r"[.!?:;。！？।][\"'”’»)\]]*$")
_LEADERS = re.compile(r"(?:\s?[.·…_]){5,}\s?")
_HYPHENS: Final = ("-", "\u2010", LINE_END_HYPHEN)
_BROKEN: Final = 0.5  # of a paragraph's width: after a shorter line its writer broke it
_SHORT: Final = 0.75  # of the block's width: a shorter line ends a paragraph or is one of a list


class Vocabulary:
    """The words of a document so far. They tell whether a hyphen belongs to a word."""

    def __init__(self) -> None:
        self._words: set[str] = set()

    def learn(self, rows: Iterable[Row]) -> None:
        """Remember the words of some rows, but for those at the ends of lines."""
        if len(self._words) < _MAX_WORDS:
            for row in rows:
                self._words.update(word.lower() for word in _WORD.findall(row.text)[1:-1])

    def join(self, first: str, second: str) -> str:
        """Two lines of which the first ends with a hyphen.

        >>> Vocabulary().join("main-", "tenance work")
        'maintenance work'
        """
        start = first.rstrip("".join(_HYPHENS))
        before, after = _WORD.findall(start)[-1:], _WORD.match(second)
        if not before or after is None or not start.endswith(before[0]):
            return f"{start}-{second}"
        whole, halves = before[0] + after[0], f"{before[0]}-{after[0]}"
        is_compound = halves.lower() in self._words and whole.lower() not in self._words
        if is_compound or not (whole.lower() in self._words or after[0][0].islower()):
            return f"{start}-{second}"
        return start + second


def build_text(rows: Sequence[Row], vocabulary: Vocabulary) -> str:
    """The text of rows: paragraphs are parted by an empty line, lines of lists and tables are not.

    Pictures among the rows are skipped.
    """
    text = ""
    before: Row | None = None
    ends = _block_edges(rows)
    widest: dict[int, float] = {}
    for row in rows:
        widest[row.block] = max(widest.get(row.block, 0.0), row.width)
    fixed = [row for row in rows if row.is_fixed]
    listings = len(fixed) * 2 < len(rows)  # else it was typewritten
    margin = min((row.left for row in fixed), default=0.0)
    for row in rows:
        if row.image is not None or not row.text.strip():
            continue
        line = _LEADERS.sub(" … ", row.text).strip()
        if before is None:
            text = line
        elif listings and row.is_fixed and before.is_fixed and _are_near(before, row):
            text = f"{text}\n{_indent(row, margin)}{line}"
        else:
            text = _append(text, line, _separator(before, row, ends, widest, text), vocabulary)
        before = row
    return text.replace(LINE_END_HYPHEN, "")


def join_pages(first: str, second: str, vocabulary: Vocabulary) -> str:
    """The text of two pages; a sentence that goes on is joined."""
    if not first or not second:
        return first or second
    last, following = first.rpartition("\n")[2], second.partition("\n")[0]
    if last.count(" | ") == following.count(" | ") > 0:  # a table goes on
        return f"{first}\n{second}"
    goes_on = second[0].islower() and not (_SENTENCE_END.search(first) or _LIST_MARK.match(second))
    return _append(first, second, " " if goes_on and " | " not in last else "\n\n", vocabulary)


def _append(text: str, line: str, separator: str, vocabulary: Vocabulary) -> str:
    if separator == " " and text.endswith(_HYPHENS):
        head, cut, last = text.rpartition(" ")
        return f"{head}{cut}{vocabulary.join(last, line)}"
    return f"{text}{separator}{line}"


def _separator(
    before: Row, row: Row, ends: dict[int, tuple[float, float]], widest: dict[int, float], text: str
) -> str:
    """What stands between two rows: a blank, a line's end, or an empty line."""
    if before.is_table or row.is_table:
        is_next = before.is_table and row.is_table and before.block == row.block
        return "\n" if is_next else "\n\n"
    if _LIST_MARK.match(row.text):
        return "\n" if _are_near(before, row) else "\n\n"
    if row.goes_on:
        is_broken = before.width < _BROKEN * widest.get(row.block, 0.0)
        is_cut = row.text[:1].islower() or text.endswith(_HYPHENS)
        return "\n" if is_broken and not is_cut else " "
    if row.starts or before.level is not None or row.level is not None:
        return "\n\n" if row.block != before.block or row.starts else " "
    if before.block != row.block:
        goes_on = row.text[:1].islower() and not _SENTENCE_END.search(text)
        is_alike = abs(row.size - before.size) < 0.1 * row.size and before.width > 0.5 * row.width
        return " " if goes_on and is_alike else "\n\n"
    height = max(row.size, 1.0)
    if abs(row.size - before.size) > 0.15 * height or not _are_near(before, row):
        return "\n\n"
    if text.endswith(_HYPHENS):
        return " "
    left, right = ends[row.block]
    is_short = before.right < left + _SHORT * (right - left)
    if is_short and _SENTENCE_END.search(text):
        return "\n\n"
    if row.left > before.left + 0.8 * height and row.left > left + 0.8 * height:
        return "\n\n" if not _LIST_MARK.match(before.text) else " "  # an indented first line
    return "\n" if is_short and not row.text[:1].islower() else " "


def _indent(row: Row, left: float) -> str:
    """The blanks before a line of a program."""
    width = row.width / max(1, len(row.text))
    return " " * min(80, round((row.left - left) / max(width, 1.0)))


def _are_near(before: Row, row: Row) -> bool:
    """Whether two rows stand as close as lines of one paragraph."""
    return -1.5 * row.height < before.bottom - row.top < 0.65 * max(row.size, 1.0)


def _block_edges(rows: Sequence[Row]) -> dict[int, tuple[float, float]]:
    edges: dict[int, tuple[float, float]] = {}
    for row in rows:
        left, right = edges.get(row.block, (row.left, row.right))
        edges[row.block] = min(left, row.left), max(right, row.right)
    return edges


def body_size(rows: Sequence[Row]) -> float:
    """The usual height of letters; 10 points if there is no text."""
    sizes = [row.size for row in rows if row.text for _ in range(1 + len(row.text) // 20)]
    return median(sizes) if sizes else 10.0
