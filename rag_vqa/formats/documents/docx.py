"""Word: headings become sections, with lists, tables, notes, text boxes and pictures in place.

Knows the parts of a document and the blocks of its body. Does not know styles and numbers of lists
(word_styles.py), nor what is in a drawing (office_drawings.py).

Left out are headers and footers, comments, deleted and hidden text, and the table of contents. The
title is the paragraph of the style Title; else the only heading of the highest level, if it comes
first; else that of the file's properties.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from rag_vqa.formats.document_reader import DocumentReader, register_reader
from rag_vqa.formats.documents.isolated_child import PageLog
from rag_vqa.formats.documents.isolation import parse_apart
from rag_vqa.formats.documents.office_drawings import (
    RAISED,
    choose_alternative,
    drawing_pictures,
    drawing_texts,
)
from rag_vqa.formats.documents.office_package import (
    OfficePackage,
    attribute,
    child_of,
    descendants,
    tag_of,
)
from rag_vqa.formats.documents.section_writer import SectionWriter, format_row
from rag_vqa.formats.documents.word_styles import WordNumbering, WordStyles
from rag_vqa.formats.sections import ParsedDocument, Section

# What is around blocks, or around text, and means nothing to us.
_WRAPPERS: Final = frozenset(
    ("sdtContent", "customXml", "smartTag", "ins", "moveTo", "hyperlink", "fldSimple", "bdo",
     "dir", "ruby", "rubyBase", "r")
)  # fmt: skip
_SIGNS: Final = {"tab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-", "ptab": "\t"}
_DRAWINGS: Final = frozenset(("drawing", "pict", "object"))


def parse_docx(path: Path, pages: PageLog) -> ParsedDocument:
    """The document in a Word file.

    Raises:
        BadInput: it is damaged, encrypted, over a limit, or another kind of file.
    """
    package = OfficePackage(path, "word/", "a Word document (.docx)")
    with ExitStack() as stack:
        stack.enter_context(package)
        body = _WordBody(package)
        metadata = package.properties()
        title = body.title or metadata.get("title", "")
        sections = _sections(body, stack.pop_all())
    return ParsedDocument(sections, title, {k: v for k, v in metadata.items() if k != "title"})


def _sections(body: _WordBody, opened: ExitStack) -> Iterator[Section]:
    with opened:
        yield from body.sections()


class _WordBody:
    """The body of a document, and the parts that it refers to."""

    def __init__(self, package: OfficePackage) -> None:
        self._package, main = package, package.main_part
        self._root = package.xml(main)
        self._links = package.relationships(main)
        self._styles = WordStyles(self._part("styles"))
        self._numbering = WordNumbering(self._part("numbering"))
        self._notes = {
            (kind, attribute(note, "id")): note
            for kind in ("footnote", "endnote")
            if (root := self._part(f"{kind}s")) is not None
            for note in root
        }
        self._note_count = 0
        self._writer = SectionWriter()
        self.title, self._title_paragraph = self._find_title()

    def sections(self) -> Iterator[Section]:
        """Read the body, once."""
        for body in descendants(self._root, "body"):
            yield from self._read_blocks(body, nested=False)
        yield from self._writer.close()

    def _part(self, kind: str) -> Any | None:
        part = self._package.related_part(self._package.main_part, kind)
        return None if part is None else self._package.xml_or_none(part)

    def _find_title(self) -> tuple[str, Any | None]:
        """The title, and its paragraph: that is no text."""
        headings: list[tuple[int, Any]] = []
        for paragraph in descendants(self._root, "p"):
            properties = child_of(paragraph, "pPr")
            level = self._styles.heading_level(properties)
            is_title = self._styles.is_title(properties)
            if is_title or level is not None:
                text = " ".join(_plain_text(paragraph).split())
                if is_title and text:
                    return text, paragraph
                if level is not None and text:
                    headings.append((level, paragraph))
        levels = [level for level, _ in headings]
        if len(levels) > 1 and levels[0] < min(levels[1:]):
            return " ".join(_plain_text(headings[0][1]).split()), headings[0][1]
        return "", None

    def _read_blocks(self, container: Any, *, nested: bool) -> Iterator[Section]:
        """Read paragraphs and tables; within a table or a text box, headings are plain text."""
        items: list[str] = []  # of the list that is being read
        for block in container:
            name = tag_of(block)
            if name == "p":
                yield from self._read_paragraph(block, items, nested=nested)
                continue
            self._end_list(items)
            if name == "tbl":
                yield from self._read_table(block, nested=nested)
            elif name == "sdt" and not _is_contents(block):
                content = child_of(block, "sdtContent")
                if content is not None:
                    yield from self._read_blocks(content, nested=nested)
            elif name in _WRAPPERS:
                yield from self._read_blocks(block, nested=nested)
            elif name == "AlternateContent" and (chosen := choose_alternative(block)) is not None:
                yield from self._read_blocks(chosen, nested=nested)
        self._end_list(items)

    def _end_list(self, items: list[str]) -> None:
        self._writer.add_text("\n".join(items))
        items.clear()

    def _read_paragraph(
        self, paragraph: Any, items: list[str], *, nested: bool
    ) -> Iterator[Section]:
        properties = child_of(paragraph, "pPr")
        if self._styles.is_contents_line(properties):
            return
        drawings: list[Any] = []
        text = self._text(paragraph, drawings).strip()
        level = None if nested else self._styles.heading_level(properties)
        if paragraph is self._title_paragraph:
            text = ""
        if level is not None and text:
            self._end_list(items)
            yield from self._writer.open_heading(level, " ".join(text.split()))
        elif text and (item := self._styles.list_item(properties)) is not None:
            items.append(f"{'  ' * item.level}{self._numbering.label(item)} {text}")
        elif text:
            self._end_list(items)
            self._writer.add_text(text)
        for drawing in drawings:
            self._end_list(items)
            yield from self._read_drawing(drawing)

    def _read_drawing(self, drawing: Any) -> Iterator[Section]:
        for picture in drawing_pictures(drawing, self._package, self._links):
            self._writer.add_image(picture)
        for text in drawing_texts(drawing, self._package, self._links):
            self._writer.add_text(text)
        for box in _outermost(drawing, "txbxContent"):
            yield from self._read_blocks(box, nested=True)

    def _read_table(self, table: Any, *, nested: bool) -> Iterator[Section]:
        """A table: a line a row. One of a single cell a row is a frame around blocks."""
        rows = [row for row in _unwrap(table, "tr") if child_of(row, "trPr", "del") is None]
        if all(len(list(_unwrap(row, "tc"))) == 1 for row in rows):
            for row in rows:
                for cell in _unwrap(row, "tc"):
                    yield from self._read_blocks(cell, nested=nested)
            return
        lines: list[str] = []
        drawings: list[Any] = []
        for row in rows:
            self._read_row(row, lines, drawings)
        self._writer.add_text("\n".join(lines))
        for drawing in drawings:
            yield from self._read_drawing(drawing)

    def _read_row(self, row: Any, lines: list[str], drawings: list[Any]) -> None:
        """Add a row's line, then those of the tables in its cells."""
        cells: list[str] = []
        inner: list[Any] = []
        for cell in _unwrap(row, "tc"):
            merged = child_of(cell, "tcPr", "vMerge")
            if merged is not None and attribute(merged, "val") != "restart":
                cells.append("")
                continue
            texts = (self._text(p, drawings) for p in _unwrap(cell, "p"))
            cells.append(" ".join(text for text in texts if text.strip()))
            inner += _unwrap(cell, "tbl")
        if line := format_row(cells):
            lines.append(line)
        for table in inner:
            for each in _unwrap(table, "tr"):
                self._read_row(each, lines, drawings)

    def _text(self, element: Any, drawings: list[Any]) -> str:
        """The text in a paragraph; its drawings are collected."""
        pieces: list[str] = []
        for child in element:
            name = tag_of(child)
            if name == "t":
                pieces.append(child.text or "")
            elif name == "r":
                pieces.append(self._run_text(child, drawings))
            elif name in _SIGNS:
                pieces.append("" if attribute(child, "type") == "page" else _SIGNS[name])
            elif name == "sym":
                pieces.append(_symbol(attribute(child, "char")))
            elif name in _DRAWINGS:
                drawings.append(child)
            elif name in ("footnoteReference", "endnoteReference"):
                pieces.append(self._note_mark(name.removesuffix("Reference"), child))
            elif name == "AlternateContent":
                chosen = choose_alternative(child)
                pieces.append("" if chosen is None else self._text(chosen, drawings))
            elif "/math" in child.tag:
                pieces.append(self._formula_part(name, self._text(child, drawings)))
            elif name == "sdt" or name in _WRAPPERS:
                pieces.append(self._text(child, drawings))
        return "".join(pieces)

    @staticmethod
    def _formula_part(name: str, text: str) -> str:
        """A part of a formula, on the line: fractions, powers, roots."""
        if name in ("num", "den", "sup", "sub") and len(text) > 1 and not text.isalnum():
            text = f"({text})"
        if name == "sup" and text.isdecimal():
            return text.translate(RAISED)
        sign = {"den": "/", "sup": "^", "sub": "_", "rad": "√"}.get(name, "")
        return sign + text if text else ""

    def _run_text(self, run: Any, drawings: list[Any]) -> str:
        properties = child_of(run, "rPr")
        text = self._text(run, drawings)
        if properties is None or not text:
            return text
        hidden = child_of(properties, "vanish")
        if hidden is not None and attribute(hidden, "val") not in ("0", "false", "off"):
            return ""
        raised = child_of(properties, "vertAlign")
        if raised is not None and attribute(raised, "val") == "superscript":
            sign = text.translate(RAISED)
            return sign if not set(sign) & set(text) else text
        return text

    def _note_mark(self, kind: str, reference: Any) -> str:
        """The number of a note; the note itself goes to the end of the section."""
        note = self._notes.get((kind, attribute(reference, "id")))
        if note is None:
            return ""
        self._note_count += 1
        mark = str(self._note_count).translate(RAISED)
        texts = (self._text(paragraph, []).strip() for paragraph in descendants(note, "p"))
        self._writer.add_note(f"{mark} {' '.join(filter(None, texts))}")
        return mark


def _plain_text(paragraph: Any) -> str:
    """The text of a heading, without drawings and notes."""
    pieces = []
    for each in descendants(paragraph, "t", "tab", "br"):
        pieces.append(each.text or "" if tag_of(each) == "t" else " ")
    return "".join(pieces)


def _is_contents(block: Any) -> bool:
    gallery = child_of(block, "sdtPr", "docPartObj", "docPartGallery")
    return gallery is not None and attribute(gallery, "val") == "Table of Contents"


def _symbol(code: str | None) -> str:
    """A sign of a font such as Symbol; those in the private area have no meaning elsewhere."""
    try:
        number = int(code or "", 16)
    except ValueError:
        return ""
    return chr(number) if 0x20 <= number < 0xD800 else ""


def _unwrap(container: Any, wanted: str) -> Iterator[Any]:
    """The children of a name, also those within content controls and insertions."""
    for child in container:
        name = tag_of(child)
        if name == wanted:
            yield child
        elif name == "sdt" or name in _WRAPPERS:
            yield from _unwrap(child, wanted)


def _outermost(element: Any, name: str) -> Iterator[Any]:
    """Descendants of a name that lie in no other of it; of two editions, one."""
    for child in element:
        if tag_of(child) == name:
            yield child
        elif tag_of(child) == "AlternateContent":
            if (chosen := choose_alternative(child)) is not None:
                yield from _outermost(chosen, name)
        else:
            yield from _outermost(child, name)


register_reader(
    DocumentReader(
        name="docx",
        suffixes=(".docx", ".docm"),
        parse=lambda path: parse_apart(parse_docx, path),
        modules=("lxml",),
    )
)
