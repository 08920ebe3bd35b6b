"""Text of a PDF page: characters as PDFium gives them become runs, pieces of lines at places.

Knows characters, their boxes, and in which of four directions a page is written. Does not know the
order of columns (page_layout.py) or tags (pdf_tags.py).

Text that is turned, as on a page with a wide table, is turned back: all places are as its reader
sees them. Most characters decide what is upright; what is written in other directions comes last.
"""

from __future__ import annotations

import ctypes
import math
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from rag_vqa.formats.documents.page_boxes import RAISED, Box, Run
from rag_vqa.formats.documents.writing_direction import Letter, is_leftward, order_letters

MAX_CHARACTERS: Final = 200_000  # of a page: a newspaper page has 40,000
LINE_END_HYPHEN: Final = "\u00ad"  # of a word that goes on in the next line
_WIDE_GAP: Final = 1.0  # line heights: a wider gap parts columns or cells
_LEAST_HEIGHT: Final = 0.5  # points: smaller letters are no text for people
_SLANT: Final = 0.1  # quarters: what is more slanted is a stamp across the page
_LOOK_AT: Final = 4  # each fourth character tells whether the font is readable
_MOST_UNKNOWN: Final = 0.3  # of the characters: more, and the text is no text
_BULLETS: Final = str.maketrans("\uf0b7\uf0a7\uf0d8\uf0fc\uf076", "•▪➢✓❖")
_TYPEWRITER = re.compile(rb"courier|mono|consol|menlo|typewriter|fixed", re.IGNORECASE)
_COMPOSED: Final = (  # ligatures, Arabic forms, letters of formulas
    ("\ufb00", "\ufb06"), ("\ufb50", "\ufdff"), ("\ufe70", "\ufefc"), ("\U0001d400", "\U0001d7ff"),
)  # fmt: skip

Place: TypeAlias = tuple[float, float, float, float]  # left, bottom, right, top


@dataclass(slots=True)
class PageText:
    """The text of a page.

    Attributes:
        runs: upright ones, in the order of the file.
        turned: runs in other directions, each list in its own places.
        quarter: turns of the page's places, counterclockwise, that make it upright.
        unreadable: the font does not say which letters its signs are.
    """

    runs: list[Run] = field(default_factory=list)
    turned: list[list[Run]] = field(default_factory=list)
    quarter: int = 0
    unreadable: bool = False


def read_text(text_page: Any, area: Box, tag_of_object: Callable[[Any], int] | None) -> PageText:
    """The text of a page of PDFium.

    Args:
        area: of the page that is shown: text outside is left out.
        tag_of_object: the tag of an object of text; None if the file has no tags.
    """
    import pypdfium2.raw as pdfium

    count = min(pdfium.FPDFText_CountChars(text_page), MAX_CHARACTERS)
    builder = _RunBuilder(
        lambda index: pdfium.FPDFText_GetCharAngle(text_page, index),
        lambda index: _is_fixed_pitch(text_page, index),
    )
    rect = pdfium.FS_RECTF()
    unicode, place = pdfium.FPDFText_GetUnicode, pdfium.FPDFText_GetLooseCharBox
    object_of, unmapped = pdfium.FPDFText_GetTextObject, pdfium.FPDFText_HasUnicodeMapError
    unknown = looked_at = 0
    tag, high = -1, 0
    for index in range(count):
        code = unicode(text_page, index)
        if 0xD800 <= code < 0xE000:  # the halves of a character beyond 16 bits
            if code < 0xDC00:
                high = code
                continue
            code = 0x10000 + (high - 0xD800 << 10) + (code - 0xDC00) if high else 0xFFFD
        high = 0
        if code <= 32 or code == 0xA0:
            if code == 2:  # PDFium's sign for a hyphen at the end of a line
                builder.add_hyphen()
            elif code in (10, 13):
                builder.end_run()
            else:
                builder.add_space()
            continue
        if not place(text_page, index, rect):
            continue
        if not index % _LOOK_AT:
            looked_at += 1
            unknown += code == 0xFFFD or unmapped(text_page, index) == 1
        if tag_of_object is not None:
            tag = tag_of_object(object_of(text_page, index))
        builder.add(index, code, (rect.left, rect.bottom, rect.right, rect.top), tag)
    found = builder.finish(area)
    found.unreadable = unknown > _MOST_UNKNOWN * looked_at
    return found


def turn_box(box: Place, quarter: int) -> Place:
    """A box (left, bottom, right, top) after the page is turned clockwise by quarters.

    >>> turn_box((0, 0, 10, 20), 1)
    (0, -10, 20, 0)
    """
    left, bottom, right, top = box
    if quarter == 1:
        return bottom, -right, top, -left
    if quarter == 2:
        return -right, -top, -left, -bottom
    if quarter == 3:
        return -top, left, -bottom, right
    return box


def clean_text(text: str) -> str:
    """Text without ligatures and control characters.

    >>> clean_text("e\ufb03cient")
    'efficient'
    """
    if text.isascii() and text.isprintable():
        return text
    text = text.translate(_BULLETS)
    pieces = (
        unicodedata.normalize("NFKC", c) if any(a <= c <= b for a, b in _COMPOSED) else c
        for c in text
        if not 0xE000 <= ord(c) <= 0xF8FF and unicodedata.category(c) not in ("Cc", "Cs", "Cn")
    )
    return "".join(pieces)


def read_wide_text(read: Callable[..., int], *arguments: Any, limit: int = 2**16) -> str:
    """The text that a function of PDFium writes into a buffer, on one line.

    Args:
        read: is called with the arguments, a buffer, and the bytes of it; it returns how many bytes
            the text takes.
        limit: bytes that are read at most.
    """
    length = min(read(*arguments, None, 0), limit) & ~1
    if length < 4:
        return ""
    units = (ctypes.c_ushort * (length // 2))()
    read(*arguments, units, length)
    text = bytes(units).decode("utf-16-le", "replace").partition("\0")[0]
    return " ".join(clean_text(" ".join(text.split())).split())


class _RunBuilder:
    """Puts characters together to runs, in each direction by itself."""

    def __init__(self, angle_of: Callable[[int], float], is_fixed: Callable[[int], bool]) -> None:
        self._angle_of, self._is_fixed = angle_of, is_fixed
        self._runs: list[list[Run]] = [[], [], [], []]
        self._run: Run | None = None
        self._quarter: int | None = 0  # None: slanted, as a stamp across the page
        self._box: Place = (0.0, 0.0, 0.0, 0.0)  # of the last character
        self._space = False
        self._letters: list[Letter] = []  # of the run, if one of them belongs to the left

    def add_space(self) -> None:
        self._space = True

    def add_hyphen(self) -> None:
        if self._run is not None:
            self._run.text += LINE_END_HYPHEN
        self.end_run()

    def end_run(self) -> None:
        if self._run is not None and self._letters:
            self._run.text = order_letters(self._letters)
            self._letters = []
        self._run, self._space = None, False

    def add(self, index: int, code: int, box: Place, tag: int) -> None:
        place = turn_box(box, self._quarter) if self._quarter else box
        run, text = self._run, clean_text(chr(code)) if code < 0x110000 else ""
        if run is None or tag != run.tag or not self._goes_on(place, text):
            turns = -self._angle_of(index) / (math.pi / 2)  # PDFium counts clockwise
            self._quarter = round(turns) % 4 if abs(turns - round(turns)) < _SLANT else None
            place = turn_box(box, self._quarter or 0)
            self.end_run()
            run = self._run = Run(*place, "", tag, self._is_fixed(index))
            if self._quarter is not None:
                self._runs[self._quarter].append(run)
        elif self._space:
            run.text += " "
        left, bottom, right, top = place
        if self._letters or (code > 0x589 and is_leftward(text)):
            self._letters.append((left, right, text))
        run.text += _raise_digit(text, run, bottom, top)
        run.left, run.right = min(run.left, left), max(run.right, right)
        if top - bottom < 2 * run.height:
            run.bottom, run.top = min(run.bottom, bottom), max(run.top, top)
        self._box, self._space = place, False

    def _goes_on(self, place: Place, text: str) -> bool:
        """Whether a character stands beside the last one, on its line, in its direction."""
        before = self._box
        height = min(place[3] - place[1], before[3] - before[1])
        shared = min(place[3], before[3]) - max(place[1], before[1])
        gap = max(place[0] - before[2], before[0] - place[2])
        if shared <= 0.4 * height or gap >= _WIDE_GAP * max(height, 1.0):
            return False
        if self._letters:
            return not (text.isalnum() and not is_leftward(text))
        goes_back = place[2] < before[0] + 0.2 * height
        return not goes_back and not (text > "\u0589" and is_leftward(text))

    def finish(self, area: Box) -> PageText:
        """The text that lies in an area of the page."""
        self.end_run()
        kept: list[list[Run]] = []
        for quarter, runs in enumerate(self._runs):
            shown = Box(*turn_box((area.left, area.bottom, area.right, area.top), quarter))
            kept.append(
                [
                    run for run in runs
                    if run.text.strip() and shown.contains(run)
                    and run.height > _LEAST_HEIGHT and math.isfinite(run.width * run.height)
                ]
            )  # fmt: skip
        sizes = [sum(len(run.text) for run in runs) for runs in kept]
        quarter = sizes.index(max(sizes))
        others = [runs for number, runs in enumerate(kept) if runs and number != quarter]
        return PageText(kept[quarter], others, quarter)


def _is_fixed_pitch(text_page: Any, index: int) -> bool:
    """Whether all letters of a font are equally wide, as in listings of programs."""
    import pypdfium2.raw as pdfium

    flags, name = ctypes.c_int(), ctypes.create_string_buffer(128)
    pdfium.FPDFText_GetFontInfo(text_page, index, name, len(name), flags)
    return bool(flags.value & 1) or _TYPEWRITER.search(name.raw) is not None


def _raise_digit(text: str, run: Run, bottom: float, top: float) -> str:
    """A small digit above the line as a raised one; any other text as it is."""
    is_small = top - bottom < 0.85 * run.height and bottom > run.bottom + 0.2 * run.height
    return text.translate(RAISED) if is_small and run.text and text.isdecimal() else text
