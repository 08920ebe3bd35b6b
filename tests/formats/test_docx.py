"""Word files of several writers come out by section: text, tables, notes and pictures."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import docx
import picture_files
import pytest
from docx.enum.text import WD_BREAK
from office_files import (
    paragraph,
    picture,
    table,
    text_box,
    write_docx,
    write_package,
)
from PIL import Image

from rag_vqa.errors import BadInput
from rag_vqa.formats.document import Record
from rag_vqa.formats.source import open_source

PNG = picture_files.file(Image.new("RGB", (40, 30), (200, 30, 30)), "PNG")
STYLES = (
    '<w:style w:type="paragraph" w:default="1" w:styleId="Normal"><w:name w:val="Normal"/>'
    "</w:style>"
    '<w:style w:type="paragraph" w:styleId="Title"><w:name w:val="Title"/></w:style>'
    '<w:style w:type="paragraph" w:styleId="berschrift1"><w:name w:val="heading 1"/>'
    '<w:pPr><w:outlineLvl w:val="0"/></w:pPr></w:style>'
    '<w:style w:type="paragraph" w:styleId="berschrift2"><w:name w:val="heading 2"/>'
    '<w:pPr><w:outlineLvl w:val="1"/></w:pPr></w:style>'
    '<w:style w:type="paragraph" w:styleId="T1"><w:name w:val="Titre 1"/></w:style>'
    '<w:style w:type="paragraph" w:styleId="Mine"><w:name w:val="Mine"/>'
    '<w:basedOn w:val="berschrift2"/></w:style>'
    '<w:style w:type="paragraph" w:styleId="TOC1"><w:name w:val="toc 1"/></w:style>'
)
NUMBERING = """
<w:abstractNum w:abstractNumId="0">
  <w:lvl w:ilvl="0"><w:start w:val="1"/>
    <w:numFmt w:val="decimal"/><w:lvlText w:val="%1."/></w:lvl>
  <w:lvl w:ilvl="1"><w:start w:val="1"/>
    <w:numFmt w:val="lowerLetter"/><w:lvlText w:val="%1.%2)"/></w:lvl>
</w:abstractNum>
<w:abstractNum w:abstractNumId="1">
  <w:lvl w:ilvl="0"><w:start w:val="1"/>
    <w:numFmt w:val="bullet"/><w:lvlText w:val="&#xF0B7;"/></w:lvl>
</w:abstractNum>
<w:num w:numId="1"><w:abstractNumId w:val="0"/></w:num>
<w:num w:numId="2"><w:abstractNumId w:val="1"/></w:num>
<w:num w:numId="3"><w:abstractNumId w:val="0"/>
  <w:lvlOverride w:ilvl="0"><w:startOverride w:val="5"/></w:lvlOverride></w:num>
"""


def records(path: Path) -> list[Record]:
    return list(open_source(path).records())


def one(path: Path) -> Record:
    (record,) = records(path)
    return record


def body(tmp_path: Path, xml: str, **options: Any) -> Record:
    return one(write_docx(tmp_path / "a.docx", xml, styles=STYLES, **options))


def item(number: int, text: str, level: int = 0) -> str:
    numbered = f'<w:numPr><w:ilvl w:val="{level}"/><w:numId w:val="{number}"/></w:numPr>'
    return paragraph(text, properties=numbered)


def run(text: str, properties: str = "") -> str:
    return f'<w:r><w:rPr>{properties}</w:rPr><w:t xml:space="preserve">{text}</w:t></w:r>'


# ---- as python-docx writes them ------------------------------------------------------------------


def test_a_report_of_python_docx(tmp_path) -> None:
    file = docx.Document()
    file.core_properties.title, file.core_properties.author = "Pump P-100", "A. Smith"
    file.add_paragraph("Read this first.")
    file.add_heading("Maintenance", 1)
    file.add_heading("Cleaning", 2)
    file.add_paragraph("Use warm water.")
    file.add_picture(io.BytesIO(PNG))
    file.add_paragraph("Figure 1: The lid.", style="Caption")
    file.add_heading("Parts", 2)
    grid = file.add_table(rows=2, cols=2)
    for cell, text in zip(grid._cells, ("Part", "Number", "Seal", "4711"), strict=True):
        cell.text = text
    file.add_heading("Storage", 1)
    file.add_paragraph("Dry", style="List Bullet")
    file.add_paragraph("Dark", style="List Bullet")
    file.add_page_break()
    file.add_paragraph("Drain", style="List Number")
    file.add_paragraph("Close").add_run().add_break(WD_BREAK.PAGE)
    file.save(tmp_path / "pump.docx")
    found = records(tmp_path / "pump.docx")
    assert [(record.id, record.section, record.text) for record in found] == [
        ("pump", "", "Read this first."),
        ("pump#maintenance/cleaning", "Maintenance · Cleaning",
         "Use warm water.\n\nFigure 1: The lid."),
        ("pump#maintenance/parts", "Maintenance · Parts", "Part | Number\nSeal | 4711"),
        ("pump#storage", "Storage", "- Dry\n- Dark\n1. Drain\n\nClose"),
    ]  # fmt: skip
    assert [record.images for record in found] == [(), (PNG,), (), ()]
    assert {record.title for record in found} == {"Pump P-100"}
    assert {record.metadata["author"] for record in found} == {"A. Smith"}


# ---- titles and headings -------------------------------------------------------------------------


def test_headings_of_localised_and_derived_styles(tmp_path) -> None:
    xml = (
        paragraph("Wartung", "berschrift1") + paragraph("A")
        + paragraph("Dichtung", "Mine") + paragraph("B")
        + paragraph("Entretien", "T1") + paragraph("C")
        + paragraph("By itself", properties='<w:outlineLvl w:val="1"/>') + paragraph("D")
        + paragraph("No heading", "berschrift1", '<w:outlineLvl w:val="9"/>')
    )  # fmt: skip
    found = records(write_docx(tmp_path / "a.docx", xml, styles=STYLES))
    assert [(record.section, record.text) for record in found] == [
        ("Wartung", "A"), ("Wartung · Dichtung", "B"), ("Entretien", "C"),
        ("Entretien · By itself", "D\n\nNo heading"),
    ]  # fmt: skip


def test_the_title_paragraph_is_the_title_and_no_text(tmp_path) -> None:
    xml = paragraph("The pump", "Title") + paragraph("One", "berschrift1") + paragraph("Text.")
    record = body(tmp_path, xml, core="<dc:title>Template 7</dc:title>")
    assert (record.title, record.section, record.text) == ("The pump", "One", "Text.")


def test_the_only_first_heading_is_the_title(tmp_path) -> None:
    heads = ("The pump", "berschrift1"), ("Cleaning", "berschrift2"), ("Storage", "berschrift2")
    xml = "".join(paragraph(text, style) + paragraph(f"{text}.") for text, style in heads)
    found = records(write_docx(tmp_path / "a.docx", xml, styles=STYLES))
    assert {record.title for record in found} == {"The pump"}
    assert [record.section for record in found] == ["", "Cleaning", "Storage"]


def test_without_headings_it_is_one_section_with_the_title_of_its_properties(tmp_path) -> None:
    xml = paragraph("One.") + paragraph("Two.")
    core = (
        "<dc:title>Notes</dc:title><dc:creator>J. Doe</dc:creator><dc:language>de</dc:language>"
        "<dcterms:created>2020-01-02T03:04:05Z</dcterms:created>"
        "<dcterms:modified>2021-06-07T08:09:10Z</dcterms:modified>"
    )
    record = body(tmp_path, xml, core=core)
    assert (record.id, record.title, record.section) == ("a", "Notes", "")
    assert record.text == "One.\n\nTwo."
    assert record.metadata == {
        "author": "J. Doe", "date": "2021-06-07", "language": "de", "file": "a.docx",
    }  # fmt: skip


def test_the_table_of_contents_is_left_out(tmp_path) -> None:
    contents = (
        '<w:sdt><w:sdtPr><w:docPartObj><w:docPartGallery w:val="Table of Contents"/></w:docPartObj>'
        f"</w:sdtPr><w:sdtContent>{paragraph('Contents')}{paragraph('Wartung 3')}"
        "</w:sdtContent></w:sdt>"
    )
    xml = contents + paragraph("Wartung 3", "TOC1") + paragraph("Text.")
    assert body(tmp_path, xml).text == "Text."


# ---- text ----------------------------------------------------------------------------------------


def test_lists_have_their_numbers(tmp_path) -> None:
    xml = (
        item(1, "Open") + item(1, "left", 1) + item(1, "right", 1) + item(1, "Close")
        + item(1, "again", 1) + paragraph("Then:") + item(1, "Lift") + item(2, "Dot")
        + item(3, "Fifth") + item(3, "Sixth") + item(9, "Unknown")
    )  # fmt: skip
    assert body(tmp_path, xml, numbering=NUMBERING).text == (
        "1. Open\n  1.a) left\n  1.b) right\n2. Close\n  2.a) again\n\nThen:\n\n"
        "3. Lift\n- Dot\n5. Fifth\n6. Sixth\n- Unknown"
    )


def test_changes_are_as_if_accepted(tmp_path) -> None:
    xml = (
        f"<w:p>{run('Use ')}<w:del><w:r><w:delText>cold</w:delText></w:r></w:del>"
        f"<w:ins>{run('warm')}</w:ins><w:moveFrom>{run('GONE')}</w:moveFrom>{run(' water.')}</w:p>"
        f"<w:tbl><w:tr><w:tc>{paragraph('a')}</w:tc><w:tc>{paragraph('b')}</w:tc></w:tr>"
        f"<w:tr><w:trPr><w:del/></w:trPr><w:tc>{paragraph('GONE')}</w:tc><w:tc/></w:tr></w:tbl>"
    )
    assert body(tmp_path, xml).text == "Use warm water.\n\na | b"


def test_signs_breaks_fields_links_and_hidden_text(tmp_path) -> None:
    xml = (
        f"<w:p>{run('a')}<w:r><w:tab/><w:t>b</w:t><w:br/><w:t>c</w:t><w:noBreakHyphen/></w:r>"
        '<w:r><w:fldChar w:fldCharType="begin"/></w:r><w:r><w:instrText>PAGE</w:instrText></w:r>'
        f'<w:r><w:fldChar w:fldCharType="separate"/></w:r>{run("7")}'
        '<w:r><w:fldChar w:fldCharType="end"/></w:r>'
        f"<w:hyperlink>{run(' link')}</w:hyperlink>{run('HIDDEN', '<w:vanish/>')}"
        f'<w:r><w:br w:type="page"/></w:r><w:fldSimple>{run(" field")}</w:fldSimple>'
        f"<w:smartTag>{run(' tag')}</w:smartTag><w:r><w:softHyphen/></w:r>"
        f"<w:commentRangeStart/><w:sdt><w:sdtContent>{run(' control')}</w:sdtContent></w:sdt></w:p>"
    )
    assert body(tmp_path, xml).text == "a\tb\nc-7 link field tag control"


def test_raised_digits_stay_raised(tmp_path) -> None:
    raised = '<w:vertAlign w:val="superscript"/>'
    xml = f"<w:p>{run('5 m')}{run('2', raised)}{run(' on the 1')}{run('st', raised)}</w:p>"
    assert body(tmp_path, xml).text == "5 m² on the 1st"


def test_formulas_stand_on_the_line(tmp_path) -> None:
    def part(name: str, inside: str) -> str:
        return f"<m:{name}>{inside}</m:{name}>"

    def sign(text: str) -> str:
        return f"<m:r><m:t>{text}</m:t></m:r>"

    fraction = part("f", part("num", sign("F+G")) + part("den", sign("A")))
    power = part("sSup", part("e", sign("v")) + part("sup", sign("2")))
    root = part("rad", part("deg", "") + part("e", sign("x")))
    xml = f"<w:p>{run('p = ')}<m:oMath>{fraction}{power}{root}</m:oMath></w:p>"
    assert body(tmp_path, xml).text == "p = (F+G)/Av²√x"


def test_notes_stand_at_the_end_of_their_section(tmp_path) -> None:
    notes = (
        '<w:footnote w:type="separator" w:id="-1"><w:p/></w:footnote>'
        f'<w:footnote w:id="1">{paragraph("See the plate.")}</w:footnote>'
        f'<w:footnote w:id="2">{paragraph("Or oil.")}</w:footnote>'
    )
    xml = (
        f'<w:p>{run("The type")}<w:r><w:footnoteReference w:id="1"/></w:r>{run(" matters.")}</w:p>'
        f'<w:p>{run("Use water")}<w:r><w:footnoteReference w:id="2"/></w:r></w:p>'
        + paragraph("Next", "berschrift1") + paragraph("B")
    )  # fmt: skip
    found = records(write_docx(tmp_path / "a.docx", xml, styles=STYLES, footnotes=notes))
    assert found[0].text == "The type¹ matters.\n\nUse water²\n\n¹ See the plate.\n\n² Or oil."
    assert found[1].text == "B"


def test_text_boxes_are_read_once(tmp_path) -> None:
    inside = paragraph("In the box") + table(["a", "b"])
    xml = f"<w:p>{run('Before')}{text_box(inside)}</w:p>" + paragraph("After")
    assert body(tmp_path, xml).text == "Before\n\nIn the box\n\na | b\n\nAfter"


# ---- tables --------------------------------------------------------------------------------------


def test_merged_cells_are_not_repeated(tmp_path) -> None:
    def cell(text: str, properties: str) -> str:
        return f"<w:tc><w:tcPr>{properties}</w:tcPr>{paragraph(text)}</w:tc>"

    xml = table(
        [cell("Wide", '<w:gridSpan w:val="2"/>')],
        [cell("Tall", '<w:vMerge w:val="restart"/>'), "1"],
        [cell("", "<w:vMerge/>"), "2"],
        ["", ""],
    )
    assert body(tmp_path, xml).text == "Wide\nTall | 1\n | 2"


def test_nested_tables_follow_their_row_and_cells_are_one_line(tmp_path) -> None:
    xml = table(["a", paragraph("b") + table(["c", "d"]) + paragraph("e")], ["f", "g"])
    assert body(tmp_path, xml).text == "a | b e\nc | d\nf | g"


def test_a_frame_around_blocks_is_no_table(tmp_path) -> None:
    xml = table([paragraph("Note", "berschrift1") + paragraph("Mind the gap.")])
    record = body(tmp_path, xml)
    assert (record.section, record.text) == ("Note", "Mind the gap.")


# ---- pictures ------------------------------------------------------------------------------------


def test_pictures_inline_anchored_in_tables_and_in_boxes(tmp_path) -> None:
    other = picture_files.file(Image.new("RGB", (9, 9)), "PNG")
    third = picture_files.file(Image.new("RGB", (8, 8)), "JPEG")
    boxed = f"<w:p><w:r>{picture('p1')}</w:r></w:p>"
    xml = (
        paragraph("One", "berschrift1") + f"<w:p><w:r>{picture('p1')}</w:r></w:p>"
        + paragraph("Two", "berschrift1") + f"<w:p><w:r>{picture('p2', anchored=True)}</w:r></w:p>"
        + table(["a", f"<w:p><w:r>{picture('p3')}</w:r></w:p>"])
        + f"<w:p>{text_box(boxed)}</w:p>"
        + '<w:p><w:r><w:pict><v:shape><v:imagedata r:id="p4"/></v:shape></w:pict></w:r></w:p>'
    )  # fmt: skip
    links = {
        "p1": ("image", "media/image1.png"), "p2": ("image", "/word/media/image2.png"),
        "p3": ("image", "media/image3.jpeg"), "p4": ("image", "media/image4.png"),
    }  # fmt: skip
    parts = {
        "word/media/image1.png": PNG, "word/media/Image2.PNG": other,
        "word/media/image3.jpeg": third, "word/media/image4.png": PNG + b"4",
    }  # fmt: skip
    path = write_docx(tmp_path / "a.docx", xml, styles=STYLES, links=links, parts=parts)
    one_, two = records(path)
    assert one_.images == (PNG,)
    assert two.images == (other, third, PNG, PNG + b"4")


def test_a_picture_that_is_linked_or_gone_is_named(tmp_path) -> None:
    xml = paragraph("Text.") + "".join(
        f"<w:p><w:r>{picture(n)}</w:r></w:p>" for n in ("a", "b", "c")
    )
    links = {"a": ("image", "https://example.org/a.png"), "b": ("image", "NULL")}
    (item,) = open_source(write_docx(tmp_path / "a.docx", xml, links=links)).items()
    assert item.fields["text"] == "Text."
    assert item.fields["images"] == ["https://example.org/a.png", "word/NULL"]


def test_a_chart_gives_its_table_and_a_diagram_its_words(tmp_path) -> None:
    def points(*values: str) -> str:
        return "".join(f'<c:pt idx="{n}"><c:v>{v}</c:v></c:pt>' for n, v in enumerate(values))

    def series(name: str, *values: str) -> str:
        return (
            f"<c:ser><c:tx><c:strRef><c:strCache>{points(name)}</c:strCache></c:strRef></c:tx>"
            f"<c:cat><c:strRef><c:strCache>{points('2019', '2020')}</c:strCache></c:strRef></c:cat>"
            f"<c:val><c:numRef><c:numCache>{points(*values)}</c:numCache></c:numRef></c:val></c:ser>"
        )

    space = 'xmlns:c="http://c" xmlns:a="http://a" xmlns:dgm="http://d"'
    chart = (
        f"<c:chartSpace {space}><c:title><a:t>Visitors</a:t></c:title>"
        f"{series('Day', '10', '20')}{series('Night', '1', '2')}</c:chartSpace>"
    )
    words = "<a:p><a:r><a:t>Drain</a:t></a:r></a:p><a:p><a:t>Clean</a:t></a:p>"
    diagram = f"<dgm:dataModel {space}>{words}</dgm:dataModel>"

    def drawing(inside: str) -> str:
        return f"<w:p><w:r><w:drawing><wp:inline>{inside}</wp:inline></w:drawing></w:r></w:p>"

    xml = drawing('<c:chart r:id="c"/>') + drawing('<dgm:relIds r:dm="d"/>')
    links = {"c": ("chart", "charts/chart1.xml"), "d": ("diagramData", "diagrams/data1.xml")}
    parts = {"word/charts/chart1.xml": chart, "word/diagrams/data1.xml": diagram}
    assert body(tmp_path, xml, links=links, parts=parts).text == (
        "Visitors\n | Day | Night\n2019 | 10 | 1\n2020 | 20 | 2\n\nDrain\nClean"
    )


# ---- other editions, and what is no Word file ----------------------------------------------------


def test_the_strict_edition_and_macros(tmp_path) -> None:
    xml = paragraph("One", "berschrift1") + paragraph("Text.") + paragraph("Two", "berschrift1")
    path = write_docx(tmp_path / "a.docm", xml + paragraph("B"), styles=STYLES, strict=True)
    assert [(record.section, record.text) for record in records(path)] == [
        ("One", "Text."), ("Two", "B"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"), (bytes(5000), "empty"), (b"hello world", "begins with"),
        (b"%PDF-1.7", "a PDF"), (b"PK\x03\x04cut", "damaged or cut short"),
    ],
)  # fmt: skip
def test_another_kind_of_file_is_named(tmp_path, content, reason) -> None:
    path = tmp_path / "a.docx"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=reason):
        open_source(path)


@pytest.mark.parametrize(
    ("member", "found"),
    [("xl/workbook.xml", "an Excel workbook"), ("ppt/presentation.xml", "a PowerPoint"),
     ("content.xml", "an OpenDocument"), ("a.txt", "a zip of 1 other files")],
)  # fmt: skip
def test_another_kind_of_zip_is_named(tmp_path, member, found) -> None:
    path = write_package(tmp_path / "a.docx", {member: b"<a/>"})
    with pytest.raises(BadInput, match=found):
        open_source(path)


def test_a_document_without_text_is_refused(tmp_path) -> None:
    path = write_docx(tmp_path / "a.docx", paragraph(""))
    with pytest.raises(BadInput, match="contains no documents"):
        records(path)


def test_entities_are_refused(tmp_path) -> None:
    declared = '<!DOCTYPE w [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    bomb = f'{declared}<w:document xmlns:w="w">&x;</w:document>'
    path = write_docx(tmp_path / "a.docx", "", parts={"word/document.xml": bomb})
    with pytest.raises(BadInput, match="declares a DTD"):
        open_source(path)
