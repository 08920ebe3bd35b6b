"""PDF files come out by section or by page, in reading order, with their pictures in place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pdf_files
import pytest
from pdf_files import Mark, Page, PdfFile, make_pdf, tagged_pdf
from PIL import Image

from rag_vqa import images
from rag_vqa.errors import BadInput
from rag_vqa.formats.document import Record, Rejected
from rag_vqa.formats.documents import pdf
from rag_vqa.formats.documents.isolated_child import PageLog
from rag_vqa.formats.documents.pdf import parse_pdf
from rag_vqa.formats.sections import Section
from rag_vqa.formats.source import open_source

PHOTO = Image.linear_gradient("L").convert("RGB").resize((60, 40))
SENTENCE = (
    "The pump must be drained before the lid is lifted because pressure remains in the chamber for "
    "several minutes after shutdown and unscrew the four bolts crosswise then keep them there "
)


def prose(first: int, lines: int, width: int = 46) -> list[str]:
    """Lines of running text that are about equally long; `first` makes them differ."""
    words = SENTENCE.split()
    text = " ".join(words[(first + n) % len(words)] for n in range(lines * width // 3))
    found = []
    while len(found) < lines:
        cut = text.rindex(" ", 0, width)
        found.append(text[:cut])
        text = text[cut + 1 :]
    return found


def sections(data: bytes, tmp_path: Path) -> list[Section | BadInput]:
    """Parsed in this process, where a debugger sees it."""
    path = tmp_path / "a.pdf"
    path.write_bytes(data)
    return list(parse_pdf(path, PageLog()).sections)


def only(data: bytes, tmp_path: Path) -> Section:
    (section,) = sections(data, tmp_path)
    assert isinstance(section, Section)
    return section


def records(data: bytes, tmp_path: Path, **options: Any) -> list[Record]:
    path = tmp_path / "pump.pdf"
    path.write_bytes(data)
    return list(open_source(path, **options).records())


# ---- sections ------------------------------------------------------------------------------------


def test_without_structure_a_page_is_a_document(tmp_path) -> None:
    pages = [Page().text(72, 700, f"Text of page {n}.") for n in ("one", "two", "three")]
    pages[1].image(100, 300, 200, 100, PHOTO)
    found = records(make_pdf(pages, info={"Title": "The pump", "Author": "A. Smith"}), tmp_path)
    assert [(record.id, record.text, record.url) for record in found] == [
        ("pump#page-1", "Text of page one.", "pump.pdf#page=1"),
        ("pump#page-2", "Text of page two.", "pump.pdf#page=2"),
        ("pump#page-3", "Text of page three.", "pump.pdf#page=3"),
    ]
    assert [len(record.images) for record in found] == [0, 1, 0]
    assert {record.title for record in found} == {"The pump"}
    assert found[1].metadata == {"author": "A. Smith", "file": "pump.pdf", "page": 2}


def test_bookmarks_make_sections_with_their_pictures(tmp_path) -> None:
    first = Page().text(72, 780, "The pump", 20).text(72, 740, "Read this first.")
    first.text(72, 700, "1 Maintenance", 16).text(72, 670, "Keep it dry.")
    first.text(72, 640, "1.1 Cleaning", 13).lines(72, 610, ["Use warm water,", "not hot water."])
    first.image(72, 400, 200, 150, PHOTO).text(72, 380, "Figure 1: The lid.")
    second = Page().text(72, 780, "and never use any soap at all.").text(72, 700, "2 Storage", 16)
    second.text(72, 670, "Store it in the dark.")
    marks = (
        Mark("Maintenance", 0, 716, (Mark("Cleaning", 0, 655),)),
        Mark("Storage", 1),
    )
    found = records(make_pdf([first, second], marks, {"Title": "The pump"}), tmp_path)
    assert [(record.id, record.section, record.text) for record in found] == [
        ("pump", "", "The pump\n\nRead this first."),
        ("pump#maintenance", "Maintenance", "Keep it dry."),
        ("pump#maintenance/cleaning", "Maintenance · Cleaning",
         "Use warm water, not hot water.\n\nFigure 1: The lid.\n\nand never use any soap at all."),
        ("pump#storage", "Storage", "Store it in the dark."),
    ]  # fmt: skip
    assert [len(record.images) for record in found] == [0, 0, 1, 0]
    assert [record.metadata["page"] for record in found] == [1, 1, 1, 2]


def test_a_bookmark_whose_words_are_not_on_the_page_cuts_at_its_height(tmp_path) -> None:
    page = Page().text(72, 700, "Before.").text(72, 500, "After.")
    first, second = sections(make_pdf([page], [Mark("A", 0, 800), Mark("B", 0, 600)]), tmp_path)
    assert (first.headings, first.text, second.headings, second.text) == (
        ("A",), "Before.", ("B",), "After.",
    )  # fmt: skip


def test_the_bookmark_above_all_others_is_the_title(tmp_path) -> None:
    page = Page().text(72, 700, "One").text(72, 650, "A.").text(72, 600, "Two").text(72, 550, "B.")
    marks = [Mark("The manual", 0, 800, (Mark("One", 0, 710), Mark("Two", 0, 610)))]
    found = records(make_pdf([page], marks), tmp_path)
    assert [(r.title, r.section, r.text) for r in found] == [
        ("The manual", "One", "A."), ("The manual", "Two", "B."),
    ]  # fmt: skip


@pytest.mark.parametrize("titles", [["Page 1", "Page 2"], ["1", "2"], ["Whole"]])
def test_bookmarks_that_tell_nothing_are_left_aside(tmp_path, titles) -> None:
    pages = [Page().text(72, 700, text) for text in ("First.", "Second.")]
    marks = [Mark(title, number) for number, title in enumerate(titles)]
    assert [s.name for s in sections(make_pdf(pages, marks), tmp_path)] == ["page-1", "page-2"]


def test_a_long_section_is_cut_into_its_pages(tmp_path) -> None:
    pages = [Page().text(72, 700, f"Words {'abcdefgh'[n]}.") for n in range(8)]
    marks = [Mark("Long", 0), Mark("Short", 7)]
    found = records(make_pdf(pages, marks), tmp_path)
    assert [record.id for record in found] == [
        "pump#long", *(f"pump#long/page-{n}" for n in range(2, 8)), "pump#short",
    ]  # fmt: skip
    assert {record.section for record in found[:7]} == {"Long"}
    assert [record.metadata["page"] for record in found] == list(range(1, 9))


def test_tags_give_headings_and_order_and_leave_artifacts_out(tmp_path) -> None:
    data = tagged_pdf([
        ("Artifact", [(72, 820, "Running header")]),
        ("H1", [(72, 500, "Cleaning")]),
        ("P", [(300, 700, "First"), (300, 687, "and second.")]),
        ("H2", [(72, 780, "Filter")]),
        ("P", [(72, 400, "Third.")]),
        ("Artifact", [(72, 20, "7")]),
    ])  # fmt: skip
    first, second = sections(data, tmp_path)
    assert (first.headings, first.text) == (("Cleaning",), "First and second.")
    assert (second.headings, second.text) == (("Cleaning", "Filter"), "Third.")


# ---- reading order -------------------------------------------------------------------------------


@pytest.mark.parametrize("interleaved", [False, True])
def test_two_columns_are_read_one_after_the_other(tmp_path, interleaved) -> None:
    left, right = prose(0, 12), prose(7, 12)
    page = Page().text(72, 780, "A title over both columns, which is rather long indeed", 18)
    if interleaved:  # some writers go line by line
        for n in range(12):
            page.text(60, 740 - 13 * n, left[n]).text(320, 740 - 13 * n, right[n])
    else:
        page.lines(60, 740, left).lines(320, 740, right)
    text = only(make_pdf([page]), tmp_path).text
    assert text.split() == " ".join(
        ["A title over both columns, which is rather long indeed", *left, *right]
    ).split()  # fmt: skip


def test_text_as_wide_as_the_page_divides_columns(tmp_path) -> None:
    a, b, c, d = (prose(n, 8) for n in (0, 5, 9, 14))
    wide = prose(3, 4, 100)
    page = Page().lines(60, 780, a).lines(320, 780, b).lines(60, 650, wide)
    page.lines(60, 560, c).lines(320, 560, d)
    text = only(make_pdf([page]), tmp_path).text
    assert text.split() == " ".join([*a, *b, *wide, *c, *d]).split()


def test_a_heading_between_columns_divides_them(tmp_path) -> None:
    a, b, c, d = (prose(n, 8) for n in (0, 5, 9, 14))
    page = Page().text(60, 800, "First part", 14).lines(60, 770, a).lines(320, 770, b)
    page.text(60, 640, "Second part", 14).lines(60, 610, c).lines(320, 610, d)
    text = only(make_pdf([page]), tmp_path).text
    expected = ["First part", *a, *b, "Second part", *c, *d]
    assert text.split() == " ".join(expected).split()


def test_a_picture_stands_in_its_column(tmp_path) -> None:
    left, right = prose(0, 20), prose(7, 10)
    page = Page().lines(60, 780, left).image(320, 660, 200, 120, PHOTO).lines(320, 640, right)
    section = only(make_pdf([page]), tmp_path)
    assert section.text.split() == " ".join([*left, *right]).split()
    assert len(section.images) == 1


@pytest.mark.parametrize("rotate", [0, 90, 180, 270])
def test_turned_pages_are_read_upright(tmp_path, rotate) -> None:
    turns = {0: "1 0 0 1", 90: "0 1 -1 0", 180: "-1 0 0 -1", 270: "0 -1 1 0"}
    places = {0: [(72, 700), (72, 687)], 90: [(100, 72), (113, 72)],
              180: [(500, 100), (500, 113)], 270: [(500, 700), (487, 700)]}  # fmt: skip
    page = Page(rotate=rotate)
    for (x, y), text in zip(places[rotate], ["The first line", "and the second."], strict=True):
        page.text(x, y, text, turn=turns[rotate])
    assert only(make_pdf([page]), tmp_path).text == "The first line and the second."


def test_turned_pictures_are_upright(tmp_path) -> None:
    photo = Image.new("RGB", (40, 40), (255, 255, 255))
    photo.paste((200, 0, 0), (0, 0, 40, 10))  # red above
    page = Page(rotate=90).text(100, 72, "Upright when it is shown", turn="0 1 -1 0")
    # turned back by 90 degrees, so that it is upright when the page is turned
    page.draw("q 0 200 -200 0 400 300 cm /Im1 Do Q")
    page.image(0, 0, 1, 1, photo)
    page.parts.pop()
    (image,) = only(make_pdf([page]), tmp_path).images
    shown = images.load(image)
    red = shown.getpixel((shown.width // 2, shown.height // 10))
    assert red[0] > 150 > red[1]
    assert min(shown.getpixel((shown.width // 2, shown.height * 9 // 10))) > 200


# ---- paragraphs, tables, lists -------------------------------------------------------------------


def test_hyphens_at_the_ends_of_lines(tmp_path) -> None:
    lines = [
        "All the well-known parts need main-", "tenance, but this is a well-",
        "known fact and pages 10-",
        "12 tell more about the Anglo-", "American screws.",
    ]  # fmt: skip
    text = only(make_pdf([Page().lines(72, 700, lines)]), tmp_path).text
    assert text.replace("\n", " ") == (
        "All the well-known parts need maintenance, but this is a well-known fact and pages 10-12 "
        "tell more about the Anglo-American screws."
    )


def test_paragraphs_and_lists_keep_their_lines(tmp_path) -> None:
    first, second = prose(0, 3, 80), prose(5, 3, 80)
    page = Page().lines(72, 780, first).lines(72, 720, second)
    page.lines(72, 660, ["• one thing", "• another thing", "1. first", "2. second"])
    text = only(make_pdf([page]), tmp_path).text
    assert text.split("\n\n") == [
        " ".join(first), " ".join(second), "• one thing\n• another thing\n1. first\n2. second",
    ]  # fmt: skip


def test_a_table_without_rules_is_one_line_a_row(tmp_path) -> None:
    page = Page().lines(72, 780, prose(0, 3, 80))
    rows = [("Part", "Number", "Price"), ("Seal ring", "4711", "2.50"), ("Bolt", "4712", "0.30")]
    for number, row in enumerate(rows):
        for x, cell in zip((72, 200, 300), row, strict=True):
            page.text(x, 700 - 14 * number, cell)
    page.lines(72, 640, prose(4, 3, 80))
    blocks = only(make_pdf([page]), tmp_path).text.split("\n\n")
    assert blocks[1] == "Part | Number | Price\nSeal ring | 4711 | 2.50\nBolt | 4712 | 0.30"


def test_a_table_with_rules_joins_what_is_wrapped_in_its_cells(tmp_path) -> None:
    xs, ys = (70, 200, 320, 500), (720, 690, 650, 620)
    page = Page().text(72, 760, "Spare parts:").grid(xs, ys)
    page.text(74, 700, "Part").text(204, 700, "Number").text(324, 700, "Remark")
    page.lines(74, 678, ["Seal ring of", "the lid"]).text(204, 678, "4711")
    page.lines(324, 678, ["Replace it every", "year"]).text(74, 632, "Bolt").text(324, 632, "Four")
    page.text(72, 590, "After the table.")
    assert only(make_pdf([page]), tmp_path).text == (
        "Spare parts:\n\nPart | Number | Remark\n"
        "Seal ring of the lid | 4711 | Replace it every year\nBolt |  | Four\n\nAfter the table."
    )


def test_a_table_that_goes_on_is_joined(tmp_path) -> None:
    pages = []
    for number in range(2):
        page = Page().grid((70, 200, 320), (720, 700, 680))
        for row, y in enumerate((705, 685)):
            page.text(74, y, f"Part {'abcd'[2 * number + row]}").text(204, y, "4711")
        pages.append(page)
    text = "\n".join(f"Part {letter} | 4711" for letter in "abcd")
    marks = [Mark("Parts", 0), Mark("End", 1, 100)]
    assert sections(make_pdf(pages, marks), tmp_path)[0].text == text


def test_raised_digits(tmp_path) -> None:
    page = Page().text(72, 700, "An area of 5 m", 12).text(150.7, 705, "2", 7)
    assert only(make_pdf([page]), tmp_path).text.endswith("m²")


# ---- what is left out ----------------------------------------------------------------------------


def test_headers_footers_and_page_numbers_are_left_out(tmp_path) -> None:
    pages = []
    for number in range(1, 7):
        page = Page().text(72, 815, "Pump manual" if number % 2 else "Chapter 1: Maintenance", 9)
        page.text(280, 20, f"{number} of 6", 9).lines(72, 760, prose(number, 5, 80))
        page.image(500, 800, 60, 30, PHOTO)  # a logo
        pages.append(page)
    found = sections(make_pdf(pages), tmp_path)
    assert [s.text for s in found] == [" ".join(prose(n, 5, 80)) for n in range(1, 7)]
    assert not any(s.images for s in found)


def test_first_lines_that_differ_by_a_number_are_no_headers(tmp_path) -> None:
    pages = [Page().text(72, 800, f"This is page {n}.") for n in range(1, 4)]
    assert [s.text for s in sections(make_pdf(pages), tmp_path)] == [
        "This is page 1.", "This is page 2.", "This is page 3.",
    ]  # fmt: skip
    pages = [Page().lines(72, 800, [f"Step {n}", *prose(n, 4, 60)]) for n in range(1, 6)]
    assert all(s.text.startswith("Step") for s in sections(make_pdf(pages), tmp_path))


def test_one_picture_on_many_pages_is_kept_unless_it_lies_in_a_margin(tmp_path) -> None:
    pages = []
    for number in range(5):
        page = Page().lines(72, 700, prose(number, 4, 60)).image(100, 300, 200, 150, PHOTO)
        pages.append(page.image(480, 790, 80, 40, PHOTO))
    assert [len(s.images) for s in sections(make_pdf(pages), tmp_path)] == [1] * 5


def test_a_coloured_page_is_no_table(tmp_path) -> None:
    page = Page((960, 540)).draw("0.9 0.9 1 rg 0 0 960 540 re f 0 g").text(60, 460, "Overview", 36)
    page.lines(80, 380, ["First point", "Second point"], 20, 40).image(600, 150, 250, 170, PHOTO)
    section = only(make_pdf([page]), tmp_path)
    assert section.text.split() == ["Overview", "First", "point", "Second", "point"]
    assert len(section.images) == 1


def test_what_is_equal_in_the_middle_of_pages_stays(tmp_path) -> None:
    pages = [Page().text(72, 500, "Wear gloves.").lines(72, 400, prose(n, 3)) for n in range(4)]
    assert all("Wear gloves." in s.text for s in sections(make_pdf(pages), tmp_path))


def test_stamps_across_and_text_beside_the_page_are_left_out(tmp_path) -> None:
    page = Page().text(72, 700, "Words.").text(200, 300, "DRAFT", 60, "0.7 0.7 -0.7 0.7")
    page.text(900, 400, "outside")
    assert only(make_pdf([page]), tmp_path).text == "Words."


def test_small_decorations_are_no_pictures(tmp_path) -> None:
    page = (
        Page().text(72, 700, "Words.").image(60, 700, 10, 10, PHOTO).image(60, 600, 400, 2, PHOTO)
    )
    assert only(make_pdf([page]), tmp_path).images == ()


# ---- pictures ------------------------------------------------------------------------------------


def test_a_page_without_text_is_kept_as_a_picture(tmp_path) -> None:
    pages = [Page().text(72, 700, "Words."), Page().image(0, 0, 595, 842, PHOTO), Page()]
    text, scan = sections(make_pdf(pages), tmp_path)
    assert (scan.page, scan.text, scan.name) == (2, "", "page-2")
    assert "no text" in scan.remark and not text.remark
    shown = images.load(scan.images[0])
    assert 1_000 <= shown.height <= 1_500 and abs(shown.width / shown.height - 595 / 842) < 0.01


def test_photographs_on_a_page_without_text_are_pictures_each(tmp_path) -> None:
    page = Page().image(72, 500, 200, 150, PHOTO).image(72, 200, 200, 150, PHOTO.rotate(180))
    assert len(only(make_pdf([page]), tmp_path).images) == 2


def test_strips_of_one_picture_are_joined(tmp_path) -> None:
    page = Page().text(72, 700, "Words.")
    for number in range(4):
        strip = PHOTO.crop((0, 10 * number, 60, 10 * number + 10))
        page.image(100, 500 - 30 * number, 180, 30, strip)
    (image,) = only(make_pdf([page]), tmp_path).images
    shown = images.load(image)
    assert abs(shown.width / shown.height - 180 / 120) < 0.02


def test_a_picture_of_one_colour_is_one(tmp_path) -> None:
    page = Page().text(72, 700, "Words.").image(100, 300, 100, 100, Image.new("RGB", (8, 8), "red"))
    assert len(only(make_pdf([page]), tmp_path).images) == 1


def test_a_drawing_of_lines_is_a_picture(tmp_path) -> None:
    page = Page().text(72, 780, "Figure 1 shows the flow.")
    for n in range(40):
        page.draw(f"{100 + 5 * n} 400 m {140 + 4 * n} 450 {120 + n} 500 {300 - n} 600 c S")
    assert len(only(make_pdf([page]), tmp_path).images) == 1


def test_an_unreadable_font_makes_the_page_a_picture(tmp_path) -> None:
    data = make_pdf([Page().lines(72, 700, prose(0, 5))])
    font = (
        b"<</Type/Font/Subtype/Type3/FontBBox[0 0 1000 1000]/FontMatrix[.001 0 0 .001 0 0]"
        b"/CharProcs<</g1 3 0 R>>/Encoding<</Differences[32 %s]>>/FirstChar 32/LastChar 127"
        b"/Widths[%s]/Resources<<>>>>" % (b"/g1" * 96, b"500 " * 96)
    )
    start = data.index(b"<</Type/Font")
    data = data[:start] + font + data[data.index(b"\nendobj", start) :]
    glyph = (
        b"4 0 obj\n<</Length 42>>\nstream\n500 0 0 0 400 700 d1 50 0 300 700 re f       \nendstream"
    )
    section = only(data.replace(b"/g1 3 0 R", b"/g1 99 0 R").replace(
        b"xref\n", glyph.replace(b"4 0 obj", b"99 0 obj") + b"\nendobj\nxref\n", 1
    ), tmp_path)  # fmt: skip
    assert "no text" in section.remark and len(section.images) == 1


# ---- forms, properties ---------------------------------------------------------------------------


def test_what_is_filled_in_stands_in_its_place(tmp_path) -> None:
    page = Page().text(72, 700, "Serial number:").text(72, 670, "Checked:")
    page.annotations += [
        "<</Type/Annot/Subtype/Widget/FT/Tx/T(a)/V(PX-12)/Rect[180 695 300 712]/P 4 0 R>>",
        "<</Type/Annot/Subtype/FreeText/Contents(yes, twice)/Rect[180 665 300 682]>>",
    ]
    data = make_pdf([page], catalog="/AcroForm<</Fields[6 0 R]>>")
    lines = only(data, tmp_path).text.split("\n")
    assert [line for line in lines if line] == ["Serial number: PX-12", "Checked: yes, twice"]


@pytest.mark.parametrize(
    ("title", "expected"),
    [("The pump", "The pump"), ("Microsoft Word - The pump", "The pump"), ("untitled", "Big words"),
     ("pump_v3.docx", "Big words"), ("", "Big words")],
)  # fmt: skip
def test_titles(tmp_path, title, expected) -> None:
    page = Page().text(72, 700, "Big words", 24).lines(72, 650, prose(0, 6))
    info = {"Title": title, "ModDate": "D:20210607080910Z", "CreationDate": "D:2020"}
    record = records(make_pdf([page], info=info, catalog="/Lang(de-DE)"), tmp_path)[0]
    assert record.title == expected
    assert (record.metadata["date"], record.metadata["language"]) == ("2021-06-07", "de-DE")


# ---- files that cannot be read -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"), (bytes(3000), "empty"), (b"<!DOCTYPE html><html>404", "a web page"),
        (b"%PDF-1.7\nnothing more", "damaged"), (b"just text", "begins with"),
    ],
)  # fmt: skip
def test_what_is_no_pdf_is_named(tmp_path, content, reason) -> None:
    with pytest.raises(BadInput, match=reason):
        records(content, tmp_path)


def test_a_pdf_without_pages(tmp_path) -> None:
    file = PdfFile()
    file.objects[0] = b"<</Type/Catalog/Pages 2 0 R>>"
    file.objects[1] = b"<</Type/Pages/Kids[]/Count 0>>"
    with pytest.raises(BadInput, match="damaged"):
        records(file.write(), tmp_path)


def test_a_damaged_table_of_places_is_mended(tmp_path) -> None:
    data = make_pdf([Page().text(72, 700, "Words.")])
    assert only(data.replace(b"startxref\n", b"startxref\n9"), tmp_path).text == "Words."


def test_a_page_that_is_damaged_costs_that_page(tmp_path) -> None:
    data = make_pdf([Page().text(72, 700, f"Words {n}.") for n in "abc"])
    second = data.index(b"/Type/Page/", data.index(b"/Type/Page/") + 1)
    data = data[:second] + b"/Type/Papa/" + data[second + 11 :]
    refused: list[Rejected] = []
    found = records(data, tmp_path, on_reject=refused.append)
    texts = [record.text for record in found]
    assert texts[0] == "Words a." and texts[-1] == "Words c."


def test_a_file_that_claims_very_many_pages(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(pdf, "MAX_PAGES", 3)
    data = make_pdf([Page().text(72, 700, f"Words {n}.") for n in "abcde"])
    *kept, rest = sections(data, tmp_path)
    assert [s.page for s in kept] == [1, 2, 3]
    assert "pages from 4 to 5 were left out" in str(rest)


@pytest.mark.parametrize("size", [(14_400, 14_400), (2, 2), (1, 14_400)])
def test_pages_of_odd_sizes(tmp_path, size) -> None:
    page = Page(size).image(0, 0, *size, PHOTO)
    for section in sections(make_pdf([page, Page().text(72, 700, "Words.")]), tmp_path)[:-1]:
        assert max(images.load(section.images[0]).size) <= 1_500


def test_a_child_process_reads_it(tmp_path) -> None:
    (record,) = records(make_pdf([Page().text(72, 700, "Words.")]), tmp_path)
    assert (record.id, record.text) == ("pump", "Words.")


# ---- layouts of many programs --------------------------------------------------------------------


def test_cells_that_are_wrapped_without_rules_are_joined(tmp_path) -> None:
    page, y = Page().text(60, 780, "Troubleshooting", 16), 740
    rows = [
        (["Symptom"], ["Remedy"]),
        (["The pump", "makes noise"], ["Tighten the", "four bolts of", "the flange."]),
        (["It leaks"], ["Replace the", "seal ring."]),
        (["It is hot", "and smells"], ["Stop it at", "once, then call", "for help."]),
    ]
    for row in rows:
        for x, cell in zip((60, 200), row, strict=True):
            page.lines(x, y, cell, 10, 11)
        y -= 11 * max(map(len, row)) + 8
    assert only(make_pdf([page]), tmp_path).text.split("\n\n")[1] == (
        "Symptom | Remedy\nThe pump makes noise | Tighten the four bolts of the flange.\n"
        "It leaks | Replace the seal ring.\n"
        "It is hot and smells | Stop it at once, then call for help."
    )


def test_headings_in_the_margin_come_before_the_text_beside_them(tmp_path) -> None:
    first, second = prose(0, 5, 60), prose(7, 5, 60)
    page = Page().text(60, 740, "Cleaning").lines(180, 740, first)
    page.text(60, 650, "Storage").lines(180, 650, second)
    assert only(make_pdf([page]), tmp_path).text.split("\n\n") == [
        "Cleaning", " ".join(first), "Storage", " ".join(second),
    ]  # fmt: skip


def test_listings_keep_their_lines_and_blanks(tmp_path) -> None:
    page = Page().lines(72, 740, prose(0, 4, 80))
    page.text(72, 660, "def f(x):", 10, font="F2").text(96, 647, "return x", 10, font="F2")
    page.lines(72, 620, prose(4, 4, 80))
    assert only(make_pdf([page]), tmp_path).text.split("\n\n")[1] == "def f(x):\n    return x"


def test_a_heading_of_another_size_is_no_row(tmp_path) -> None:
    page = Page()
    for row, y in enumerate((700, 686, 672)):
        page.text(72, y, f"Name {'abc'[row]}").text(200, y, "1200 rpm")
    page.text(72, 645, "Prices", 16)
    for row, y in enumerate((620, 606, 592)):
        for x, cell in zip((72, 160, 260), (f"Item {'abc'[row]}", "4", "2.50"), strict=True):
            page.text(x, y, cell)
    assert only(make_pdf([page]), tmp_path).text.split("\n\n") == [
        "Name a | 1200 rpm\nName b | 1200 rpm\nName c | 1200 rpm", "Prices",
        "Item a | 4 | 2.50\nItem b | 4 | 2.50\nItem c | 4 | 2.50",
    ]  # fmt: skip


def test_a_drawing_with_a_few_labels_is_kept_as_a_picture(tmp_path) -> None:
    page = Page().rule(100, 200, 100, 500).rule(100, 200, 500, 200).text(90, 180, "0")
    page.draw("100 200 m 200 250 l 300 350 l 400 300 l 500 480 l S").text(250, 520, "Visitors")
    section = only(make_pdf([page]), tmp_path)
    assert "Visitors" in section.text and len(section.images) == 1


def test_a_scan_of_one_colour_is_kept_and_a_white_page_is_not(tmp_path) -> None:
    red, white = (Image.new("RGB", (60, 80), colour) for colour in ("red", "white"))
    pages = [Page().image(0, 0, *pdf_files.A4, red), Page().image(0, 0, *pdf_files.A4, white)]
    assert [s.page for s in sections(make_pdf(pages), tmp_path)] == [1]
