"""Sections of a PDF: rows and pictures of its pages, put together below its headings.

Knows where sections begin and end, and which pages are kept as pictures. Does not know how a page
is read, nor what runs from page to page.

A section that runs over more than MAX_SECTION_PAGES pages is cut into its pages, because evidence
cites a page. A file without bookmarks and tagged headings is cut by page; the first large line of a
page says what it is about.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from rag_vqa.formats.documents.page_boxes import Row
from rag_vqa.formats.documents.page_paragraphs import Vocabulary, build_text, join_pages
from rag_vqa.formats.documents.pdf_drawing import render_page, render_picture
from rag_vqa.formats.documents.pdf_outline import (
    Bookmark,
    PlacedHeading,
    place_bookmarks,
    tagged_headings,
)
from rag_vqa.formats.documents.pdf_page import PdfPage
from rag_vqa.formats.sections import Section, slug

MAX_SECTION_PAGES: Final = 5
MAX_SECTION_PICTURES: Final = 64
SCANNED: Final = "the page has no text and is kept as a picture"
_LARGE: Final = 1.3  # times the usual letters: a title
_MAX_TITLE: Final = 120  # characters
_WHOLE_PAGE: Final = 0.6  # of the page: a picture that is larger is a scan of it


@dataclass(slots=True)
class _Part:
    """What a section has on one page."""

    page: int
    text: str
    images: list[bytes] = field(default_factory=list)
    remark: str = ""


class SectionAssembler:
    """Takes pages in order, and gives sections as soon as they are complete."""

    def __init__(self, title: str, marks: Sequence[Bookmark]) -> None:
        self._title = title.casefold()
        self._marks: dict[int, list[Bookmark]] = {}
        for mark in marks:
            self._marks.setdefault(mark.page + 1, []).append(mark)
        self._by_page = not marks
        self._path: list[tuple[int, str]] = []
        self._parts: list[_Part] = []
        self._is_cut = False  # the section is too long: its pages are given one by one
        self._vocabulary = Vocabulary()

    def add_page(self, page: PdfPage) -> Iterator[Section]:
        """Add a page whose running lines were dropped."""
        rows = page.kept
        self._vocabulary.learn(rows)
        headings = self._headings(page)
        if headings and self._by_page and page.has_tags:
            yield from self._close()
            self._by_page = False
        if self._by_page:
            yield from self._give_page(page)
            return
        if not any(row.text.strip() for row in rows):
            self._add_part(self._picture_part(page))
            headings, rows = [], []
        ends = [*(heading.start for heading in headings), len(rows)]
        self._add_rows(page, rows[: ends[0]])
        for heading, end in zip(headings, ends[1:], strict=True):
            yield from self._open(heading)
            self._add_rows(page, rows[heading.start + heading.rows : end])
        yield from self._cut()

    def finish(self) -> Iterator[Section]:
        """Give the last section."""
        yield from self._close()

    def _headings(self, page: PdfPage) -> list[PlacedHeading]:
        if self._marks:
            return place_bookmarks(page.kept, self._marks.get(page.number, ()), page.quarter)
        return tagged_headings(page.kept) if page.has_tags else []

    def _open(self, heading: PlacedHeading) -> Iterator[Section]:
        yield from self._close()
        if heading.path:
            self._path = [(level, text) for level, text in enumerate(heading.path)]
        elif heading.title.casefold() == self._title:
            self._path = []
        else:
            while self._path and self._path[-1][0] >= heading.level:
                self._path.pop()
            self._path.append((heading.level, heading.title))

    def _add_rows(self, page: PdfPage, rows: Sequence[Row]) -> None:
        images = [image for row in rows if (image := _picture(page, row)) is not None]
        self._add_part(_Part(page.number, build_text(rows, self._vocabulary), images))

    def _add_part(self, part: _Part | None) -> None:
        if part is not None and (part.text or part.images):
            self._parts.append(part)

    def _cut(self) -> Iterator[Section]:
        """Give the pages of a section that has become too long."""
        pages = {part.page for part in self._parts}
        if self._is_cut or len(pages) > MAX_SECTION_PAGES:
            for number in sorted(pages):
                yield self._section([part for part in self._parts if part.page == number])
                self._is_cut = True
            self._parts = []

    def _close(self) -> Iterator[Section]:
        if self._parts:
            yield self._section(self._parts)
        self._parts, self._is_cut = [], False

    def _section(self, parts: Sequence[_Part]) -> Section:
        """A section; the second and later pieces of a long one are named by their pages."""
        headings = tuple(text for _, text in self._path)
        page = parts[0].page
        name = "/".join([*map(slug, headings), f"page-{page}"]) if self._is_cut else ""
        text = parts[0].text
        for before, part in pairwise(parts):
            if before.page == part.page:
                text = f"{text}\n\n{part.text}" if text and part.text else text or part.text
            else:
                text = join_pages(text, part.text, self._vocabulary)
        images = [image for part in parts for image in part.images]
        remark = next((part.remark for part in parts if part.remark), "")
        kept = tuple(dict.fromkeys(images))[:MAX_SECTION_PICTURES]
        return Section(headings, text, kept, page, f"page={page}", name, remark)

    def _give_page(self, page: PdfPage) -> Iterator[Section]:
        """A page as a section of its own."""
        part: _Part | None
        if any(row.text.strip() for row in page.kept):
            images = [image for row in page.kept if (image := _picture(page, row)) is not None]
            part = _Part(page.number, build_text(page.kept, self._vocabulary), images)
        else:
            part = self._picture_part(page)
        if part is None or not (part.text or part.images):
            return
        heading = large_title(page, first=True)
        headings = () if not heading or heading.casefold() == self._title else (heading,)
        number = page.number
        yield Section(headings, part.text, tuple(dict.fromkeys(part.images))[:MAX_SECTION_PICTURES],
                      number, f"page={number}", f"page-{number}", part.remark)  # fmt: skip

    def _picture_part(self, page: PdfPage) -> _Part | None:
        """A page without text: its pictures, or all of it as one."""
        if not page.has_drawing:
            return None
        whole = page.area.width * page.area.height
        covered = [each.width * each.height / max(1.0, whole) for each in page.pictures]
        rows = [row for row in page.kept if row.image is not None]
        if rows and max(covered) < _WHOLE_PAGE and page.is_photographs:
            images = [image for row in rows if (image := _picture(page, row)) is not None]
            return _Part(page.number, "", images)
        image = render_page(page.handle)
        return None if image is None else _Part(page.number, "", [image], SCANNED)


def large_title(page: PdfPage, *, first: bool = False) -> str:
    """The first large lines in the upper part of a page; "" if there are none.

    Args:
        first: only if no text stands above them.
    """
    rows = [row for row in page.kept or page.rows if row.image is None and row.text.strip()]
    lowest = page.area.bottom + page.area.height / 3
    for number, row in enumerate(rows[:1] if first else rows):
        if row.size >= _LARGE * page.size and not row.is_table and row.top > lowest:
            lines = [row]
            for below in rows[number + 1 : number + 3]:
                gap = lines[-1].bottom - below.top
                if abs(below.size - row.size) > 0.1 * row.size or gap > 0.5 * row.size:
                    break
                lines.append(below)
            title = " ".join(each.text for each in lines)
            letters = sum(c.isalpha() for c in title)
            if letters >= 3 and letters * 3 > len(title) and len(title) <= _MAX_TITLE:
                return title
    return ""


def _picture(page: PdfPage, row: Row) -> bytes | None:
    """The picture of a row, as the page shows it."""
    if row.image is None or page.handle is None:
        return None
    place = page.places[row.image]
    return render_picture(page.handle, place, place.scale, page.quarter)
