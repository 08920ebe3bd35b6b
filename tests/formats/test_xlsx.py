"""Workbooks as openpyxl, XlsxWriter and pandas write them, and with parts changed by hand."""

import datetime
import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pandas as pd
import pytest
import xlsxwriter
from PIL import Image

from rag_vqa import images
from rag_vqa.errors import BadInput, UsageError
from rag_vqa.formats.document import Record, Rejected
from rag_vqa.formats.source import Source, open_source
from rag_vqa.formats.workbook import number_as_shown
from rag_vqa.formats.xlsx import read_rows

RED, BLUE = (images.encode(Image.new("RGB", (20, 20), colour)) for colour in ("red", "blue"))


def write(path: Path, *rows: list[Any], title: str = "Sheet", **sheets: list[list[Any]]) -> Path:
    book = openpyxl.Workbook()
    assert book.active is not None
    book.active.title = title
    for name, table in {title: list(rows), **sheets}.items():
        sheet = book[name] if name == title else book.create_sheet(name)
        for row in table:
            sheet.append(row)
    book.save(path)
    return path


def write_shared(path: Path, *rows: list[str]) -> Path:
    """A workbook with a table of texts, which openpyxl does not write."""
    with xlsxwriter.Workbook(path) as book:
        sheet = book.add_worksheet()
        for number, row in enumerate(rows):
            sheet.write_row(number, 0, row)
    return path


def read(path: Path, **options: Any) -> tuple[list[Record], list[Rejected], Source]:
    rejected: list[Rejected] = []
    source = open_source(path, on_reject=rejected.append, **options)
    return list(source.records()), rejected, source


def change(path: Path, part: str, edit: Callable[[str], str | None]) -> Path:
    """The same workbook with one part edited; None removes it."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    edited = edit(parts.pop(part, b"").decode())
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**parts, **({} if edited is None else {part: edited.encode()})}.items():
            archive.writestr(name, data)
    return path


def test_types(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    with xlsxwriter.Workbook(path) as book:
        sheet = book.add_worksheet()
        formats = {
            name: book.add_format({"num_format": code})
            for name, code in {
                "zip": "00000", "inv": '"INV-"0000', "day": "dd.mm.yyyy", "time": "hh:mm",
                "moment": "yyyy-mm-dd hh:mm", "price": '#,##0.00 "€"', "share": "0%",
                "phone": "000-000", "month": "mmm yyyy", "german": "[$-407]d. mmmm yyyy;@",
            }.items()
        }  # fmt: skip
        day = datetime.datetime(1998, 5, 1)
        cells: list[tuple[str, Any, str]] = [
            ("id", 42, "inv"), ("text", "One.", ""), ("zip", 2134, "zip"), ("year", 1650.0, ""),
            ("acquired", day, "day"), ("opened", datetime.time(6, 45), "time"),
            ("seen", datetime.datetime(1998, 5, 1, 6, 45), "moment"), ("midnight", day, "moment"),
            ("price", 12.5, "price"), ("share", 0.25, "share"), ("phone", 123456, "phone"),
            ("month", day, "month"), ("german", day, "german"), ("sum", 0.1 + 0.2, ""),
            ("truth", True, ""), ("text number", "007", ""), ("big", 123456789012345.0, ""),
            ("negative", -3, "zip"), ("blank", " ", ""),
        ]  # fmt: skip
        for column, (name, value, form) in enumerate(cells):
            sheet.write(0, column, name)
            write_cell = sheet.write_string if isinstance(value, str) else sheet.write
            write_cell(1, column, value, formats.get(form))
        sheet.write(0, len(cells), "formula")
        sheet.write_formula(1, len(cells), "=1+1", None, 2)
        sheet.write(0, len(cells) + 1, "error")
        sheet.write_formula(1, len(cells) + 1, "=NA()", None, "#N/A")
    (record,), rejected, source = read(path)
    assert not rejected and (record.id, record.text) == ("INV-0042", "One.")
    assert record.metadata == {
        "zip": "02134", "year": 1650, "acquired": "1998-05-01", "opened": "06:45:00",
        "seen": "1998-05-01T06:45:00", "midnight": "1998-05-01T00:00:00", "price": 12.5,
        "share": 0.25, "phone": "123-456", "month": "1998-05-01", "german": "1998-05-01",
        "sum": 0.3, "truth": True, "text number": "007", "big": 123456789012345, "negative": -3,
        "formula": 2,
    }  # fmt: skip
    assert isinstance(record.metadata["year"], int) and source.kind == "xlsx"


@pytest.mark.parametrize(
    ("value", "code", "expected"),
    [
        (5, "0", 5), (5, "0.00", 5), (5, "#,##0", 5), (5, "00", "05"), (123, "00", "123"),
        (5, "0000_)", "0005"), (5, "[Red]000;-000", "005"), (12, "0\\-0", 12),
        (1234, '"A"00"."000', "A01.234"), (5, "0.00E+00", 5), (5, "# ?/00", 5), (5, "00%", 5),
        (5.5, "00000", 5.5), (1e300, "General", 1e300), (2.0**70, "0", 1.18059162071741e21),
    ],
)  # fmt: skip
def test_numbers_as_shown(value: float, code: str, expected: object) -> None:
    found = number_as_shown(value, code)
    assert found == expected and type(found) is type(expected)


def test_a_table_somewhere_in_a_sheet(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.xlsx",
        [None, "Inventory of the museum"],
        [],
        [None, "Inv. Nr.", "Text\n(short)", None, "Year", "Year"],
        [None, 1, "One.", None, 1650, 1651],
        [],
        [None, None, " "],
        [None, 2, "Two.", "a note", None, None, "beside it"],
    )
    mapping = {"id": ["inv. nr."], "text": ["text (short)"]}
    records, rejected, source = read(path, mapping=mapping)
    assert [(record.id, record.text, record.line) for record in records] == [
        ("1", "One.", 4),
        ("2", "Two.", 7),
    ]
    assert records[0].metadata == {"Year": 1650, "Year (2)": 1651} and not rejected
    assert records[1].metadata == {"column D": "a note", "column G": "beside it"}
    assert "the header is row 3" in "\n".join(source.remarks)


def test_sheets(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.xlsx",
        ["About this list"],
        title="Read me",
        Vases=[["id", "text", "year"], ["a", "One.", 1]],
        Bowls=[["ID", "Text"], ["b", "Two."]],
        Legend=[["code", "meaning"], ["x", "y"]],
        Empty=[],
        Other=[["id", "price", "currency"], ["z", 1, "EUR"]],
    )
    records, rejected, source = read(path)
    assert not rejected
    assert [(record.id, record.text) for record in records] == [("a", "One."), ("b", "Two.")]
    assert "sheet 'Vases', 'Bowls' is read, without 'Read me', 'Legend', 'Other'" in "\n".join(
        source.remarks
    )
    book = openpyxl.load_workbook(path)
    book["Vases"].sheet_state = "hidden"
    book.save(path)
    assert [record.id for record in read(path)[0]] == ["b"]
    with pytest.raises(UsageError, match="which column is the id"):
        read(write(tmp_path / "b.xlsx", ["nr", "text"], [1, "One."]))


def test_an_index_of_pandas(tmp_path: Path) -> None:
    frame = pd.DataFrame({"id": ["a", "b"], "text": ["One.", "Two."], "n": [1, None]}, [7, 3])
    frame.to_excel(tmp_path / "a.xlsx")
    records, _, source = read(tmp_path / "a.xlsx")
    assert [(record.id, dict(record.metadata)) for record in records] == [
        ("a", {"n": 1}),
        ("b", {}),
    ]
    assert "'column A' only numbers the rows" in "\n".join(source.remarks)


def test_merged_cells_and_links(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    with xlsxwriter.Workbook(path) as book:
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, ["id", "text", "maker", "url"])
        for row, name in enumerate("abcd", 1):
            sheet.write_row(row, 0, [name, name.upper()])
        sheet.merge_range("C2:C4", "Family")
        sheet.write_url("D2", "https://museum.example/a", string="record")
        sheet.write_url("D3", "https://museum.example/b")
        sheet.write("D4", "https://museum.example/c")
    records, _, _ = read(path)
    assert [record.metadata.get("maker") for record in records] == ["Family"] * 3 + [None]
    assert [record.url[-2:] for record in records] == ["/a", "/b", "/c", ""]


def test_pictures_belong_to_their_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    with xlsxwriter.Workbook(path) as book:
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, ["id", "text", "photo"])
        for row, name in enumerate("abcd", 1):
            sheet.set_row(row, 60)
            sheet.write_row(row, 0, [name, name.upper()])
        picture = {"image_data": io.BytesIO(RED)}
        sheet.insert_image("C2", "red.png", picture)
        sheet.insert_image("D2", "blue.png", {"image_data": io.BytesIO(BLUE)})
        # It begins a little above its row, as when a person drops it there.
        sheet.insert_image("C3", "b.png", {"image_data": io.BytesIO(BLUE), "y_offset": 75})
        sheet.embed_image("C5", "cell.png", {"image_data": io.BytesIO(RED)})
        sheet.insert_image("C12", "logo.png", {"image_data": io.BytesIO(RED)})
    records, rejected, source = read(path)
    assert [record.images for record in records] == [(RED, BLUE), (), (BLUE,), (RED,)]
    assert not rejected and all("photo" not in record.metadata for record in records)
    said = "4 pictures in the workbook belong to the documents of their rows; 1 beside the table"
    assert said in "\n".join(source.remarks)


def test_names_of_pictures_beside_pictures(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    with xlsxwriter.Workbook(path) as book:
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, ["id", "text", "image"])
        sheet.write_row(1, 0, ["a", "One.", "p.jpg; q.jpg"])
        sheet.insert_image("D2", "red.png", {"image_data": io.BytesIO(RED)})
    ((record,), _, _) = read(path)
    folder = tmp_path.resolve()
    assert record.images == (folder / "p.jpg", folder / "q.jpg", RED)


def test_pictures_in_cells_as_wps_writes_them(tmp_path: Path) -> None:
    path = write(tmp_path / "a.xlsx", ["id", "text", "p"], ["a", "T", '=DISPIMG("ID_0A",1)'])
    change(path, "xl/worksheets/sheet1.xml", lambda text: re.sub(
        r"<f>([^<]*)</f><v ?/?>(</v>)?", r'<f>\1</f><v>=\1</v>', text).replace(
        '<c r="C2"', '<c r="C2" t="str"', 1))  # fmt: skip
    space = "http://schemas.openxmlformats.org"
    change(path, "xl/cellimages.xml", lambda _: (
        f'<c:cellImages xmlns:c="x" xmlns:a="{space}/drawingml/2006/main" '
        f'xmlns:r="{space}/officeDocument/2006/relationships"><c:cellImage><pic><nvPicPr>'
        '<cNvPr id="2" name="ID_0A"/></nvPicPr><blipFill><a:blip r:embed="rId1"/></blipFill></pic>'
        "</c:cellImage></c:cellImages>"))  # fmt: skip
    change(path, "xl/_rels/cellimages.xml.rels", lambda _: (
        f'<Relationships xmlns="{space}/package/2006/relationships"><Relationship Id="rId1" '
        f'Type="{space}/officeDocument/2006/relationships/image" Target="media/1.png"/>'
        "</Relationships>"))  # fmt: skip
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("xl/media/1.png", RED)
    ((record,), _, _) = read(path)
    assert record.images == (RED,) and record.metadata == {}


def test_formulas_without_results(tmp_path: Path) -> None:
    path = write(tmp_path / "a.xlsx", ["id", "text", "sum"], ["a", "One.", "=1+1"])
    (record,), _, source = read(path)
    assert record.metadata == {} and "formulas have no saved results" in "".join(source.remarks)


def test_texts_of_the_file_format(tmp_path: Path) -> None:
    path = write_shared(tmp_path / "a.xlsx", ["id", "text", "name"], ["a", "TEXT", "NAME"])
    rich = "<si><r><rPr><b/></rPr><t>Blue</t></r><r><t xml:space='preserve'> vase</t></r></si>"
    furigana = "<si><t>東京</t><rPh sb='0' eb='2'><t>トウキョウ</t></rPh></si>"
    change(path, "xl/sharedStrings.xml", lambda text: text.replace(
        "<si><t>NAME</t></si>", furigana).replace("<si><t>TEXT</t></si>", rich))  # fmt: skip
    ((record,), _, _) = read(path)
    assert (record.text, record.metadata) == ("Blue vase", {"name": "東京"})
    change(path, "xl/sharedStrings.xml", lambda text: text.replace(
        "Blue", "One_x000D_\n").replace("<t> vase", "<t>_x0001_two"))  # fmt: skip
    ((record,), _, _) = read(path)
    assert record.text.startswith("One\n")


BROKEN_STYLES = '<styleSheet xmlns="{}"><fonts><font><sz val="big"/></font></fonts>'


@pytest.mark.parametrize("damage", ["styles", "properties", "strict", "names", "no styles"])
def test_workbooks_that_openpyxl_refuses(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.xlsx"
    with xlsxwriter.Workbook(path) as book:
        sheet = book.add_worksheet("A & B")
        sheet.write_row(0, 0, ["id", "text", "day"])
        sheet.write_row(1, 0, ["a", "Grün."])
        form = book.add_format({"num_format": "dd.mm.yyyy"})
        sheet.write_datetime(1, 2, datetime.datetime(1998, 5, 1), form)
    if damage == "styles":
        change(path, "xl/styles.xml", lambda t: t.replace("<cellXfs", '<cellXfs bad="1"').replace(
            'applyNumberFormat="1"', 'applyNumberFormat="perhaps"').replace("<fill>", "<fil>"
            ).replace("</fill>", "</fil>"))  # fmt: skip
    elif damage == "properties":
        change(path, "docProps/core.xml", lambda text: re.sub(
            r"(<dcterms:created[^>]*>)[^<]*", r"\1yesterday", text))  # fmt: skip
    elif damage == "names":
        change(path, "xl/workbook.xml", lambda text: text.replace(
            "</sheets>", '</sheets><definedNames><definedName name="a" localSheetId="x"/>'
            "</definedNames>"))  # fmt: skip
    elif damage == "no styles":
        change(path, "xl/styles.xml", lambda _: "<styleSheet>")
    else:
        for part in ("xl/workbook.xml", "xl/worksheets/sheet1.xml", "xl/sharedStrings.xml"):
            change(path, part, lambda text: text.replace(
                "http://schemas.openxmlformats.org/spreadsheetml/2006/main",
                "http://purl.oclc.org/ooxml/spreadsheetml/main").replace(
                "http://schemas.openxmlformats.org/officeDocument/2006/relationships",
                "http://purl.oclc.org/ooxml/officeDocument/relationships"))  # fmt: skip
    (record,), _, _ = read(path)
    assert (record.id, record.text) == ("a", "Grün.")
    assert record.metadata["day"] == (35916 if damage == "no styles" else "1998-05-01")


def test_a_date_beyond_the_range_costs_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    with xlsxwriter.Workbook(path) as book:
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, ["id", "text", "day"])
        sheet.write_row(1, 0, ["a", "One."])
        sheet.write_number(1, 2, 99_999_999, book.add_format({"num_format": "dd.mm.yyyy"}))
    (record,), rejected, _ = read(path)
    assert record.metadata == {} and not rejected


def test_dates_count_from_1904_on_an_old_mac(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    with xlsxwriter.Workbook(path, {"date_1904": True}) as book:
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, ["id", "text", "day"])
        sheet.write_row(1, 0, ["a", "One."])
        form = book.add_format({"num_format": "dd.mm.yyyy"})
        sheet.write_datetime(1, 2, datetime.datetime(1998, 5, 1), form)
    assert read(path)[0][0].metadata == {"day": "1998-05-01"}


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.xlsx", b"", "the file is empty"),
        ("a.xlsx", b"PK\x03\x04" + bytes(60), "damaged or cut short"),
        ("a.xlsx", b"id;text\n", "another kind of file"),
        ("a.xlsx", b"<html><table>", "a web page"),
        ("a.ods", b"PK\x03\x04", "an OpenDocument spreadsheet: open it and save it as .xlsx"),
        ("a.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "Excel 97 to 2003: open it and save it as"),
        ("a.xlsb", b"PK\x03\x04", "binary workbook"),
    ],
)
def test_what_is_no_workbook(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BadInput, match=said) as error:
        read(tmp_path / name)
    assert name in str(error.value)


def test_a_password(tmp_path: Path) -> None:
    data = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504) + "EncryptedPackage".encode("utf-16-le")
    (tmp_path / "a.xlsx").write_bytes(data)
    with pytest.raises(BadInput, match="encrypted with a password"):
        read(tmp_path / "a.xlsx")


def test_other_names_of_workbooks_and_of_texts(tmp_path: Path) -> None:
    data = write(tmp_path / "a.xlsx", ["id", "text"], ["a", "One."]).read_bytes()
    for name in ("b.xlsm", "b.XLSX", "b.xls", "b"):
        (tmp_path / name).write_bytes(data)
        assert read(tmp_path / name)[0][0].text == "One."
    (tmp_path / "c.xls").write_bytes("id\ttext\na\tOne.\n".encode("utf-16"))
    (record,), _, source = read(tmp_path / "c.xls")
    assert record.text == "One." and source.kind == "csv"


def test_a_sheet_that_is_cut_keeps_what_came_before(tmp_path: Path) -> None:
    rows = [["id", "text"], *([f"{n}", "One."] for n in range(3_000))]
    path = write(tmp_path / "a.xlsx", *rows)
    change(path, "xl/worksheets/sheet1.xml", lambda text: text[: len(text) // 2])
    records, rejected, _ = read(path)
    assert 1_000 < len(records) < 3_000
    assert len(rejected) == 1 and "is damaged" in rejected[0].reason


def test_bombs_and_entities_are_refused(tmp_path: Path) -> None:
    path = write_shared(tmp_path / "a.xlsx", ["id", "text"], ["a", "One."])
    change(path, "xl/sharedStrings.xml", lambda text: text.replace("One.", "x" * 64 * 2**20))
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "b.xlsx", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    with pytest.raises(BadInput, match="zip bomb"):
        read(tmp_path / "b.xlsx")
    path = write(tmp_path / "c.xlsx", ["id", "text"], ["a", "One."])
    change(path, "xl/worksheets/sheet1.xml", lambda text: (
        '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>' + text))  # fmt: skip
    with pytest.raises(BadInput, match="declares a DTD"):
        read(path)


def test_rows_for_question_sets(tmp_path: Path) -> None:
    path = write(tmp_path / "a.xlsx", ["id", "question", "answer"], [1, "Why?", 7.5], [2, "How?"])
    assert list(read_rows(path)) == [
        (2, {"id": 1, "question": "Why?", "answer": 7.5}),
        (3, {"id": 2, "question": "How?"}),
    ]


def test_an_empty_workbook(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="its sheets are empty"):
        read(write(tmp_path / "a.xlsx"))
    with pytest.raises(BadInput, match="contains no documents"):
        read(write(tmp_path / "b.xlsx", ["id", "text"]))
