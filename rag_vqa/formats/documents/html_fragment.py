"""HTML within Markdown: its text, headings, rows and pictures, without its tags.

Knows the few elements that notes contain. Does not know whole pages (web_page.py), and needs no
extra: the parser is Python's own.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Final

from rag_vqa.formats.documents.section_builder import SectionBuilder, fence_code
from rag_vqa.formats.documents.web_tree import BLOCKS, HEADINGS, is_hidden

_LINES: Final = frozenset(("div", "dd", "dt", "summary", "figcaption", "center", "li", "caption"))
_MAX_FRAGMENT: Final = 100_000  # characters that are parsed; of more, the tags are taken away
_TAGS: Final = re.compile(r"<!--.*?-->|<[^<>]{1,2000}>", re.DOTALL)
_UNSEEN: Final = frozenset(("script", "style", "template", "iframe", "svg", "title", "object"))


class HtmlFragments:
    """Pieces of HTML, with Markdown between them.

    Args:
        add_picture: takes the address and the description of a picture.
        end_heading: takes the level and the words of a heading.
    """

    def __init__(
        self,
        builder: SectionBuilder,
        add_picture: Callable[[str, str], None],
        end_heading: Callable[[int, str], None],
    ) -> None:
        self._builder = builder
        self._add_picture = add_picture
        self._end_heading = end_heading
        self._unseen: list[str] = []
        self._cells: list[str] | None = None
        self._code: list[str] | None = None
        self._heading = 0
        self._in_cell = False

    def add_block(self, source: str) -> None:
        """A block of HTML; what it leaves open is closed, as blocks of Markdown may follow."""
        self._feed(source)
        self.end_inline()
        if self._heading:
            self._end("h1")
        if self._in_cell:
            self._end("td")
        if self._cells is not None:
            self._end("tr")
        if self._code is not None:
            self._end("pre")
        self._builder.end_paragraph()

    @property
    def is_unseen(self) -> bool:
        """Whether what follows is within a script or a style."""
        return bool(self._unseen)

    def add_inline(self, source: str) -> None:
        """One tag or comment within a line."""
        self._feed(source)

    def end_inline(self) -> None:
        """What was left out ends with its paragraph at the latest."""
        self._unseen.clear()

    def _feed(self, source: str) -> None:
        if len(source) > _MAX_FRAGMENT:
            self._builder.buffer.add_text(_TAGS.sub(" ", source))
            return
        parser = _EventParser(self._begin, self._end, self._add_text)
        parser.feed(source)
        parser.close()

    def _begin(self, tag: str, attributes: dict[str, str | None]) -> None:
        builder = self._builder
        if tag in _UNSEEN or (is_hidden(tag, attributes) and tag in BLOCKS):
            self._unseen.append(tag)
        elif self._unseen:
            return
        elif tag in HEADINGS and not self._heading and not self._in_cell:
            builder.end_paragraph()
            builder.open_buffer()
            self._heading = HEADINGS[tag]
        elif tag == "img":
            self._add_picture(attributes.get("src") or "", attributes.get("alt") or "")
        elif tag == "br":
            self._break()
        elif tag == "tr":
            builder.end_line()
            self._cells = []
        elif tag in ("td", "th") and not self._heading and not self._in_cell:
            self._cells = [] if self._cells is None else self._cells
            builder.open_buffer()
            self._in_cell = True
        elif tag == "pre":
            self._code = []
        elif tag == "li" and not builder.is_apart:
            builder.buffer.begin_item("- ")
        elif tag in BLOCKS:
            self._separate(tag)

    def _end(self, tag: str) -> None:
        builder = self._builder
        if self._unseen:
            if tag in self._unseen:
                del self._unseen[self._unseen.index(tag) :]
        elif tag in HEADINGS and self._heading:
            level, self._heading = self._heading, 0
            self._end_heading(level, builder.close_buffer())
        elif tag in ("td", "th") and self._in_cell and self._cells is not None:
            self._in_cell = False
            self._cells.append(builder.close_buffer())
        elif tag == "tr" and self._cells is not None:
            if self._in_cell:
                self._end("td")
            cells, self._cells = self._cells, None
            if any(cells):
                builder.end_line()
                builder.buffer.add_verbatim(" | ".join(cells).strip())
                builder.end_line()
        elif tag == "pre" and self._code is not None:
            lines, self._code = "".join(self._code).strip("\n"), None
            builder.end_paragraph()
            builder.buffer.add_verbatim(fence_code(lines))
            builder.end_paragraph()
        elif tag in BLOCKS:
            self._separate(tag)

    def _add_text(self, text: str) -> None:
        if self._unseen:
            return
        if self._code is not None:
            self._code.append(text)
        else:
            self._builder.buffer.add_text(text)

    def _break(self) -> None:
        if self._builder.is_apart:
            self._builder.buffer.add_text(" ")
        else:
            self._builder.end_line()

    def _separate(self, tag: str) -> None:
        if self._builder.is_apart:
            self._builder.buffer.add_text(" ")
        elif tag in _LINES:
            self._builder.end_line()
        else:
            self._builder.end_paragraph()


class _EventParser(HTMLParser):
    """Python's parser, as three functions."""

    def __init__(
        self,
        begin: Callable[[str, dict[str, str | None]], None],
        end: Callable[[str], None],
        text: Callable[[str], None],
    ) -> None:
        super().__init__(convert_charrefs=True)
        self._begin, self._finish, self._text = begin, end, text

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._begin(tag, dict(attrs))

    def handle_endtag(self, tag: str) -> None:
        self._finish(tag)

    def handle_data(self, data: str) -> None:
        self._text(data)
