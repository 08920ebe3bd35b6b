"""Tags of a PDF page: which text is a heading, a cell, an item of a list, and in which order.

Knows the structure tree as PDFium gives it. Does not know where text stands (pdf_text.py), but for
putting the pieces of one paragraph together.

Word, LibreOffice and browsers write tags. They tell what geometry can only guess, so they are used
where they cover nearly all of a page's text. What is tagged as an artifact (headers, footers, page
numbers) has no place in the tree and is left out.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from rag_vqa.formats.documents.page_boxes import Box, Row, Run, group_lines, surround, text_row
from rag_vqa.formats.documents.section_writer import format_row

UNTAGGED: Final = -1  # no content of the tree
_MAX_ELEMENTS: Final = 50_000
_MAX_DEPTH: Final = 64
_COVERAGE: Final = 0.9  # of the letters
_HEADING = re.compile(r"H([1-6])?|Title")
_PARAGRAPHS: Final = frozenset(("P", "LI", "Caption", "Note", "FENote", "Figure", "TOCI"))
_BLOCKS: Final = _PARAGRAPHS | {
    "BlockQuote",
    "Div",
    "Sect",
    "Part",
    "Art",
    "Index",
    "Form",
    "Aside",
}
_IN_ITEMS: Final = frozenset(("P", "Div", "Sect"))
_CELLS: Final = frozenset(("TD", "TH"))


@dataclass(slots=True)
class TaggedBlock:
    """A paragraph, heading, item or row, with the tags of its content in reading order.

    Attributes:
        cells: tags by cell; a block that is no row of a table has one.
        level: of a heading, from 1.
        table: number of the table that a row belongs to, from 1.
        is_container: it consists of other blocks.
    """

    cells: list[list[int]] = field(default_factory=lambda: [[]])
    level: int | None = None
    is_row: bool = False
    table: int = 0
    is_item: bool = False
    is_container: bool = False
    is_contents: bool = False


def read_tags(page: Any) -> list[TaggedBlock]:
    """The tagged blocks of a page of PDFium in reading order; empty if it has no tags."""
    import pypdfium2.raw as pdfium

    tree = pdfium.FPDF_StructTree_GetForPage(page)
    if not tree:
        return []
    try:
        reader = _TreeReader()
        for number in range(max(0, pdfium.FPDF_StructTree_CountChildren(tree))):
            child = pdfium.FPDF_StructTree_GetChildAtIndex(tree, number)
            if child:
                reader.read(child, 0, None, None)
        return [block for block in reader.blocks if any(block.cells)]
    finally:
        pdfium.FPDF_StructTree_Close(tree)


def tag_reader() -> Callable[[Any], int]:
    """A function that gives the tag of an object of text."""
    import pypdfium2.raw as pdfium

    known: dict[int, int] = {}

    def tag_of(text_object: Any) -> int:
        if not text_object:
            return UNTAGGED
        address = ctypes.addressof(text_object.contents)
        if address not in known:
            known[address] = pdfium.FPDFPageObj_GetMarkedContentID(text_object)
        return known[address]

    return tag_of


def order_by_tags(runs: Sequence[Run], blocks: Sequence[TaggedBlock]) -> list[Row] | None:
    """The rows of a page in the order of its tags; None if they cover too little of its text."""
    tagged = {tag for block in blocks for cell in block.cells for tag in cell}
    letters = sum(len(run.text) for run in runs)
    covered = sum(len(run.text) for run in runs if run.tag in tagged)
    outside = sum(len(run.text) for run in runs if run.tag not in tagged and run.tag != UNTAGGED)
    artifacts = letters - covered - outside
    if not covered or covered < _COVERAGE * (letters - artifacts) or artifacts > covered:
        return None
    by_tag: dict[int, list[Run]] = {}
    for run in runs:
        by_tag.setdefault(run.tag, []).append(run)
    rows: list[Row] = []
    for number, block in enumerate(blocks):
        cells = [[run for tag in cell for run in by_tag.get(tag, ())] for cell in block.cells]
        found = [run for cell in cells for run in cell]
        if not found or block.is_contents:
            continue
        if block.is_row:
            text = format_row([_join_lines(cell) for cell in cells])
            size = max(run.height for run in found)
            row = Row(*surround(found), text=text, size=size, is_table=True, block=-block.table)
            rows.append(row)
        else:
            lines = _lines(found)
            rows += lines
            for row in lines:
                row.level, row.block, row.goes_on = block.level, number + 1, row is not lines[0]
            lines[0].starts = True
    return rows


class _TreeReader:
    """Walks through the tree and collects blocks."""

    def __init__(self) -> None:
        self.blocks: list[TaggedBlock] = []
        self._elements = self._tables = 0

    def read(
        self, element: Any, depth: int, block: TaggedBlock | None, row: TaggedBlock | None
    ) -> None:
        """Read an element.

        Args:
            block: what its content belongs to.
            row: the row of a table that it lies in.
        """
        import pypdfium2.raw as pdfium

        self._elements += 1
        if depth > _MAX_DEPTH or self._elements > _MAX_ELEMENTS:
            return
        kind = _text_of(pdfium.FPDF_StructElement_GetType, element)
        heading = _HEADING.fullmatch(kind)
        self._tables += kind == "Table"
        if kind == "TR":
            block = row = self._begin(TaggedBlock([], is_row=True, table=self._tables))
        elif row is not None:
            block = row
            if kind in _CELLS:
                row.cells.append([])
        elif heading is not None:
            block = self._begin(TaggedBlock(level=int(heading[1] or 1)))
        elif (
            block is None
            or (kind == "Formula" and block.is_container)
            or (kind in _BLOCKS and not (block.is_item and kind in _IN_ITEMS))
        ):
            block = self._begin(
                TaggedBlock(
                    is_item=kind == "LI",
                    is_contents=kind == "TOCI",
                    is_container=kind not in _PARAGRAPHS,
                )
            )
        for number in range(max(0, pdfium.FPDF_StructElement_CountChildren(element))):
            child = pdfium.FPDF_StructElement_GetChildAtIndex(element, number)
            tag = pdfium.FPDF_StructElement_GetChildMarkedContentID(element, number)
            if child:
                self.read(child, depth + 1, block, row)
            elif tag >= 0:
                if block.is_container and block is not self.blocks[-1]:
                    block = self._begin(TaggedBlock(is_container=True))
                block.cells = block.cells or [[]]
                block.cells[-1].append(tag)

    def _begin(self, block: TaggedBlock) -> TaggedBlock:
        self.blocks.append(block)
        return block


def _lines(runs: Sequence[Run]) -> list[Row]:
    """The lines of one paragraph, in the order of the file if it continues in another column."""
    rows: list[Row] = []
    part: list[Box] = []
    for run in runs:
        if part and run.bottom > part[-1].top + 2 * run.height:  # it jumps up: a new column
            rows += _text_rows(part)
            part = []
        part.append(run)
    return rows + _text_rows(part)


def _text_rows(boxes: Sequence[Box]) -> list[Row]:
    return [text_row([run for run in line if isinstance(run, Run)]) for line in group_lines(boxes)]


def _join_lines(runs: Sequence[Run]) -> str:
    return " ".join(row.text for row in _lines(runs)) if runs else ""


def _text_of(read: Callable[..., int], element: Any) -> str:
    length = read(element, None, 0)
    if not 2 < length <= 4096:
        return ""
    buffer = ctypes.create_string_buffer(length)
    read(element, buffer, length)
    return buffer.raw[: length - 2].decode("utf-16-le", "replace")
