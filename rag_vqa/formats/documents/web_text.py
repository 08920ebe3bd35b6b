"""The text of a web page as people read it, cut into sections at its headings.

Knows what elements mean for people: headings, paragraphs, lists, tables, code, pictures, formulas.
Does not know what of a page is left out (web_furniture.py), nor where its pictures are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from rag_vqa.formats.documents.section_builder import (
    SectionBuilder,
    fence_code,
)
from rag_vqa.formats.documents.web_furniture import PageParts
from rag_vqa.formats.documents.web_headings import anchor_of, heading_level, is_heading
from rag_vqa.formats.documents.web_pictures import (
    PictureFinder,
    caption_of,
    inline_text,
    is_icon,
    list_addresses,
)
from rag_vqa.formats.documents.web_tables import Cell, TableRows, is_layout, read_span
from rag_vqa.formats.documents.web_tree import (
    HEADINGS,
    TEXT,
    Attributes,
    Node,
    Step,
    is_block,
    text_below,
    walk_tree,
    words_of,
)

_PARAGRAPHS: Final = frozenset(
    """p dl table pre listing xmp blockquote figure section article header footer aside details
    form fieldset hr address main""".split()  # noqa: SIM905
)
_LISTS: Final = frozenset(("ul", "ol", "menu", "dir"))
_CODE: Final = frozenset(("pre", "listing", "xmp", "plaintext"))
_PICTURES: Final = frozenset(("img", "amp-img", "image"))
_SUPERSCRIPTS: Final = str.maketrans("0123456789+-−n", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻ⁿ")
_MAX_DRAWN_PICTURES: Final = 20  # in one drawing
_POWER: Final = re.compile(r"\s*[0-9+−n-]{1,5}\s*")
_FOOTNOTE: Final = re.compile(r"\s*[\[(]?\s*(?:[\w*†‡§]{1,4}|note \d+)\s*[\])]?\s*")
_NOTE_CLASSES: Final = frozenset(("footnote-ref", "footnote-reference", "footnote-back", "noteref"))
_NOTE_ROLES: Final = frozenset(("doc-noteref", "doc-backlink"))
_WORD_MARKER: Final = re.compile(r"mso-list\s*:\s*ignore", re.IGNORECASE)
_WORD_LEVEL: Final = re.compile(r"mso-list\s*:[^;]*level(\d)", re.IGNORECASE)
_NUMBERED: Final = re.compile(r"[\w.]{1,8}[.)]")


def read_sections(
    parts: PageParts, builder: SectionBuilder, pictures: PictureFinder, title: str = ""
) -> None:
    """Read the main text of a page into a builder.

    Args:
        title: of the page: a heading of level one that says the same opens no section.

    Raises:
        BadInput: over a limit.
    """
    walk = _PageWalk(parts, builder, pictures, title)
    for root in parts.roots:
        for step in walk_tree(root, walk.is_left_out):
            walk.take(step)
        builder.end_paragraph()


@dataclass(slots=True)
class _List:
    """A list that is open; `number` of the next item, None without numbers."""

    number: int | None


@dataclass(slots=True)
class _PageWalk:
    parts: PageParts
    builder: SectionBuilder
    pictures: PictureFinder
    title: str
    _lists: list[_List] = field(default_factory=list)
    _tables: list[TableRows | None] = field(default_factory=list)  # None: for layout
    _cells: list[str] = field(default_factory=list)  # what pictures in open cells say
    _code: list[str] = field(default_factory=list)
    _in_code: int = 0
    _headings: int = 0  # open ones
    _held: list[tuple[bytes | str, str]] = field(default_factory=list)  # pictures in a heading
    _raised: int = 0  # open elements whose digits stand above the line
    _figures: list[bool] = field(default_factory=list)  # whether each has a caption of its own
    _is_first: bool = True  # no heading has come yet
    _term: int = 0  # where the term of a definition began
    _labels: int = 0  # open summaries and terms, in which buttons are text

    def is_left_out(self, node: Node, tag: str, attributes: Attributes) -> bool:
        if tag == "svg":
            for image in node.css("image")[:_MAX_DRAWN_PICTURES]:
                self._take_picture(image, image.attributes)
        if self.parts.is_left_out(node, tag, attributes):
            self.builder.keep_heading_silent()
            return True
        if tag == "button":
            return not (self._headings or self._labels)
        if tag in ("sup", "a"):
            return _is_note_mark(node, tag, attributes)
        if tag == "math":
            return self._take_formula(node, attributes)
        if tag == "span" and _WORD_MARKER.search(attributes.get("style") or ""):
            marker = text_below(node).strip()
            level = _WORD_LEVEL.search(node.parent.attributes.get("style") or "")
            depth = int(level[1]) - 1 if level else 0
            is_number = _NUMBERED.fullmatch(marker)
            self.builder.buffer.begin_item(f"{marker} " if is_number else "- ", depth)
            return True
        return False

    def take(self, step: Step) -> None:
        """The next text, or the next beginning or end of an element."""
        if step.tag == TEXT:
            self._add_text(step.node.text_content)
        elif step.tag in HEADINGS or is_heading(step):
            self._take_heading(step)
        elif step.tag in _CODE:
            self._take_code(step)
        elif step.tag in _PICTURES:
            if step.begins:
                self._take_picture(step.node, step.attributes)
        elif step.tag in ("br", "wbr"):
            if step.begins and step.tag == "br":
                self._break_line()
        elif step.tag in _LISTS or step.tag in ("li", "dt", "dd", "dl"):
            self._take_list(step)
        elif step.tag in ("table", "tr", "td", "th", "caption"):
            self._take_table(step)
        else:
            self._take_other(step)

    def _add_text(self, text: str) -> None:
        if self._in_code:
            self._code.append(text)
        elif self._raised and _POWER.fullmatch(text):
            self.builder.buffer.add_text(text.translate(_SUPERSCRIPTS))
        else:
            self.builder.buffer.add_text(text)

    def _break_line(self) -> None:
        if self._in_code:
            self._code.append("\n")
        elif self.builder.is_apart:
            self.builder.buffer.add_text(" ")
        else:
            self.builder.end_line()

    def _separate(self, *, paragraph: bool) -> None:
        """A block begins or ends."""
        if self._in_code:
            if self._code and not self._code[-1].endswith("\n"):
                self._code.append("\n")
        elif self.builder.is_apart:
            self.builder.buffer.add_text(" ")
        elif paragraph and not self._lists:
            self.builder.end_paragraph()
        else:
            self.builder.end_line()

    def _take_other(self, step: Step) -> None:
        tag, attributes = step.tag, step.attributes
        change = 1 if step.begins else -1
        if tag == "sup":
            self._raised += change
        elif tag == "q":
            self.builder.buffer.add_text("“" if step.begins else "”")
        elif tag == "summary":
            self._labels += change
        elif tag == "figure":
            if step.begins:
                is_inner = len(self._figures) > 3  # a search in each of many levels takes long
                self._figures.append(is_inner or step.node.css_first("figcaption") is not None)
            else:
                self._figures.pop()
        if is_block(tag, attributes):
            self._separate(paragraph=tag in _PARAGRAPHS)

    def _take_heading(self, step: Step) -> None:
        if self._in_code or self._cells:
            self._separate(paragraph=False)
        elif step.begins:
            if not self._headings:
                self.builder.end_paragraph()
                self.builder.open_buffer()
            self._headings += 1
        else:
            self._headings -= 1
            if not self._headings:
                self._end_heading(step)

    def _end_heading(self, step: Step) -> None:
        heading = self.builder.close_buffer()
        held, self._held = self._held, []
        if not heading and held:
            heading = held[0][1]  # a picture of its words
        level = heading_level(step)
        is_title = heading.casefold() == self.title.casefold() != "" and (
            level == 1 or self._is_first
        )
        if heading:
            self._is_first = False
        if is_title:
            self.builder.end_paragraph()
        else:
            self.builder.begin_section(level, heading, anchor_of(step))
        for image, caption in held:
            self.builder.add_picture(image, "" if caption == heading else caption)

    def _take_code(self, step: Step) -> None:
        if step.begins:
            if not self._in_code:
                self._separate(paragraph=True)
            self._in_code += 1
            return
        self._in_code -= 1
        if not self._in_code:
            lines, self._code = "".join(self._code), []
            lines = lines.replace("\r\n", "\n").replace("\u00a0", " ").strip("\n").rstrip()
            if self.builder.is_apart:
                self.builder.buffer.add_text(lines)
            else:
                self.builder.buffer.add_verbatim(fence_code(lines))
            self._separate(paragraph=True)

    def _take_list(self, step: Step) -> None:
        tag, buffer = step.tag, self.builder.buffer
        if tag in _LISTS:
            if step.begins:
                self._separate(paragraph=True)
                start = (step.attributes.get("start") or "1").strip()
                first = int(start) if re.fullmatch(r"-?[0-9]{1,6}", start) else 1
                self._lists.append(_List(first if tag == "ol" else None))
            else:
                self._lists.pop()
                self._separate(paragraph=True)
        elif tag == "li" and step.begins:
            self._begin_item(step.attributes)
        elif tag == "dt":
            self._labels += 1 if step.begins else -1
            if step.begins:
                buffer.end_join()
                self._separate(paragraph=False)
                self._term = buffer.length
            elif buffer.length > self._term:
                buffer.join(" " if buffer.tail(1)[-1:] in ":;.?!" else ": ")
        elif tag == "dl":
            buffer.end_join()
            self._separate(paragraph=True)
        else:
            self._separate(paragraph=False)

    def _begin_item(self, attributes: Attributes) -> None:
        marker = "- "
        if self._lists and self._lists[-1].number is not None:
            value = (attributes.get("value") or "").strip()
            if re.fullmatch(r"-?[0-9]{1,6}", value):
                self._lists[-1].number = int(value)
            marker = f"{self._lists[-1].number}. "
            self._lists[-1].number += 1
        buffer = self.builder.buffer
        if self._in_code:
            self._separate(paragraph=False)
        elif self.builder.is_apart:
            buffer.join(" " if buffer.tail(1)[-1:] in ":;,." else "; ")
        else:
            buffer.begin_item(marker, len(self._lists) - 1)

    def _take_table(self, step: Step) -> None:
        if step.tag == "table":
            self._separate(paragraph=True)
            if not step.begins:
                self._tables.pop()
            elif self._in_code or self.builder.is_apart or is_layout(step.node, step.attributes):
                self._tables.append(None)
            else:
                self._tables.append(TableRows())
            return
        rows = self._tables[-1] if self._tables else None
        if rows is None:
            self._separate(paragraph=step.tag == "td" and not self.builder.is_apart)
        elif step.tag == "tr":
            line = "" if step.begins else rows.end_row()
            if line:
                self.builder.end_line()
                self.builder.buffer.add_verbatim(line)
                self.builder.end_line()
        elif step.begins:
            self.builder.open_buffer()
            if step.tag != "caption":
                self._cells.append("")
        elif step.tag == "caption":
            caption = self.builder.close_buffer()
            self.builder.buffer.add_text(caption)
            self.builder.end_line()
        else:
            self._end_cell(rows, step.attributes)

    def _end_cell(self, rows: TableRows, attributes: Attributes) -> None:
        text, shown = self.builder.close_buffer().strip(), self._cells.pop().strip()
        if text and shown and shown.casefold() not in text.casefold():
            self.builder.add_caption(shown)
        spans = read_span(attributes, "rowspan"), read_span(attributes, "colspan")
        rows.add_cell(Cell(text or shown, *spans))

    def _take_picture(self, node: Node, attributes: Attributes) -> None:
        if self._in_code:
            return
        text = inline_text(attributes)
        if text:
            self.builder.buffer.add_text(text)
            return
        addresses = [] if is_icon(attributes) else list_addresses(node, attributes)
        image = self.pictures.find(addresses) if addresses else None
        if image is None:
            return
        caption = "" if any(self._figures) else caption_of(attributes)
        if self._headings:
            self._held.append((image, caption))
        elif self._cells:
            self.builder.add_picture(image)
            self._cells[-1] += f" {caption}"
        else:
            self.builder.add_picture(image, caption)

    def _take_formula(self, node: Node, attributes: Attributes) -> bool:
        """Whether a formula says itself how it is written."""
        text = attributes.get("alttext") or ""
        if not text:
            note = node.css_first("annotation")
            text = text_below(note) if note is not None else ""
        if text:
            self.builder.buffer.add_text(re.sub(r"^\{\\(?:display|text)style (.*)\}$", r"\1", text))
        return bool(text)


def _is_note_mark(node: Node, tag: str, attributes: Attributes) -> bool:
    """Whether an element is the number of a footnote, or the way back from it."""
    if (attributes.get("role") or "").strip().lower() in _NOTE_ROLES:
        return True
    if not _NOTE_CLASSES.isdisjoint(words_of(attributes.get("class"))):
        return True
    if attributes.get("epub:type") == "noteref":
        return True
    if tag != "sup":
        return False
    link = node.css_first("a")
    if link is None or "#" not in (link.attributes.get("href") or ""):
        return False
    return bool(_FOOTNOTE.fullmatch(text_below(node)))
