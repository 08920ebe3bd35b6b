"""Headings of a PDF: from its bookmarks, or from its tags; and where on a page each one stands.

Knows the outline as PDFium gives it, and how a bookmark is found again among the rows of its page.
Does not know how rows come about.
"""

from __future__ import annotations

import ctypes
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from rag_vqa.formats.documents.page_boxes import Row
from rag_vqa.formats.documents.pdf_text import read_wide_text, turn_box

_MAX_BOOKMARKS: Final = 20_000
_MAX_DEPTH: Final = 12
_MAX_TITLE: Final = 400  # characters
_HEADING_ROWS: Final = 4  # a heading takes at most so many lines
_PAGE_NAME = re.compile(
    r"\W*(?:(?:page|seite|página|pagina|стр|p)\W*)?[\divxlc]+\W*", re.IGNORECASE
)
_NO_WORD = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True)
class Bookmark:
    """An entry of the outline.

    Attributes:
        path: the titles that lead to it, and its own.
        page: number of its page, from 0.
        x, y: its place on the page; None if it names the page only.
    """

    path: tuple[str, ...]
    page: int
    x: float | None = None
    y: float | None = None


@dataclass(frozen=True, slots=True)
class PlacedHeading:
    """A heading on a page.

    Attributes:
        path: of headings, if it is known; else empty, and `level` and `title` are.
        start: number of the row before which its section begins.
        rows: rows that are the heading itself, and no text.
    """

    path: tuple[str, ...]
    start: int
    rows: int
    level: int = 0
    title: str = ""


def read_outline(document: Any, pages: int) -> tuple[str, list[Bookmark]]:
    """The title above all bookmarks, if there is one, and the bookmarks in order of their pages.

    Outlines that tell nothing, such as one that only names the pages, count as absent.
    """
    found = [mark for mark in _bookmarks(document, pages) if mark.path[-1]]
    title = ""
    if len(found) > 1 and all(mark.path[0] == found[0].path[0] for mark in found):
        title = found[0].path[0]
        found = [
            Bookmark(mark.path[1:], mark.page, mark.x, mark.y) for mark in found if mark.path[1:]
        ]
    named = [mark for mark in found if not _PAGE_NAME.fullmatch(mark.path[-1])]
    if len(found) < 2 or len(named) < len(found) / 2:
        return title, []
    return title, sorted(found, key=lambda mark: mark.page)


def place_bookmarks(
    rows: Sequence[Row], marks: Sequence[Bookmark], quarter: int
) -> list[PlacedHeading]:
    """Find the bookmarks of a page among its rows: by their words, else by their place."""
    placed: list[PlacedHeading] = []
    for mark in marks:
        row, count = _find_title(rows, mark, quarter)
        if not count:
            row = _find_place(rows, mark, quarter)
        placed.append(PlacedHeading(mark.path, row, count))
    order = sorted(range(len(placed)), key=lambda number: placed[number].start)
    return [placed[number] for number in order]


def tagged_headings(rows: Sequence[Row]) -> list[PlacedHeading]:
    """The headings among the rows of a page that has tags."""
    found: list[PlacedHeading] = []
    at = 0
    for _, group in groupby(rows, key=lambda row: row.block):
        block = list(group)
        level = block[0].level
        if level is not None:
            title = " ".join(row.text for row in block)[:_MAX_TITLE]
            found.append(PlacedHeading((), at, len(block), level, title))
        at += len(block)
    return found


def _bookmarks(document: Any, pages: int) -> Iterator[Bookmark]:
    import pypdfium2.raw as pdfium

    seen: set[int] = set()
    stack: list[tuple[Any, tuple[str, ...]]] = [
        (pdfium.FPDFBookmark_GetFirstChild(document, None), ())
    ]
    while stack and len(seen) < _MAX_BOOKMARKS:
        entry, above = stack.pop()
        if not entry:
            continue
        address = ctypes.addressof(entry.contents)
        if address in seen:  # a circle
            continue
        seen.add(address)
        path = (*above, _bookmark_title(entry))
        stack.append((pdfium.FPDFBookmark_GetNextSibling(document, entry), above))
        if len(path) < _MAX_DEPTH:
            stack.append((pdfium.FPDFBookmark_GetFirstChild(document, entry), path))
        mark = _place_of(document, entry, path)
        if mark is not None and 0 <= mark.page < pages:
            yield mark


def _place_of(document: Any, entry: Any, path: tuple[str, ...]) -> Bookmark | None:
    import pypdfium2.raw as pdfium

    target = pdfium.FPDFBookmark_GetDest(document, entry)
    if not target:
        action = pdfium.FPDFBookmark_GetAction(entry)
        target = pdfium.FPDFAction_GetDest(document, action) if action else None
    if not target:
        return None
    page = pdfium.FPDFDest_GetDestPageIndex(document, target)
    has_x, has_y, has_zoom = (ctypes.c_int() for _ in range(3))
    x, y, zoom = (ctypes.c_float() for _ in range(3))
    known = pdfium.FPDFDest_GetLocationInPage(target, has_x, has_y, has_zoom, x, y, zoom)
    return Bookmark(
        path,
        page,
        x.value if known and has_x.value else None,
        y.value if known and has_y.value else None,
    )


def _bookmark_title(entry: Any) -> str:
    import pypdfium2.raw as pdfium

    return read_wide_text(pdfium.FPDFBookmark_GetTitle, entry)[:_MAX_TITLE]


def _find_title(rows: Sequence[Row], mark: Bookmark, quarter: int) -> tuple[int, int]:
    """The first row of a heading with the words of a bookmark, and how many rows it takes."""
    wanted = _words(mark.path[-1])
    matches: list[tuple[float, int, int]] = []
    for start, row in enumerate(rows):
        said, count = "", 0
        for each in rows[start : start + _HEADING_ROWS]:
            if each.is_table or each.image is not None:
                break
            said, count = said + _words(each.text), count + 1
            # Bookmarks often lack the number that stands before the heading.
            if said == wanted or (said.endswith(wanted) and len(said) - len(wanted) < 6):
                matches.append((_distance(row, mark, quarter), start, count))
                break
            if not wanted.startswith(said.lstrip("0123456789")):
                break
    _, start, count = min(matches, default=(0.0, 0, 0))
    return start, count


def _distance(row: Row, mark: Bookmark, quarter: int) -> float:
    if mark.y is None:
        return 0.0
    _, _, _, top = turn_box((mark.x or 0.0, mark.y, mark.x or 0.0, mark.y), quarter)
    return abs(row.top - top)


def _find_place(rows: Sequence[Row], mark: Bookmark, quarter: int) -> int:
    """The first row, in reading order, at or below the place of a bookmark."""
    if mark.y is None:
        return 0
    place = (mark.x or 0.0, mark.y, mark.x or 0.0, mark.y)
    left, _, _, top = turn_box(place, quarter)
    for number, row in enumerate(rows):
        if (row.top + row.bottom) / 2 <= top and (mark.x is None or row.right >= left):
            return number
    return len(rows)


def _words(text: str) -> str:
    return _NO_WORD.sub("", unicodedata.normalize("NFKC", text).casefold())
