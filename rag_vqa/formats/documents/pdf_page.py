"""A PDF page: its rows in reading order, and its pictures among them.

Knows how text, tags, drawing and form fields of one page come together. Does not know other pages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from rag_vqa.errors import BadInput
from rag_vqa.formats.documents.page_boxes import Box, Figure, Row, Run
from rag_vqa.formats.documents.page_layout import order_rows
from rag_vqa.formats.documents.page_paragraphs import body_size
from rag_vqa.formats.documents.page_tables import find_ruled_tables
from rag_vqa.formats.documents.pdf_drawing import (
    Picture,
    find_figures,
    read_drawing,
    turn_place,
)
from rag_vqa.formats.documents.pdf_tags import order_by_tags, read_tags, tag_reader
from rag_vqa.formats.documents.pdf_text import PageText, read_text, read_wide_text, turn_box

_FEW_LETTERS: Final = 300  # on a page that is a drawing with its labels
_FIELD_HEIGHT: Final = 10.0  # points, of the letters in a field of a form
_MAX_FIELDS: Final = 2_000
_MAX_FIELD_BYTES: Final = 40_000


@dataclass(slots=True)
class PdfPage:
    """A page that was read; `handle` stays open until its pictures are drawn.

    Attributes:
        number: from 1.
        area: its edges, as its reader sees them.
        pictures: as its reader sees them; rows name them by number.
        places: where they are in the page's own places.
        quarter: turns, clockwise, that make it upright.
        size: the usual height of its letters.
        kept: its rows without headers, footers and what else runs from page to page.
        is_photographs: its pictures are all that is drawn on it.
        has_drawing: anything is drawn on it.
    """

    number: int
    handle: Any
    area: Box
    rows: list[Row] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    places: list[Picture] = field(default_factory=list)
    quarter: int = 0
    size: float = 10.0
    has_tags: bool = False
    has_drawing: bool = False
    is_photographs: bool = False
    kept: list[Row] = field(default_factory=list)

    def close(self) -> None:
        import pypdfium2.raw as pdfium

        if self.handle is not None:
            pdfium.FPDF_ClosePage(self.handle)
            self.handle = None


def read_page(document: Any, number: int, form: Any, tagged: bool) -> PdfPage:
    """A page of a document of PDFium.

    Args:
        number: from 1.
        form: the form of the document, if it has one.
        tagged: the document says that it has tags.

    Raises:
        BadInput: the page cannot be read.
    """
    import pypdfium2.raw as pdfium

    handle = pdfium.FPDF_LoadPage(document, number - 1)
    if not handle:
        raise BadInput(f"page {number} is damaged: it was left out.")
    page = PdfPage(number, handle, Box(0, 0, 0, 0))
    text_page = pdfium.FPDFText_LoadPage(handle)
    if not text_page:
        page.close()
        raise BadInput(f"page {number} is damaged: its text cannot be read.")
    try:
        _fill(page, text_page, form, tagged)
    finally:
        pdfium.FPDFText_ClosePage(text_page)
    return page


def _fill(page: PdfPage, text_page: Any, form: Any, tagged: bool) -> None:
    own = _page_area(page.handle)
    text = read_text(text_page, own, tag_reader() if tagged else None)
    drawing = read_drawing(page.handle, own)
    page.quarter = text.quarter
    page.area = Box(*turn_place(own, text.quarter))
    page.has_drawing = bool(drawing.objects)
    page.is_photographs = not (drawing.strokes or drawing.rules or text.unreadable)
    if text.unreadable:
        text = PageText(quarter=text.quarter)
    text.runs += _field_runs(page.handle, form, text.quarter)
    rules = [Box(*turn_place(rule, text.quarter)) for rule in drawing.rules]
    tables = find_ruled_tables(text.runs, rules)
    page.places = drawing.pictures
    blocks = read_tags(page.handle) if tagged else []
    rows = order_by_tags(text.runs, blocks) if blocks else None
    page.has_tags = rows is not None
    has_text = sum(len(run.text) for run in text.runs) > _FEW_LETTERS
    own_tables = [Box(*turn_place(table, -text.quarter % 4)) for table in tables]
    page.places += find_figures(drawing, own_tables, own, has_text)
    page.pictures = [
        Picture(*turn_place(place, text.quarter), key=place.key, scale=place.scale)
        for place in page.places
    ]
    figures = [
        Figure(each.left, each.bottom, each.right, each.top, image=number)
        for number, each in enumerate(page.pictures)
    ]
    if rows is None:
        rows = _order(text.runs, tables, figures)
        figures = [each for each in figures if not any(r.image == each.image for r in rows)]
    for runs in text.turned:
        rows += order_rows(runs, [])
    page.size = body_size(rows)
    page.rows = _insert_figures(rows, figures)


def _order(runs: Sequence[Run], tables: list[Figure], figures: list[Figure]) -> list[Row]:
    """The rows by geometry. Pictures that lie behind text take no part in it."""
    free = [run for run in runs if not any(table.contains(run) for table in tables)]
    apart = [
        figure for figure in figures
        if sum(figure.contains(run, slack=-1) for run in runs) <= 2
        and not any(table.contains(figure) or figure.contains(table) for table in tables)
    ]  # fmt: skip
    return order_rows(free, [*tables, *apart])


def _insert_figures(rows: list[Row], figures: Sequence[Figure]) -> list[Row]:
    """Put pictures among rows: before the first row that stands below them."""
    for figure in sorted(figures, key=lambda each: each.top):
        middle = (figure.top + figure.bottom) / 2
        at = next(
            (
                number for number, row in enumerate(rows)
                if row.top < middle and row.left < figure.right and row.right > figure.left
            ),
            len(rows),
        )  # fmt: skip
        block = rows[at].block if at < len(rows) else -1
        row = Row(figure.left, figure.bottom, figure.right, figure.top, image=figure.image)
        row.block = block
        rows.insert(at, row)
    return rows


def _page_area(handle: Any) -> Box:
    import pypdfium2.raw as pdfium

    rect = pdfium.FS_RECTF()
    if not pdfium.FPDF_GetPageBoundingBox(handle, rect):
        return Box(0, 0, 612, 792)
    return Box(rect.left, rect.bottom, rect.right, rect.top)


def _field_runs(handle: Any, form: Any, quarter: int) -> list[Run]:
    """What is filled in on a page: fields of a form, and text that was typed on it."""
    import pypdfium2.raw as pdfium

    runs: list[Run] = []
    for number in range(min(max(0, pdfium.FPDFPage_GetAnnotCount(handle)), _MAX_FIELDS)):
        note = pdfium.FPDFPage_GetAnnot(handle, number)
        if not note:
            continue
        kind = pdfium.FPDFAnnot_GetSubtype(note)
        text = ""
        if kind == pdfium.FPDF_ANNOT_WIDGET and form:
            text = _field_value(form, note)
        elif kind == pdfium.FPDF_ANNOT_FREETEXT:
            text = read_wide_text(
                pdfium.FPDFAnnot_GetStringValue, note, b"Contents", limit=_MAX_FIELD_BYTES
            )
        rect = pdfium.FS_RECTF()
        if text.strip() and pdfium.FPDFAnnot_GetRect(note, rect):
            left, bottom, right, top = turn_box(
                (rect.left, rect.bottom, rect.right, rect.top), quarter
            )
            middle, half = (bottom + top) / 2, min(_FIELD_HEIGHT, abs(top - bottom)) / 2
            runs.append(Run(left, middle - half, right, middle + half, text))
        pdfium.FPDFPage_CloseAnnot(note)
    return runs


def _field_value(form: Any, note: Any) -> str:
    import pypdfium2.raw as pdfium

    kind = pdfium.FPDFAnnot_GetFormFieldType(form, note)
    if kind in (pdfium.FPDF_FORMFIELD_CHECKBOX, pdfium.FPDF_FORMFIELD_RADIOBUTTON):
        return "☒" if pdfium.FPDFAnnot_IsChecked(form, note) else "☐"
    if kind in (pdfium.FPDF_FORMFIELD_PUSHBUTTON, pdfium.FPDF_FORMFIELD_SIGNATURE):
        return ""
    return read_wide_text(pdfium.FPDFAnnot_GetFormFieldValue, form, note, limit=_MAX_FIELD_BYTES)
