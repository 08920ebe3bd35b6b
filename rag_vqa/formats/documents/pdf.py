"""PDF: a document, its title and its pages, one after the other.

Knows documents, and pages without text, which are kept as pictures. Does not know how a page is
read (pdf_page.py), nor how pages become sections (pdf_sections.py). Pages are read one at a time,
with two neighbours on each side, so that memory does not grow with the document.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Self

from rag_vqa.errors import BadInput
from rag_vqa.formats.document_reader import DocumentReader, register_reader
from rag_vqa.formats.documents.foreign_files import describe_other_kind
from rag_vqa.formats.documents.isolated_child import PageLog
from rag_vqa.formats.documents.isolation import parse_apart
from rag_vqa.formats.documents.pdf_outline import read_outline
from rag_vqa.formats.documents.pdf_page import PdfPage, read_page
from rag_vqa.formats.documents.pdf_sections import SectionAssembler, large_title
from rag_vqa.formats.documents.pdf_text import read_wide_text
from rag_vqa.formats.documents.running_lines import (
    NEIGHBOURS,
    find_running_pictures,
    find_running_rows,
)
from rag_vqa.formats.sections import ParsedDocument, Section

MAX_FILE_BYTES: Final = 2 * 2**30
MAX_PAGES: Final = 5_000
_REOPEN_PAGES: Final = 32
_MOST_DAMAGED: Final = 20  # pages in a row: the others are not tried
_ERRORS: Final = {  # by PDFium's number
    4: "it is encrypted with a password: save it without one.",
    5: "it is encrypted in a way that cannot be read: save it without encryption.",
}
_DATE = re.compile(r"(?:D:)?(\d{4})(\d\d)?(\d\d)?")
_NO_TITLE = re.compile(
    r"\W*(?:untitled|unnamed|unspecified|anonymous|about:blank|unbenannt|sans titre|sin título|"
    r"document|dokument|slide|presentation|powerpoint)[\W\d]*(?:presentation)?|[\W\d]*|"
    r".*\.(?:docx?|pptx?|xlsx?|indd|qxp|qxd|pmd|fm|tex|dvi|pdf|odt|rtf|cdr|ai|html?|tiff?|jpe?g)",
    re.IGNORECASE,
)
_NUMBERED = re.compile(r"\d+(?:\.\d+)*\.?\s")  # a heading
_PREFIX = re.compile(r"microsoft (?:word|powerpoint|excel) - ", re.IGNORECASE)


def parse_pdf(path: Path, pages: PageLog) -> ParsedDocument:
    """The document in a PDF file.

    Raises:
        BadInput: it is damaged, encrypted, empty or over a limit.
    """
    _check_file(path)
    with ExitStack() as stack:
        reader = stack.enter_context(_PageReader(path, pages))
        if not reader.pages:
            raise BadInput("it is damaged: it has no pages.")
        first = reader.read(1)
        outline_title, marks = read_outline(reader.document.raw, reader.pages)
        title = _title(reader.document.raw) or outline_title
        if not title and isinstance(first, PdfPage):
            guess = large_title(first)
            is_heading = _NUMBERED.match(guess) or any(mark.path[-1] == guess for mark in marks)
            title = "" if is_heading else guess
        metadata = _metadata(reader.document.raw)
        sections = _sections(reader, first, SectionAssembler(title, marks), stack.pop_all())
    return ParsedDocument(sections, title, metadata)


def _open_document(path: Path) -> Any:
    """
    Raises:
        BadInput: it is damaged or encrypted.
    """
    import pypdfium2
    import pypdfium2.raw as pdfium

    try:
        document = pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError as error:
        reason = _ERRORS.get(pdfium.FPDF_GetLastError(), f"it is damaged ({error}).")
        raise BadInput(reason) from error
    if document.get_formtype():
        document.init_forms()
    return document


class _PageReader:
    """Reads the pages of a document; those that killed an earlier process are skipped.

    PDFium keeps in memory what it has read of a file. So the file is opened anew after some pages.
    """

    def __init__(self, path: Path, log: PageLog) -> None:
        """Open the document. Raises BadInput."""
        import pypdfium2.raw as pdfium

        self._path, self._log = path, log
        self.document = _open_document(path)
        self._outdated: list[Any] = []
        self._begun = 0  # pages that were read since it was opened
        self.pages = len(self.document)
        self.count = min(self.pages, MAX_PAGES)
        self._tagged = bool(pdfium.FPDFCatalog_IsTagged(self.document.raw))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for document in (*self._outdated, self.document):
            document.close()

    def read(self, number: int) -> PdfPage | BadInput | None:
        """A page, from 1; the reason why it cannot be read, or None if it is to be skipped."""
        if not self._log.begin(number):
            return None
        if self._begun >= _REOPEN_PAGES:
            self._outdated.append(self.document)
            self.document, self._begun = _open_document(self._path), 0
        self._begun += 1
        form = self.document.formenv.raw if self.document.formenv else None
        try:
            return read_page(self.document.raw, number, form, self._tagged)
        except BadInput as error:
            return error

    def resume(self, number: int) -> None:
        """Report that the pictures of a page are drawn now."""
        self._log.begin(number)

    def release(self, page: PdfPage | BadInput | None) -> None:
        """Close a page, and documents of which no page is open any more."""
        if isinstance(page, PdfPage):
            page.close()
        if self._begun > 2 * NEIGHBOURS:
            for document in self._outdated:
                document.close()
            self._outdated.clear()


def _sections(
    reader: _PageReader,
    first: PdfPage | BadInput | None,
    assembler: SectionAssembler,
    opened: ExitStack,
) -> Iterator[Section | BadInput]:
    """The sections of a document; each page is closed when it is done."""
    window: deque[PdfPage | BadInput | None] = deque([first])
    damaged = 0
    with opened:
        for number in range(1, reader.count + 1):
            while len(window) <= min(number - 1, NEIGHBOURS) + NEIGHBOURS:
                following = number - min(number - 1, NEIGHBOURS) + len(window)
                if following > reader.count:
                    break
                window.append(reader.read(following))
            at = min(number - 1, NEIGHBOURS)
            page = window[at]
            damaged = damaged + 1 if isinstance(page, BadInput) else 0
            if damaged > _MOST_DAMAGED:
                yield BadInput(f"the pages from {number} to {reader.count} cannot be read: {page}")
                break
            if isinstance(page, BadInput):
                yield page
            elif page is not None:
                reader.resume(number)
                neighbours = [other for other in window if isinstance(other, PdfPage)]
                _drop_running_lines(page, [each for each in neighbours if each is not page])
                yield from assembler.add_page(page)
            if at == NEIGHBOURS:
                reader.release(window.popleft())
        while window:
            reader.release(window.popleft())
        yield from assembler.finish()
        if reader.pages > reader.count and damaged <= _MOST_DAMAGED:
            yield BadInput(
                f"the pages from {reader.count + 1:,} to {reader.pages:,} were left out: a PDF may "
                f"have {MAX_PAGES:,} pages. Divide it."
            )


def _drop_running_lines(page: PdfPage, neighbours: Sequence[PdfPage]) -> None:
    """Mark what neighbouring pages have as well; their rows stay for the comparison."""
    rows = find_running_rows(page, neighbours)
    pictures = find_running_pictures(page, neighbours)
    page.kept = [
        row
        for number, row in enumerate(page.rows)
        if number not in rows and (row.image is None or row.image not in pictures)
    ]


def _check_file(path: Path) -> None:
    """
    Raises:
        BadInput: the file is over the limit, empty, or another kind of file.
    """
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise BadInput(f"the file is over {MAX_FILE_BYTES // 2**30} GB: divide it.")
    with path.open("rb") as file:
        head = file.read(1024)
    if b"%PDF" not in head:
        raise BadInput(describe_other_kind(path))


def _title(document: Any) -> str:
    """The title in the file's properties, unless a program put its own words there."""
    title = _PREFIX.sub("", _property(document, b"Title"))
    return "" if _NO_TITLE.fullmatch(title) or len(title) < 3 else title[:400]


def _property(document: Any, name: bytes) -> str:
    import pypdfium2.raw as pdfium

    return read_wide_text(pdfium.FPDF_GetMetaText, document, name)


def _metadata(document: Any) -> dict[str, str]:
    import pypdfium2.raw as pdfium

    dates = (_DATE.match(_property(document, name)) for name in (b"ModDate", b"CreationDate"))
    author = _property(document, b"Author")
    found = {
        "author": "" if _NO_TITLE.fullmatch(author) else author,
        "date": next(("-".join(filter(None, date.groups())) for date in dates if date), ""),
        "language": read_wide_text(pdfium.FPDFCatalog_GetLanguage, document),
    }
    return {name: value for name, value in found.items() if value}


register_reader(
    DocumentReader(
        name="pdf",
        suffixes=(".pdf",),
        parse=lambda path: parse_apart(parse_pdf, path),
        modules=("pypdfium2",),
    )
)
