"""Styles and numbers of Word: which paragraphs are headings, and how items of lists are numbered.

Knows styles.xml and numbering.xml. Does not know text.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from rag_vqa.formats.documents.office_package import attribute, child_of, tag_of

_BODY_LEVEL: Final = 9  # outline level of text that is no heading
_MAX_STYLES: Final = 64  # in a chain of styles that are based on one another
# Word writes built-in names in English; other programs write them in the user's language.
_HEADING = re.compile(
    r"(?:heading|überschrift|titre|título|titulo|titolo|kop|rubrik|overskrift|otsikko|nagłówek|"
    r"nadpis|címsor|cabeçalho|başlık|заголовок|επικεφαλίδα|見出し|标题|標題|제목) ?([1-9])"
)
_TITLES: Final = frozenset(
    ("title", "titel", "titolo", "título", "otsikko", "tytuł", "název", "cím", "başlık", "название",
     "τίτλος", "表題", "제목")
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ListItem:
    """That a paragraph is an item of a list.

    Attributes:
        number: identifies the list.
        level: from 0.
    """

    number: str
    level: int


class WordStyles:
    """The styles of a document; styles.xml may be absent."""

    def __init__(self, root: Any | None) -> None:
        self._styles: dict[str, Any] = {}
        self._default = ""
        for style in () if root is None else root:
            if tag_of(style) == "style" and attribute(style, "type") in ("paragraph", None):
                identity = attribute(style, "styleId") or ""
                self._styles.setdefault(identity, style)
                if attribute(style, "default") in ("1", "true", "on"):
                    self._default = self._default or identity

    def heading_level(self, properties: Any | None) -> int | None:
        """The level of a heading, from 1; None of other paragraphs."""
        found = _value(properties, "outlineLvl")
        for style in self._chain(properties):
            if found is not None:
                break
            name = _style_name(style)
            if match := _HEADING.fullmatch(name):
                return int(match[1])
            found = _value(child_of(style, "pPr"), "outlineLvl")
        if found is None or not found.isdecimal() or int(found) >= _BODY_LEVEL:
            return None
        return int(found) + 1

    def is_title(self, properties: Any | None) -> bool:
        """Whether a paragraph is the document's title."""
        return any(_style_name(style) in _TITLES for style in self._chain(properties)[:2])

    def is_contents_line(self, properties: Any | None) -> bool:
        """Whether a paragraph is a line of the table of contents."""
        names = (_style_name(style) for style in self._chain(properties)[:1])
        return any(re.fullmatch(r"toc \d|table of figures", name) for name in names)

    def list_item(self, properties: Any | None) -> ListItem | None:
        """The list that a paragraph is an item of, by itself or by its style."""
        number, level = None, None
        styles = self._chain(properties)
        for each in (properties, *(child_of(style, "pPr") for style in styles)):
            numbered = None if each is None else child_of(each, "numPr")
            if numbered is not None:
                number = number or _value(numbered, "numId")
                level = level or _value(numbered, "ilvl")
        if number in (None, "0"):
            return None
        return ListItem(str(number), min(8, int(level)) if level and level.isdecimal() else 0)

    def _chain(self, properties: Any | None) -> list[Any]:
        """The style of a paragraph, then those that it is based on."""
        identity = _value(properties, "pStyle") or self._default
        chain: list[Any] = []
        while identity in self._styles and len(chain) < _MAX_STYLES:
            style = self._styles[identity]
            if style in chain:
                break
            chain.append(style)
            identity = _value(style, "basedOn") or ""
        return chain


class WordNumbering:
    """The numbers of lists, counted in the order in which their items are asked for."""

    def __init__(self, root: Any | None) -> None:
        self._levels: dict[str, dict[int, Any]] = {}  # list → its levels
        self._counters: dict[str, str] = {}  # list → what it counts with: lists may share that
        self._starts: dict[tuple[str, int], int] = {}
        self._counts: dict[str, list[int]] = defaultdict(lambda: [0] * 9)
        children: Iterable[Any] = () if root is None else root
        abstract = {
            attribute(each, "abstractNumId"): each
            for each in children if tag_of(each) == "abstractNum"
        }  # fmt: skip
        for each in children:
            shared = _value(each, "abstractNumId") if tag_of(each) == "num" else None
            if shared in abstract:
                self._read_list(attribute(each, "numId") or "", each, str(shared), abstract[shared])

    def label(self, item: ListItem) -> str:
        """What stands before an item: "-", "3." or "2.1)"."""
        levels = self._levels.get(item.number, {})
        level = levels.get(item.level)
        if level is None:
            return "-"
        counts = self._counts[self._counters[item.number]]
        start = self._starts.get((item.number, item.level), 1)
        counts[item.level] = max(counts[item.level] + 1, start)
        counts[item.level + 1 :] = [0] * (8 - item.level)
        if _value(level, "numFmt") in ("bullet", "none", "picture"):
            return "-"
        text = _value(level, "lvlText") or ""

        def number(match: re.Match[str]) -> str:
            at = int(match[1]) - 1
            count = counts[at] or self._starts.get((item.number, at), 1)
            return _format_number(count, _value(levels.get(at), "numFmt"))

        return re.sub(r"%([1-9])", number, text).strip() or "-"

    def _read_list(self, number: str, element: Any, shared: str, abstract: Any) -> None:
        levels = {_level_of(each): each for each in abstract if tag_of(each) == "lvl"}
        counter = shared
        for override in element:
            if tag_of(override) != "lvlOverride":
                continue
            level = _level_of(override)
            if (start := _value(override, "startOverride")) is not None:
                counter = f"{shared}/{number}"  # it begins again
                self._starts[number, level] = _integer(start, 1)
            if (other := child_of(override, "lvl")) is not None:
                levels[level] = other
        for level, each in levels.items():
            self._starts.setdefault((number, level), _integer(_value(each, "start"), 1))
        self._levels[number], self._counters[number] = levels, counter


def _style_name(style: Any) -> str:
    return (_value(style, "name") or "").strip().lower()


def _value(element: Any | None, name: str) -> str | None:
    """The `val` of a child."""
    child = None if element is None else child_of(element, name)
    return None if child is None else attribute(child, "val")


def _level_of(element: Any) -> int:
    return min(8, _integer(attribute(element, "ilvl"), 0))


def _integer(text: str | None, default: int) -> int:
    return int(text) if text and re.fullmatch(r"\d{1,6}", text, re.ASCII) else default


def _format_number(count: int, form: str | None) -> str:
    if form in ("lowerLetter", "upperLetter"):
        letters = chr(ord("a") + (count - 1) % 26) * min(8, (count - 1) // 26 + 1)
        return letters if form == "lowerLetter" else letters.upper()
    if form in ("lowerRoman", "upperRoman"):
        roman = _roman_number(count)
        return roman if form == "lowerRoman" else roman.upper()
    return str(count)


def _roman_number(count: int) -> str:
    """
    >>> _roman_number(1994)
    'mcmxciv'
    """
    if not 0 < count < 4000:
        return str(count)
    values = (1000, 900, 500, 400, 100, 90, 50, 40, 10, 9, 5, 4, 1)
    signs = ("m", "cm", "d", "cd", "c", "xc", "l", "xl", "x", "ix", "v", "iv", "i")
    text = ""
    for value, sign in zip(values, signs, strict=True):
        text += sign * (count // value)
        count %= value
    return text
