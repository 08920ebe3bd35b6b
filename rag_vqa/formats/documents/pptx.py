"""PowerPoint: a slide is a section, with its text boxes in reading order, tables, notes, pictures.

Knows slides and shapes. Does not know what is in a drawing (office_drawings.py). Shapes are read
from the top, those beside one another from the left; a placeholder without a place of its own has
that of its layout. Left out are the date, the footer and the number of a slide, and what belongs to
its layout.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rag_vqa.errors import BadInput
from rag_vqa.formats.document_reader import DocumentReader, register_reader
from rag_vqa.formats.documents.isolated_child import PageLog
from rag_vqa.formats.documents.isolation import parse_apart
from rag_vqa.formats.documents.office_drawings import (
    choose_alternative,
    drawing_paragraph,
    drawing_pictures,
    drawing_texts,
)
from rag_vqa.formats.documents.office_package import (
    OfficePackage,
    Relationship,
    attribute,
    child_of,
    descendants,
    tag_of,
)
from rag_vqa.formats.documents.section_writer import SectionWriter, format_row
from rag_vqa.formats.sections import ParsedDocument, Section

MAX_SLIDES: Final = 5_000
_TITLES: Final = frozenset(("title", "ctrTitle"))
_LISTS: Final = frozenset(("body", "obj", ""))  # placeholders whose paragraphs are items
_FURNITURE: Final = frozenset(("dt", "ftr", "sldNum", "hdr", "sldImg"))
_SHAPES: Final = ("sp", "pic", "graphicFrame", "grpSp", "cxnSp", "contentPart")
_BESIDE: Final = 360_000  # EMU (1 cm): shapes whose tops differ less stand beside one another
_MAX_DEPTH: Final = 32  # of groups within groups
_NO_TITLE: Final = ("powerpoint presentation", "powerpoint-präsentation", "présentation powerpoint",
                    "presentación de powerpoint", "presentazione standard di powerpoint",
                    "presentation", "slide 1")  # fmt: skip

_Places = Mapping[tuple[str, str], tuple[int, int]]  # type and index of a placeholder → its place


def parse_pptx(path: Path, pages: PageLog) -> ParsedDocument:
    """The presentation in a PowerPoint file.

    Raises:
        BadInput: it is damaged, encrypted, over a limit, or another kind of file.
    """
    package = OfficePackage(path, "ppt/", "a PowerPoint presentation (.pptx)")
    with ExitStack() as stack:
        stack.enter_context(package)
        metadata = package.properties()
        title = metadata.pop("title", "")
        slides = _slide_parts(package)
        if title.lower() in _NO_TITLE or not title:
            title = next((found for part in slides[:1] if (found := _slide_title(package, part))),
                         title)  # fmt: skip
        sections = _sections(package, slides, pages, stack.pop_all())
    return ParsedDocument(sections, title, metadata)


def _sections(
    package: OfficePackage, slides: list[str], pages: PageLog, opened: ExitStack
) -> Iterator[Section | BadInput]:
    with opened:
        for number, part in enumerate(slides[:MAX_SLIDES], 1):
            if not pages.begin(number):
                continue
            try:
                root = package.xml(part)
            except BadInput as error:
                yield BadInput(f"slide {number} was left out: {error}")
                continue
            yield from _Slide(package, part, root).section(number)
        if len(slides) > MAX_SLIDES:
            yield BadInput(
                f"the slides from {MAX_SLIDES + 1:,} to {len(slides):,} were left out: a "
                f"presentation may have {MAX_SLIDES:,}. Divide it."
            )


def _slide_parts(package: OfficePackage) -> list[str]:
    """The slides in the order of the presentation."""
    links = package.relationships(package.main_part)
    ordered = [_link_id(each) for each in descendants(
        package.xml(package.main_part), "sldId")]  # fmt: skip
    return [links[name].target for name in ordered if name in links
            and not links[name].external]  # fmt: skip


def _link_id(element: Any) -> str:
    """The id of the link of a slide; the slide's own `id` has no namespace."""
    return next((str(value) for key, value in element.items() if key.endswith("}id")), "")


def _slide_title(package: OfficePackage, part: str) -> str:
    root = package.xml_or_none(part)
    return "" if root is None else _Slide(package, part, root).title


@dataclass(frozen=True, slots=True)
class _Shape:
    element: Any
    kind: str  # of its placeholder; "-" if it is none
    place: tuple[int, int] | None


class _Slide:
    def __init__(self, package: OfficePackage, part: str, root: Any) -> None:
        self._package = package
        self._links = package.relationships(part)
        layout = package.related_part(part, "slideLayout")
        self._places = _layout_places(package, layout)
        tree = child_of(root, "cSld", "spTree")
        shapes = [] if tree is None else list(self._shapes(tree, 0))
        titles = [shape for shape in shapes if shape.kind in _TITLES and _text(shape.element)]
        self.title = " ".join(_text(titles[0].element).split()) if titles else ""
        self._shapes_read = [shape for shape in shapes if shape not in titles[:1]]

    def section(self, number: int) -> Iterator[Section]:
        """The section of the slide, if anything is on it."""
        writer = SectionWriter()
        for shape in _in_reading_order(self._shapes_read):
            self._read(shape, writer)
        notes = self._notes()
        if notes:
            writer.add_text(f"Notes: {notes}")
        headings = (self.title,) if self.title else ()
        for section in writer.close():
            yield Section(headings, section.text, section.images, number,
                          name="" if headings else f"slide-{number}")  # fmt: skip
            return
        if self.title:  # a slide of a title alone
            yield Section(headings, self.title, (), number)

    def _shapes(self, tree: Any, depth: int) -> Iterator[_Shape]:
        """The shapes of a tree; those of a group stand together, at the place of the group."""
        for element in tree:
            if tag_of(element) == "AlternateContent":
                chosen = choose_alternative(element)
                if chosen is not None and depth < _MAX_DEPTH:
                    yield from self._shapes(chosen, depth + 1)
                continue
            if tag_of(element) not in _SHAPES or _is_hidden(element):
                continue
            holder = next(descendants(element, "ph"), None) if tag_of(element) != "grpSp" else None
            if holder is None:
                yield _Shape(element, "-", _place(element))
                continue
            kind, index = holder.get("type", ""), holder.get("idx", "")
            if kind in _FURNITURE:
                continue
            inherited = self._places.get(("", index)) or self._places.get((kind, ""))
            yield _Shape(element, kind, _place(element) or inherited)

    def _read(self, shape: _Shape, writer: SectionWriter, depth: int = 0) -> None:
        element, name = shape.element, tag_of(shape.element)
        if name == "grpSp":
            inner = list(self._shapes(element, depth)) if depth < _MAX_DEPTH else []
            for each in _in_reading_order(inner):
                self._read(each, writer, depth + 1)
            return
        for picture in drawing_pictures(element, self._package, self._links):
            writer.add_image(picture)
        if name == "graphicFrame":
            for table in descendants(element, "tbl"):
                writer.add_text(_table_text(table))
            for text in drawing_texts(element, self._package, self._links):
                writer.add_text(text)
        else:
            writer.add_text(_text(element, as_list=shape.kind in _LISTS))

    def _notes(self) -> str:
        links: Mapping[str, Relationship] = self._links
        part = next((x.target for x in links.values() if x.kind == "notesSlide"), None)
        root = None if part is None else self._package.xml_or_none(part)
        found = []
        for shape in () if root is None else descendants(root, "sp"):
            holder = next(descendants(shape, "ph"), None)
            if holder is not None and holder.get("type") == "body":
                found.append(_text(shape))
        return "\n".join(filter(None, found))


def _layout_places(package: OfficePackage, part: str | None) -> _Places:
    """Where the placeholders of a layout stand, by index and by type."""
    root = None if part is None else package.xml_or_none(part)
    places: dict[tuple[str, str], tuple[int, int]] = {}
    for shape in () if root is None else descendants(root, "sp"):
        holder, place = next(descendants(shape, "ph"), None), _place(shape)
        if holder is not None and place is not None:
            if index := holder.get("idx", ""):
                places.setdefault(("", index), place)
            places.setdefault((holder.get("type", ""), ""), place)
    return places


def _place(shape: Any) -> tuple[int, int] | None:
    """Left and top edge of a shape, if it has a place of its own."""
    offset = next(descendants(shape, "off"), None)
    if offset is None or next(descendants(shape, "xfrm"), None) is None:
        return None
    try:
        return int(offset.get("x", "0")), int(offset.get("y", "0"))
    except ValueError:
        return None


def _in_reading_order(shapes: list[_Shape]) -> list[_Shape]:
    """From the top; shapes that stand beside one another from the left."""
    placed = sorted((s for s in shapes if s.place), key=lambda s: (s.place or (0, 0))[1])
    ordered: list[_Shape] = []
    row: list[_Shape] = []
    for shape in placed:
        top = (shape.place or (0, 0))[1]
        if row and top - (row[0].place or (0, 0))[1] > _BESIDE:
            ordered += sorted(row, key=lambda s: s.place or (0, 0))
            row = []
        row.append(shape)
    ordered += sorted(row, key=lambda s: s.place or (0, 0))
    return [*ordered, *(shape for shape in shapes if not shape.place)]


def _text(shape: Any, as_list: bool = False) -> str:
    """The paragraphs of a shape; those of a list as items."""
    body = child_of(shape, "txBody")
    lines: list[tuple[int, str]] = []
    for paragraph in () if body is None else body:
        if tag_of(paragraph) == "p" and (text := drawing_paragraph(paragraph)):
            properties = child_of(paragraph, "pPr")
            level = "0" if properties is None else attribute(properties, "lvl") or "0"
            lines.append((int(level) if level.isdecimal() else 0, text))
    if not as_list or len(lines) < 2:
        return "\n".join(text for _, text in lines)
    return "\n".join(f"{'  ' * min(level, 8)}- {text}" for level, text in lines)


def _table_text(table: Any) -> str:
    rows = []
    for row in descendants(table, "tr"):
        cells = []
        for cell in row:
            if tag_of(cell) == "tc" and attribute(cell, "hMerge") not in ("1", "true"):
                merged = attribute(cell, "vMerge") in ("1", "true")
                cells.append("" if merged else _text(cell).replace("\n", " "))
        rows.append(format_row(cells))
    return "\n".join(filter(None, rows))


def _is_hidden(element: Any) -> bool:
    described = next(descendants(element, "cNvPr"), None)
    return described is not None and described.get("hidden") in ("1", "true")


register_reader(
    DocumentReader(
        name="pptx",
        suffixes=(".pptx", ".pptm", ".ppsx", ".ppsm"),
        parse=lambda path: parse_apart(parse_pptx, path),
        modules=("lxml",),
    )
)
