"""Running lines: headers, footers, page numbers and logos, which stand on page after page.

Knows which rows and pictures of neighbouring pages agree. Does not know how pages are read. Only
neighbours are compared, so that the header of a chapter is found too, and that of left and right
pages.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Protocol

from rag_vqa.formats.documents.page_boxes import Box, Row
from rag_vqa.formats.documents.pdf_drawing import Picture

NEIGHBOURS: Final = 4  # pages on each side
_MARGIN: Final = 0.12  # of the page's height, at its top and at its bottom
_ROWS: Final = 4  # that a header or a footer takes at most
_APART: Final = 0.9  # of its height, between a header and the text
_PICTURE_MARGIN: Final = 0.18  # of the page
_BACKGROUND: Final = 0.85
_SAME_PLACE: Final = 4.0  # points
_LARGER: Final = 1.25  # times the usual letters: a title, as on each slide of a talk
_ROMAN = re.compile(r"\b[ivxlc]+\b")
_DIGITS = re.compile(r"\d+")


class PageOfRows(Protocol):
    """What is compared of a page."""

    @property
    def rows(self) -> Sequence[Row]:
        """Its rows, in any order."""

    @property
    def pictures(self) -> Sequence[Picture]:
        """Its pictures."""

    @property
    def area(self) -> Box:
        """Its edges."""

    @property
    def size(self) -> float:
        """The usual height of its letters."""


def find_running_rows(page: PageOfRows, neighbours: Sequence[PageOfRows]) -> set[int]:
    """Numbers of the rows of a page that stand at the same place on most of its neighbours."""
    needed = _least_agreement(neighbours)
    if not needed:
        return set()
    others = [_margin_rows(other) for other in neighbours]
    found = set()
    for number, row in _margin_rows(page).items():
        said = _pattern(row.text)
        agree = sum(
            any(_pattern(each.text) == said and _at_one_height(row, each) for each in rows.values())
            for rows in others
        )
        if agree >= needed:
            found.add(number)
    text = [number for number, row in enumerate(page.rows) if row.text.strip()]
    while close := {number for number in found if not _is_apart(number, found, page.rows)}:
        found -= close
    return found if len(found) < len(text) else set()


def find_running_pictures(page: PageOfRows, neighbours: Sequence[PageOfRows]) -> set[int]:
    """Numbers of the pictures in a page's margins that its neighbours show at the same place.

    A picture behind all of its text counts as well.
    """
    needed = _least_agreement(neighbours)
    if not needed:
        return set()
    others = [{picture.key for picture in other.pictures if picture.key} for other in neighbours]
    return {
        number
        for number, picture in enumerate(page.pictures)
        if picture.key
        and sum(picture.key in keys for keys in others) >= needed
        and _is_decoration(picture, page.area)
    }


def _is_decoration(picture: Picture, area: Box) -> bool:
    """Whether a picture lies in a margin, or behind the whole page."""
    if picture.width * picture.height > _BACKGROUND * area.width * area.height:
        return True
    high, wide = _PICTURE_MARGIN * area.height, _PICTURE_MARGIN * area.width
    return (
        picture.bottom > area.top - high or picture.top < area.bottom + high
        or picture.left > area.right - wide or picture.right < area.left + wide
    )  # fmt: skip


def _is_apart(number: int, running: set[int], rows: Sequence[Row]) -> bool:
    """Whether a row keeps a distance from the text of its page: a first line does not."""
    row = rows[number]
    return not any(
        other not in running
        and each.text.strip()
        and each.left < row.right
        and row.left < each.right
        and -row.height < max(row.bottom - each.top, each.bottom - row.top) < _APART * row.height
        for other, each in enumerate(rows)
    )


def _least_agreement(neighbours: Sequence[PageOfRows]) -> int:
    """How many neighbours must agree: with one neighbour that one, else two."""
    return min(2, len(neighbours))


def _margin_rows(page: PageOfRows) -> dict[int, Row]:
    """The first and the last rows of a page, by number, if they are in its margins."""
    margin = _MARGIN * page.area.height
    order = sorted(
        (number for number, row in enumerate(page.rows) if row.image is None and row.text.strip()),
        key=lambda number: -page.rows[number].top,
    )
    high = [n for n in order[:_ROWS] if page.rows[n].bottom > page.area.top - margin]
    low = [n for n in order[-_ROWS:] if page.rows[n].top < page.area.bottom + margin]
    return {
        number: page.rows[number]
        for number in (*high, *low)
        if page.rows[number].size < _LARGER * page.size and not page.rows[number].is_table
    }


def _at_one_height(row: Row, other: Row) -> bool:
    return abs(row.top - other.top) < _SAME_PLACE


def _pattern(text: str) -> str:
    """A text without its numbers: those of pages differ."""
    return _ROMAN.sub("#", _DIGITS.sub("#", " ".join(text.casefold().split())))
