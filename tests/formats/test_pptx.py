"""PowerPoint files come out by slide: text in reading order, tables, notes, pictures."""

from __future__ import annotations

import io
from pathlib import Path

import picture_files
import pptx
import pytest
from office_files import NAMESPACES, relationships, write_package
from PIL import Image
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.util import Cm, Inches

from rag_vqa.errors import BadInput
from rag_vqa.formats.document import Record
from rag_vqa.formats.source import open_source

PNG = picture_files.file(Image.new("RGB", (40, 30), (200, 30, 30)), "PNG")
TITLE, CONTENT, BLANK = 0, 1, 6  # layouts of python-pptx's template


def records(deck: pptx.presentation.Presentation, tmp_path: Path) -> list[Record]:
    deck.save(tmp_path / "deck.pptx")
    return list(open_source(tmp_path / "deck.pptx").records())


def slide(deck, layout: int, *texts: str):
    made = deck.slides.add_slide(deck.slide_layouts[layout])
    for holder, text in zip(made.placeholders, texts, strict=False):
        holder.text = text
    return made


def box(made, text: str, left: float, top: float) -> None:
    made.shapes.add_textbox(Cm(left), Cm(top), Cm(5), Cm(1)).text_frame.text = text


def test_slides_are_sections(tmp_path) -> None:
    deck = pptx.Presentation()
    deck.core_properties.title, deck.core_properties.author = "The pump", "A. Smith"
    slide(deck, TITLE, "Pump P-100", "A short course")
    second = slide(deck, CONTENT, "Cleaning", "Use water\nNot hot")
    second.placeholders[1].text_frame.paragraphs[1].level = 1
    second.shapes.add_picture(io.BytesIO(PNG), Cm(2), Cm(12))
    second.notes_slide.notes_text_frame.text = "Show the lid."
    slide(deck, BLANK)
    box(slide(deck, BLANK), "Without a title", 1, 1)
    slide(deck, CONTENT, "Cleaning", "Again")
    slide(deck, 5, "Only a title")
    found = records(deck, tmp_path)
    assert [(r.id, r.section, r.text, r.metadata["page"]) for r in found] == [
        ("deck#pump-p-100", "Pump P-100", "A short course", 1),
        ("deck#cleaning", "Cleaning", "- Use water\n  - Not hot\n\nNotes: Show the lid.", 2),
        ("deck#slide-4", "", "Without a title", 4),
        ("deck#cleaning-2", "Cleaning", "Again", 5),
        ("deck#only-a-title", "Only a title", "Only a title", 6),
    ]
    assert [r.images for r in found] == [(), (PNG,), (), (), ()]
    assert {r.title for r in found} == {"The pump"}
    assert found[0].metadata["author"] == "A. Smith"


def test_without_properties_the_first_slide_gives_the_title(tmp_path) -> None:
    deck = pptx.Presentation()
    slide(deck, TITLE, "Pump P-100", "A short course")
    deck.core_properties.title = "PowerPoint Presentation"
    assert records(deck, tmp_path)[0].title == "Pump P-100"


def test_boxes_are_read_from_the_top_and_from_the_left(tmp_path) -> None:
    deck = pptx.Presentation()
    made = slide(deck, BLANK)
    for text, left, top in (("5", 1, 9), ("2", 9, 1.2), ("1", 1, 1), ("3", 17, 1), ("4", 9, 5)):
        box(made, text, left, top)
    assert records(deck, tmp_path)[0].text == "1\n\n2\n\n3\n\n4\n\n5"


def test_groups_tables_and_charts(tmp_path) -> None:
    deck = pptx.Presentation()
    made = slide(deck, BLANK)
    group = made.shapes.add_group_shape()
    for text, left in (("right", 12), ("left", 2)):
        group.shapes.add_textbox(Cm(left), Cm(1), Cm(5), Cm(1)).text_frame.text = text
    group.shapes.add_picture(io.BytesIO(PNG), Cm(2), Cm(3))
    grid = made.shapes.add_table(3, 2, Cm(2), Cm(6), Cm(10), Cm(3)).table
    for row, cells in enumerate((("Part", "Number"), ("Seal", "4711"), ("Wide", "gone"))):
        for column, text in enumerate(cells):
            grid.cell(row, column).text = text
    grid.cell(2, 1).text = ""
    grid.cell(2, 0).merge(grid.cell(2, 1))
    data = CategoryChartData()
    data.categories = ["2019", "2020"]
    data.add_series("Visitors", (10, 20))
    kind = XL_CHART_TYPE.COLUMN_CLUSTERED
    made.shapes.add_chart(kind, Inches(1), Inches(5), Inches(4), Inches(2), data)
    (found,) = records(deck, tmp_path)
    assert found.text == (
        "left\n\nright\n\nPart | Number\nSeal | 4711\nWide\n\n | Visitors\n2019 | 10\n2020 | 20"
    )
    assert found.images == (PNG,)


def test_footers_dates_and_numbers_are_left_out(tmp_path) -> None:
    def shape(kind: str, text: str) -> str:
        holder = f'<p:ph type="{kind}"/>' if kind else ""
        return (
            f'<p:sp><p:nvSpPr><p:cNvPr id="2" name="x"/><p:nvPr>{holder}</p:nvPr></p:nvSpPr>'
            f"<p:txBody><a:p><a:r><a:t>{text}</a:t></a:r><a:br/><a:fld><a:t>more</a:t></a:fld>"
            "</a:p></p:txBody></p:sp>"
        )

    shapes = (
        shape("ftr", "Company") + shape("sldNum", "7") + shape("dt", "2020") + shape("", "Text")
    )
    path = write_package(
        tmp_path / "a.pptx",
        {
            "_rels/.rels": relationships({"r": ("officeDocument", "ppt/presentation.xml")}),
            "ppt/presentation.xml": f"<p:presentation {NAMESPACES}><p:sldIdLst>"
            '<p:sldId id="256" r:id="r2"/><p:sldId id="257" r:id="gone"/></p:sldIdLst>'
            "</p:presentation>",
            "ppt/_rels/presentation.xml.rels": relationships({"r2": ("slide", "slides/s.xml")}),
            "ppt/slides/s.xml": f"<p:sld {NAMESPACES}><p:cSld><p:spTree>{shapes}</p:spTree>"
            "</p:cSld></p:sld>",
        },
    )
    (found,) = open_source(path).records()
    assert found.text == "Text\nmore"


def test_a_damaged_slide_costs_that_slide(tmp_path) -> None:
    path = write_package(
        tmp_path / "a.pptx",
        {
            "_rels/.rels": relationships({"r": ("officeDocument", "ppt/presentation.xml")}),
            "ppt/presentation.xml": f"<p:presentation {NAMESPACES}><p:sldIdLst>"
            '<p:sldId r:id="r1"/><p:sldId r:id="r2"/></p:sldIdLst></p:presentation>',
            "ppt/_rels/presentation.xml.rels": relationships(
                {"r1": ("slide", "slides/1.xml"), "r2": ("slide", "slides/2.xml")}
            ),
            "ppt/slides/1.xml": "no xml",
            "ppt/slides/2.xml": f"<p:sld {NAMESPACES}><p:cSld><p:spTree><p:sp><p:txBody><a:p><a:r>"
            "<a:t>Text</a:t></a:r></a:p></p:txBody></p:sp></p:spTree></p:cSld></p:sld>",
        },
    )
    refused = []
    (found,) = open_source(path, on_reject=refused.append).records()
    assert found.text == "Text" and "slide 1 was left out" in refused[0].reason


def test_a_word_file_under_the_name_of_a_presentation(tmp_path) -> None:
    path = write_package(tmp_path / "a.pptx", {"word/document.xml": "<a/>"})
    with pytest.raises(BadInput, match="a Word document, not a PowerPoint presentation"):
        open_source(path)
