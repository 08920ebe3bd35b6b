"""Damaged PDF, Word and PowerPoint files: no traceback, no hang, no gigabyte. Nightly.

They are parsed without the child process that users have, so that a fault is seen as what it is.
"""

from __future__ import annotations

import io
import random
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import docx
import office_files
import picture_files
import pptx
import pytest
from mutation import check_mutations, mutate, mutate_zip
from pdf_files import Mark, Page, make_pdf, tagged_pdf
from PIL import Image
from pptx.util import Cm

from rag_vqa.errors import BadInput
from rag_vqa.formats.documents.docx import parse_docx
from rag_vqa.formats.documents.isolated_child import PageLog
from rag_vqa.formats.documents.isolation import IsolatedParser
from rag_vqa.formats.documents.pdf import parse_pdf
from rag_vqa.formats.documents.pptx import parse_pptx
from rag_vqa.formats.sections import Section

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(0)]

PHOTO = Image.linear_gradient("L").convert("RGB").resize((60, 40))
PNG = picture_files.file(PHOTO, "PNG")
PDF_TOKENS = (
    b"endobj", b"stream\n", b"endstream", b"xref", b"trailer", b"%%EOF", b" 0 R", b"/Kids[3 0 R]",
    b"/Count 99999999", b"/Length 4294967295", b"/Filter/FlateDecode", b"/Filter[/ASCIIHexDecode]",
    b"/Parent 2 0 R", b"q ", b"Q ", b"BT ", b"ET ", b"/Im1 Do ", b"1e30 0 0 1e30 0 0 cm ", b"<<",
    b"/MediaBox[0 0 1e9 1e9]", b"/Rotate 45", b"-2147483648", b"/Width 99999", b"/Height 99999",
    b"/Type/Pages", b"/Encrypt<<>>", b"/Contents 4 0 R", b"/First 9 0 R", b"/Next 9 0 R",
)  # fmt: skip


def pdf_corpus() -> list[bytes]:
    text = Page().text(72, 780, "The pump", 20).lines(72, 740, ["Read this", "first of all."])
    text.grid((70, 200, 320), (700, 680, 660)).text(74, 685, "Part").text(204, 685, "4711")
    text.image(72, 400, 200, 150, PHOTO).text(72, 380, "Figure 1: The lid.")
    columns = Page(rotate=90).lines(60, 740, ["words of a column on the left"] * 8)
    columns.lines(320, 740, ["words of a column on the right"] * 8)
    for number in range(30):
        columns.draw(f"{100 + number} 300 m {140 + number} 350 {120} 380 {300} 390 c S")
    form = Page().text(72, 700, "Serial number:")
    form.annotations.append("<</Type/Annot/Subtype/Widget/FT/Tx/T(a)/V(PX)/Rect[180 695 300 712]>>")
    scan = Page().image(0, 0, 595, 842, PHOTO)
    marks = [Mark("One", 0, 716, (Mark("Cleaning", 0, 655),)), Mark("Two", 1)]
    info = {"Title": "The pump", "Author": "A", "ModDate": "D:20210607"}
    tags = tagged_pdf([
        ("H1", [(72, 700, "Cleaning")]), ("P", [(72, 680, "Words"), (72, 667, "go on.")]),
        ("Artifact", [(72, 20, "7")]), ("H2", [(72, 600, "Filter")]), ("P", [(72, 580, "End.")]),
    ])  # fmt: skip
    return [
        make_pdf([text, columns, scan], marks, info),
        make_pdf([text, text, text], marks, info, compress=True),
        make_pdf([form, columns], catalog="/AcroForm<</Fields[6 0 R]>>"),
        make_pdf([scan, text]), tags,
    ]  # fmt: skip


def docx_corpus(folder: Path) -> list[bytes]:
    file = docx.Document()
    file.add_heading("Title", 0)
    for number in range(3):
        file.add_heading(f"Section {number}", number + 1)
        file.add_paragraph("Words.", style="List Number")
        file.add_picture(io.BytesIO(PNG))
        grid = file.add_table(2, 2)
        grid.cell(0, 0).merge(grid.cell(0, 1)).text = "Wide"
        grid.cell(1, 1).add_table(1, 1)
    first = io.BytesIO()
    file.save(first)
    body = (
        office_files.paragraph("Words", "berschrift1")
        + f"<w:p>{office_files.text_box(office_files.table(['a', 'b']))}</w:p>"
        + f"<w:p><w:r>{office_files.picture('p')}<w:footnoteReference w:id='1'/></w:r></w:p>"
        + "<w:p><w:del><w:r><w:delText>x</w:delText></w:r></w:del>"
        + "<m:oMath><m:t>y</m:t></m:oMath></w:p>"
    )
    second = office_files.write_docx(
        folder / "seed.docx", body, links={"p": ("image", "media/a.png")},
        footnotes=f'<w:footnote w:id="1">{office_files.paragraph("Note")}</w:footnote>',
        parts={"word/media/a.png": PNG}, core="<dc:title>T</dc:title>",
    )  # fmt: skip
    return [_slim(first.getvalue()), second.read_bytes()]


def pptx_corpus() -> list[bytes]:
    deck = pptx.Presentation()
    for layout in (0, 1, 6):
        made = deck.slides.add_slide(deck.slide_layouts[layout])
        for holder in made.placeholders:
            holder.text = "Words\nmore words"
        made.shapes.add_picture(io.BytesIO(PNG), Cm(1), Cm(1))
        made.shapes.add_table(2, 2, Cm(2), Cm(6), Cm(10), Cm(3)).table.cell(0, 0).text = "a"
        made.shapes.add_group_shape().shapes.add_textbox(1, 1, 9, 9).text_frame.text = "b"
        made.notes_slide.notes_text_frame.text = "Notes"
    buffer = io.BytesIO()
    deck.save(buffer)
    return [_slim(buffer.getvalue())]


def _slim(package: bytes) -> bytes:
    """Without the parts that nobody reads, so that damage hits what is read."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(package)) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            if not any(part in name for part in ("theme", "customXml", "thumbnail", "printer")):
                new.writestr(name, old.read(name))
    return buffer.getvalue()


def reader(parse: IsolatedParser, path: Path) -> Callable[[bytes], None]:
    def work(data: bytes) -> None:
        path.write_bytes(data)
        for section in parse(path, PageLog()).sections:
            assert isinstance(section, Section | BadInput)

    return work


def damage_zip(data: bytes, seed: int) -> bytes:
    """Damages the members of a zip, or in one of eight files the zip itself."""
    return mutate(data, seed) if random.Random(seed).random() < 1 / 8 else mutate_zip(data, seed)


def check(found: Counter[str], count: int) -> None:
    print(dict(found))
    assert sum(found.values()) == count and found["done"] > count / 20


def test_damaged_pdf_files(tmp_path) -> None:
    work = reader(parse_pdf, tmp_path / "a.pdf")
    found = check_mutations(work, pdf_corpus(), 10_000, (BadInput,), tokens=PDF_TOKENS)
    check(found, 10_000)


def test_damaged_word_files(tmp_path) -> None:
    work = reader(parse_docx, tmp_path / "a.docx")
    corpus = docx_corpus(tmp_path)
    check(check_mutations(work, corpus, 10_000, (BadInput,), mutator=damage_zip), 10_000)


def test_damaged_powerpoint_files(tmp_path) -> None:
    work = reader(parse_pptx, tmp_path / "a.pptx")
    check(check_mutations(work, pptx_corpus(), 1_000, (BadInput,), mutator=damage_zip), 1_000)
