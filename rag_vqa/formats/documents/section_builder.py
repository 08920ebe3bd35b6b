"""Builds sections from the words, lines and pictures of a text that is read from its beginning.

Knows how blanks collapse, what separates lines and paragraphs, and the path of headings. Does not
know HTML or Markdown: their readers call it as they go.

Paragraphs are separated by an empty line; items of a list and rows of a table stand on lines of
their own. A caption stands after the paragraph in which its picture stands, unless the section says
the same elsewhere. A heading with nothing below it is the text of its section.
"""

from __future__ import annotations

import re
from typing import Final

from rag_vqa.errors import BadInput
from rag_vqa.formats.sections import Section

MAX_SECTIONS: Final = 20_000  # of one document: a long reference book has a thousand
MAX_PICTURES: Final = 20_000
_BLANKS: Final = re.compile(r"[\s\u00a0\u2000-\u200a\u202f\u205f\u3000]+")
_NO_GLYPH: Final = re.compile("[\u00ad\u200b\u2060\ufeff]")  # soft hyphen, break marks
_MAX_INDENT: Final = 8  # levels of lists within lists


def collapse_blanks(text: str) -> str:
    """The text with one blank for each run of blanks, and without marks that nobody sees.

    >>> collapse_blanks("60\\u00a0litres \\n of wa\\u00adter")
    '60 litres of water'
    """
    return _BLANKS.sub(" ", _NO_GLYPH.sub("", text))


def fence_code(lines: str) -> str:
    """Several lines of code between fences, so that no passage takes its indentation.

    >>> fence_code("if x:\\n    y()")
    '```\\nif x:\\n    y()\\n```'
    """
    if "\n" not in lines:
        return lines
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", lines)), default=0))
    return f"{fence}\n{lines}\n{fence}"


class TextBuffer:
    """A text that grows by words and by breaks; blanks at breaks vanish."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._break = ""  # what stands before the next word
        self._joined = False  # breaks do not count until the next word
        self._marker = ""  # of a list's item, before its first word
        self._is_item = False  # the last paragraph is an item of a list

    def add_text(self, text: str) -> None:
        """Words within a line; blanks in them collapse."""
        text = collapse_blanks(text)
        if not text or (text == " " and self._break):
            return
        if text[0] == " " and self._parts and not self._break:
            self._break = " "
        words = text.strip(" ")
        if not words:
            return
        self._write(words)
        if text[-1] == " ":
            self._break = " "

    def add_verbatim(self, text: str) -> None:
        """Lines that keep their blanks, such as code."""
        if text:
            self._write(text)

    def end_line(self) -> None:
        if not self._joined and self._break != "\n\n":
            self._break = "\n"

    def end_paragraph(self) -> None:
        if not self._joined:
            self._break = "\n\n"

    def join(self, separator: str) -> None:
        """What stands between the last word and the next one, whatever breaks come between."""
        if self._parts:
            self._break, self._joined = separator, True

    def end_join(self) -> None:
        """No word has come to join."""
        if self._joined:
            self._break, self._joined = "\n", False

    def begin_item(self, marker: str, depth: int = 0) -> None:
        """The next words are an item of a list. Without words there is no marker either."""
        self.end_line()
        if self._is_item and self._break == "\n\n":
            self._break = "\n"
        self._marker = "  " * min(depth, _MAX_INDENT) + marker

    @property
    def text(self) -> str:
        return "".join(self._parts)

    @property
    def is_empty(self) -> bool:
        return not self._parts

    @property
    def length(self) -> int:
        """Number of parts, as a place for `says_again` and `remove`."""
        return len(self._parts)

    def tail(self, parts: int = 16) -> str:
        """The last words, without joining all that is before."""
        return "".join(self._parts[-parts:])

    def says_again(self, place: int) -> bool:
        """Whether what is written at a place is said once more right after it."""
        after = "".join(self._parts[place + 1 : place + 17]).casefold()
        return self._parts[place].casefold() in after

    def remove(self, place: int) -> None:
        """Take away what is written at a place, with the break before it."""
        self._parts[place] = ""
        if place:
            self._parts[place - 1] = ""

    def _write(self, words: str) -> None:
        if self._parts:
            self._parts.append(self._break)
        if self._marker:
            self._parts.append(self._marker)
            self._marker, self._is_item = "", True
        elif "\n" in self._break:
            self._is_item = False
        self._parts.append(words)
        self._break, self._joined = "", False


class SectionBuilder:
    """Sections, from headings, words and pictures in the order of the text.

    Attributes:
        buffer: the text of the section under way; headings and cells get one of their own.
        sections: those that are complete.

    Raises:
        BadInput: more sections or pictures than the limits.
    """

    def __init__(self, path: tuple[str, ...] = ()) -> None:
        """`path`: headings of a whole that the text is part of, such as a book's chapter."""
        self.buffer = TextBuffer()
        self.sections: list[Section] = []
        self._base = path
        self._path: list[tuple[int, str]] = []
        self._anchor = ""
        self._images: dict[bytes | str, None] = {}
        self._captions: list[str] = []
        self._written: list[int] = []  # places of captions in the section's text
        self._pictures = 0
        self._is_bare = False  # a heading, and nothing below it yet
        self._outer: list[TextBuffer] = []

    def open_buffer(self) -> None:
        """Collect what follows apart, until `close_buffer`."""
        self._outer.append(self.buffer)
        self.buffer = TextBuffer()

    def close_buffer(self) -> str:
        """The text since `open_buffer`."""
        text = self.buffer.text
        self.buffer = self._outer.pop()
        return text

    @property
    def is_apart(self) -> bool:
        """Whether a buffer is open: a heading or a cell, in which nothing can be separated."""
        return bool(self._outer)

    def end_line(self) -> None:
        self.buffer.end_line()

    def end_paragraph(self) -> None:
        self.buffer.end_paragraph()
        if self._captions and not self._outer:
            captions, self._captions = self._captions, []
            for caption in captions:
                if caption.casefold() not in self.buffer.tail().casefold():
                    self.buffer.add_verbatim(caption)
                    self._written.append(self.buffer.length - 1)
                    self.buffer.end_line()
            self.buffer.end_paragraph()

    def add_picture(self, image: bytes | str, caption: str = "") -> None:
        """A picture of this section; each is kept once."""
        self._pictures += 1
        if self._pictures > MAX_PICTURES:
            raise BadInput(f"it shows over {MAX_PICTURES:,} pictures: divide it.")
        self._images.setdefault(image)
        self.add_caption(caption)

    def add_caption(self, caption: str) -> None:
        """What a picture of this paragraph shows."""
        caption = collapse_blanks(caption).strip()
        if caption:
            self._captions.append(caption)

    def begin_section(self, level: int, heading: str, anchor: str = "") -> None:
        """A heading of `level`, 1 being the highest. An empty one only ends the paragraph."""
        heading = collapse_blanks(heading).strip()
        if not heading:
            self.end_paragraph()
            return
        is_below = bool(self._path) and level > self._path[-1][0]
        self._end_section(with_bare_heading=not is_below)
        while self._path and self._path[-1][0] >= level:
            self._path.pop()
        self._path.append((level, heading))
        self._anchor, self._is_bare = anchor, True

    def keep_heading_silent(self) -> None:
        """Something below this heading was left out on purpose: alone it says nothing."""
        self._is_bare = False

    def finish(self) -> list[Section]:
        """All sections."""
        self._end_section(with_bare_heading=True)
        return self.sections

    def _end_section(self, *, with_bare_heading: bool) -> None:
        self.end_paragraph()
        for place in self._written:
            if self.buffer.says_again(place):
                self.buffer.remove(place)
        text = self.buffer.text.strip()
        if not text and not self._images and self._is_bare and with_bare_heading:
            text = self._path[-1][1]
        if text or self._images:
            if len(self.sections) >= MAX_SECTIONS:
                raise BadInput(f"it has over {MAX_SECTIONS:,} sections: divide it.")
            headings = (*self._base, *(heading for _, heading in self._path))
            images = tuple(self._images)
            self.sections.append(Section(headings, text, images, anchor=self._anchor))
        self.buffer, self._images, self._is_bare = TextBuffer(), {}, False
        self._written = []
