"""Reading CSV and TSV: dialects, quotes, and a line with a reason for what is refused.

Files are written out by hand after RFC 4180, or by the csv module's writer.
"""

import bz2
import csv
import gzip
import io
import lzma
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from rag_vqa.errors import BadInput, Missing, UsageError
from rag_vqa.formats.csv import contents, is_csv
from rag_vqa.formats.document import Record, Rejected, read_records
from rag_vqa.formats.document_format import SourceOptions
from rag_vqa.formats.packed_file import unpacked_suffix

GOOD = b"id,text\na,One.\n"


def write(folder: Path, data: bytes, name: str = "docs.csv") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def read(
    path: Path, mapping: dict[str, list[str]] | None = None
) -> tuple[list[Record], list[Rejected]]:
    rejected: list[Rejected] = []
    items = contents(path, SourceOptions(mapping=mapping)).items()
    records = list(read_records(items, path, path.parent.resolve(), rejected.append))
    return records, rejected


def test_a_catalogue_as_a_spreadsheet_writes_it(tmp_path: Path) -> None:
    rows = [
        ["inv_no", "title", "description", "photos", "year", "room", "weight"],
        ["007", 'A "blue" vase', "Line one.\nLine two, longer.", "a.jpg|b.jpg", "1750", "", "2.5"],
        ["008", "Bowl", "", "", "c. 1800", "3", "12.10"],
    ]
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    path = write(tmp_path, b"\xef\xbb\xbf" + text.getvalue().encode())
    mapping = {"id": ["inv_no"], "text": ["title", "description"], "images": ["photos"]}
    found = contents(path, SourceOptions(mapping=mapping))
    assert found.columns == tuple(rows[0]) and found.metadata == ("year", "room", "weight")
    (vase, bowl), rejected = read(path, mapping)
    assert not rejected
    assert vase.id == "007" and vase.text == 'A "blue" vase\nLine one.\nLine two, longer.'
    assert vase.images == tuple(tmp_path.resolve() / name for name in ("a.jpg", "b.jpg"))
    assert vase.metadata == {"year": 1750, "weight": 2.5}
    assert (bowl.text, bowl.images) == ("Bowl", ())
    assert bowl.metadata == {"year": "c. 1800", "room": 3, "weight": "12.10"}
    assert [record.line for record in (vase, bowl)] == [2, 4]  # the first takes two lines
    assert vase.folder == tmp_path.resolve()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.csv", b"id,text\na,One.\n"),
        ("a.csv", b"id;text\na;One.\n"),
        ("a.csv", b"id\ttext\na\tOne.\n"),
        ("a.csv", b'"id";"text"\n"a";"One."\n'),
        ("a.csv", b'id;text;"a,b,c"\na;One.;\n'),  # commas inside quotes do not count
        ("a.tsv", b"id\ttext\na\tOne.\n"),
        ("a.TAB", b"id\ttext\na\tOne.\n"),
        ("a.tsv", b'id\ttext\t"b,c,d,e"\na\tOne.\t\n'),
        ("a.csv", b"\xef\xbb\xbfid,text\r\na,One.\r\n"),
        ("a.csv", b"id,text\na,One."),
        ("a.csv", b"\n \nid,text\n\na,One.\n\n,\n"),
        ("a.csv", b" id , text \na,One.\n"),
        ("a.csv.gz", gzip.compress(GOOD, mtime=0)),
        ("a.tsv.gz", gzip.compress(b"id\ttext\na\tOne.\n", mtime=0)),
        ("a.csv.bz2", bz2.compress(GOOD)),
        ("a.csv.xz", lzma.compress(GOOD)),
        ("a.csv", b"id|text\na|One.\n"),
        ("a.csv", b"id^text\na^One.\n"),
        ("a.csv", b"id\x1ftext\na\x1fOne.\n"),
        ("a.csv", b"sep=;\r\nid;text\r\na;One.\r\n"),
        ("a.csv", b'"sep=;"\nid;text\na;One.\n'),
        ("a.csv", b"sep=\t\nid\ttext\na\tOne.\n"),
        ("a.csv", b"\xef\xbb\xbfsep=|\nid|text\na|One.\n"),
        ("a.csv", "sep=;\nid;text\na;One.\n".encode("utf-16")),
        ("a.csv", b"id,text\ra,One.\r"),  # of an old Mac
        ("a.csv", b"id,text\r\na,One.\n"),
        ("a.csv", b"id, text\na, One.\n"),
        ("a.csv", b'id, text\na, "One."\n'),
        ("a.csv", b"id,text,,\na,One.,,\n"),
        ("a.csv", b"id,,text\na,,One.\n"),
        ("a.csv", b";;;\nid;text;;\na;One.;;;;\n"),
        ("a.csv", b"id,text\na,One.,\n"),
        ("a.csv", b"Our list\n\nid,text\na,One.\n"),
        ("a.csv", b"Our list,\n,\nid,text\na,One.\n"),
        ("a.tsv", b"id,text\na,One.\n"),
    ],
)
def test_dialects(tmp_path: Path, name: str, data: bytes) -> None:
    ((record,), rejected) = read(write(tmp_path, data, name))
    assert (record.id, record.text, record.metadata) == ("a", "One.", {})
    assert not rejected


def test_a_zip_of_one_table(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data/a.csv", GOOD)
        archive.writestr("__MACOSX/data/._a.csv", b"x")
        archive.writestr("README.md", b"About it.")
    ((record,), _) = read(path)
    assert record.text == "One." and unpacked_suffix(path) == ".csv"
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("data/b.csv", GOOD)
    with pytest.raises(BadInput, match="contains 2 files of data"):
        read(path)


SEPARATORS = {
    "a comma file full of semicolons": (
        b"id,text;note\na,One; two; three\nb,Four; five\n",
        ["One; two; three", "Four; five"],
        {"text": ["text;note"]},
    ),
    "semicolons and decimal commas": (
        b"id;text;h\na;One, two;1,5\nb;Three, four;2,5\n",
        ["One, two", "Three, four"],
        None,
    ),
    "commas in the header": (
        b"nr;Form (H, B, T, G);text\na;1;One\nb;2;Two\n",
        ["One", "Two"],
        {"id": ["nr"]},
    ),
    "every text has as many semicolons": (
        b"nr,text\na,One; two; three; four\nb,Five; six; seven; eight\n",
        ["One; two; three; four", "Five; six; seven; eight"],
        {"id": ["nr"]},
    ),
    "pipes between names of pictures": (
        b"id,text,image\na,One,p.jpg|q.jpg|r.jpg\nb,Two,s.jpg|t.jpg|u.jpg\n",
        ["One", "Two"],
        None,
    ),
    "commas without quotes in most texts": (
        b"id|text\na|One, two\nb|Three, four\nc|Five\n",
        ["One, two", "Three, four", "Five"],
        None,
    ),
}


@pytest.mark.parametrize(("data", "texts", "mapping"), SEPARATORS.values(), ids=SEPARATORS)
def test_the_separator_makes_rows_as_wide_as_the_header(
    tmp_path: Path, data: bytes, texts: list[str], mapping: dict[str, list[str]] | None
) -> None:
    records, rejected = read(write(tmp_path, data), mapping)
    assert [record.text for record in records] == texts and not rejected


@pytest.mark.parametrize(
    ("codec", "said"),
    [
        ("utf-8", ""),
        ("utf-8-sig", ""),
        ("utf-16", "UTF-16"),
        ("utf-16-le", "UTF-16"),
        ("utf-16-be", "UTF-16"),
        ("utf-32", "UTF-32"),
        ("cp1252", "Windows-1252"),
    ],
)
def test_encodings_are_found_out_and_named(tmp_path: Path, codec: str, said: str) -> None:
    text = "Gießkanne – fünf Liter, 12 €"
    path = write(tmp_path, f'id,text\r\ng1,"{text}"\r\n'.encode(codec))
    ((record,), _) = read(path)
    assert record.text == text
    remarks = contents(path, SourceOptions()).remarks
    assert [said in remark for remark in remarks] == [True] * bool(said)


def test_an_encoding_that_is_given(tmp_path: Path) -> None:
    path = write(tmp_path, "id,text\na,Ваза синяя с птицами\n".encode("cp1251"))
    with pytest.raises(BadInput, match="--encoding cp1251"):
        read(path)
    found = contents(path, SourceOptions(encoding="Windows-1251"))
    (item,) = found.items()
    assert not isinstance(item.fields, BadInput)
    assert item.fields["text"] == "Ваза синяя с птицами"
    assert found.remarks == ("the file is read as Windows-1251",)
    with pytest.raises(UsageError, match="no such encoding"):
        contents(path, SourceOptions(encoding="windows-12512"))


COLUMNS = {
    "an index": (b",id,text,year\n0,a,One,1980\n1,b,Two,1990\n", ["year"], "numbers the rows"),
    "from one": (b",id,text\n1,a,One\n2,b,Two\n", [], "numbers the rows"),
    "of a shuffled frame": (b",id,text\n7,a,One\n3,b,Two\n", [], "numbers the rows"),
    "two of them": (b",Unnamed: 0,id,text\n0,5,a,One\n1,2,b,Two\n", [], "'Unnamed: 0'"),
    "in the middle": (b"id,,text\na,0,One\nb,1,Two\n", [], "'column 2' only numbers"),
    "notes": (b"id,text,,year\na,One,old,1\nb,Two,,2\n", ["column 3", "year"], "'column 3'"),
    "notes at the end": (b"id,text,\na,One,old\nb,Two,new\n", ["column 3"], "'column 3'"),
    "twice": (b"id,note,text,note\na,x,One,y\nb,z,Two,\n", ["note", "note (2)"], "'note (2)'"),
}


@pytest.mark.parametrize(("data", "names", "said"), COLUMNS.values(), ids=COLUMNS)
def test_columns_without_a_name_of_their_own(
    tmp_path: Path, data: bytes, names: list[str], said: str
) -> None:
    path = write(tmp_path, data)
    records, rejected = read(path)
    assert [(record.id, record.text) for record in records] == [("a", "One"), ("b", "Two")]
    assert sorted({name for record in records for name in record.metadata}) == names
    assert not rejected and said in "\n".join(contents(path, SourceOptions()).remarks)


def test_an_index_is_the_id_only_if_the_user_says_so(tmp_path: Path) -> None:
    path = write(tmp_path, b",text\n0,One\n1,Two\n")
    with pytest.raises(UsageError, match="which column is the id"):
        read(path)
    records, _ = read(path, {"id": ["column 1"]})
    assert [record.id for record in records] == ["0", "1"]


def test_a_filled_cell_too_many_is_refused(tmp_path: Path) -> None:
    rows = b"id,text,year,,\na,One, two,1980,\nb,Two,1990,,\nc,Three,,,\n"
    records, (rejected,) = read(write(tmp_path, rows))
    assert [record.id for record in records] == ["b", "c"]
    assert rejected.line == 2 and "5 cells, but the header has 3" in rejected.reason


def test_columns_of_one_name_are_one_field(tmp_path: Path) -> None:
    data = b"id,text,text,image,image,image\na,One,Two,p.jpg,,q.jpg\n"
    ((record,), _) = read(write(tmp_path, data))
    assert record.text == "One\nTwo" and record.metadata == {}
    assert [picture.name for picture in record.images] == ["p.jpg", "q.jpg"]
    data = b"id,Foto,Foto\na,p.jpg,q.jpg\n"
    ((record,), _) = read(write(tmp_path, data), {"images": ["foto"]})
    assert [picture.name for picture in record.images] == ["p.jpg", "q.jpg"]
    with pytest.raises(BadInput, match="two columns are called 'id'"):
        read(write(tmp_path, b"id,id,text\na,b,One\n"))


QUOTES = {
    "within a cell": (b'b,5" disk', '5" disk'),
    "not doubled": (b'b,"He said "hello" to me"', 'He said "hello" to me'),
    "not doubled, and a comma": (b'b,"a "b, c" d"', 'a "b, c" d'),
    "around the first word": (b'b,"Blue" vase', '"Blue" vase'),
    "behind a backslash": (b'b,"a \\"b\\", c"', 'a "b", c'),
    "never closed": (b'b,"open', '"open'),
    "never closed, one below": (b'b,"open\nc,"quoted, x"', '"open'),
    "on two lines": (b'b,"He said "hi" and\nleft"', 'He said "hi" and\nleft'),
    "a blank behind": (b'b,"One, two" ', "One, two"),
}


@pytest.mark.parametrize(("row", "text"), QUOTES.values(), ids=QUOTES)
def test_quotes_as_people_write_them(tmp_path: Path, row: bytes, text: str) -> None:
    records, rejected = read(write(tmp_path, GOOD + row + b"\nz,Last.\n"))
    found = {record.id: record.text for record in records}
    assert found["b"] == text and found["z"] == "Last." and not rejected


def test_a_header_that_comes_again_is_no_document(tmp_path: Path) -> None:
    records, rejected = read(write(tmp_path, GOOD + b"id,text\nb,Two.\n"))
    assert [record.id for record in records] == ["a", "b"] and not rejected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("id\ttext\na\tOne.\n", True),
        ("Inv\tTitle\tYear\n1\tVase\n2\tBowl\t1650\n", True),
        ("id;text\na;One.\n", True),
        ("Dear\tall\nit is late, and I\nam tired.\n", False),
        ("One sentence, of one line.", False),
        ("Hello, you\nand, well\n", False),
        ("\tindented\n\tcode\n", False),
        ("", False),
    ],
)
def test_a_text_file_that_is_a_table(tmp_path: Path, text: str, expected: bool) -> None:
    assert is_csv(write(tmp_path, text.encode(), "a.txt")) is expected
    assert is_csv(write(tmp_path, text.encode("utf-16"), "b.txt")) is expected


def test_a_table_of_ids_alone(tmp_path: Path) -> None:
    records, _ = read(write(tmp_path, b"id\na\nb\n"))
    assert [record.id for record in records] == ["a", "b"]


BAD = {
    "too many": (b"b,One, two.", "3 cells, but the header has 2"),
    "no id": (b",Text", "the id is missing"),
    "NUL": (b"b,x\0", "NUL"),
}


@pytest.mark.parametrize(("row", "reason"), BAD.values(), ids=BAD)
def test_a_bad_row_is_reported_and_the_next_is_read(
    tmp_path: Path, row: bytes, reason: str
) -> None:
    path = write(tmp_path, GOOD + row + b"\nz,One.\n")
    records, (rejected,) = read(path)
    assert [record.id for record in records] == ["a", "z"]
    assert rejected.line == 3 and reason in rejected.reason
    assert rejected.reason.isprintable() and len(rejected.reason) < 200
    with pytest.raises(BadInput, match=r"docs\.csv, line 3: "):
        list(read_records(contents(path, SourceOptions()).items(), path, tmp_path))


def test_short_rows_are_filled_up_and_empty_ones_skipped(tmp_path: Path) -> None:
    records, rejected = read(write(tmp_path, b"id,text,year\na\nb,One\n,,\n , \nc,Two,1650,,\n"))
    assert [(record.id, record.text) for record in records] == [
        ("a", ""),
        ("b", "One"),
        ("c", "Two"),
    ]
    assert not rejected and records[2].metadata == {"year": 1650}


def test_a_damaged_line_costs_its_row(tmp_path: Path) -> None:
    good = "g;Gießkanne größer als früher\n".encode() * 5
    data = b"id;text\n" + good + b'b;"one\n\xff\ntwo"\nc;"caf\xe9\n;x"\nz;One.\n'
    records, rejected = read(write(tmp_path, data))
    assert [record.id for record in records] == [*"ggggg", "z"]
    assert [refused.line for refused in rejected] == [7, 10]
    assert all("not UTF-8: byte 0x" in refused.reason for refused in rejected)


def test_an_open_quote_costs_no_other_row(tmp_path: Path) -> None:
    rows = b"".join(b"%d,One.\n" % number for number in range(15_000))
    records, rejected = read(write(tmp_path, GOOD + b'b,"open\n' + rows))
    assert len(records) == 2 + 15_000 and not rejected
    assert records[1].text == '"open'


def test_quotes_that_are_never_closed_do_not_take_for_ever(tmp_path: Path) -> None:
    rows = b"".join(b'%d,"One.\n' % number for number in range(30_000))
    records, rejected = read(write(tmp_path, GOOD + rows))
    assert len(records) + len(rejected) == 1 + 30_000


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "it is empty"),
        (b"\n\n", "it is empty"),
        (b"id,text\n", "contains no documents: it is empty"),
        (b",,\n,,\n", "it is empty"),
        (b"id,text\n,b\n", "line 2 was refused: the id is missing"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "binary data"),
    ],
)
def test_a_file_of_no_documents(tmp_path: Path, data: bytes, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        read(write(tmp_path, data))


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="does not exist"):
        contents(tmp_path / "none.csv", SourceOptions())
    with pytest.raises(BadInput, match="not a regular file"):
        contents(tmp_path, SourceOptions())


def test_a_long_cell_is_read_and_a_huge_one_is_passed_over_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "docs.csv"
    with path.open("wb") as file:
        file.write(GOOD + b"long," + b"x" * 10**6 + b"\n" + b"huge,")
        for _ in range(100):
            file.write(b"x" * 2**20)
        file.write(b"\nz,One.\n")
    tracemalloc.start()
    records, (rejected,) = read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [(record.id, len(record.text)) for record in records][1:] == [("long", 10**6), ("z", 4)]
    assert (rejected.line, "over 16 MB" in rejected.reason) == (4, True)
    assert peak < 80 * 2**20  # a line of the limit, its pieces, and the csv module


def test_gzip_that_is_cut_or_a_bomb(tmp_path: Path) -> None:
    many = GOOD + b"".join(b"%06d,%x\n" % (n, n * 7919 % 100_003) for n in range(5_000))
    whole = gzip.compress(many)
    records, rejected = read(write(tmp_path, whole[: len(whole) // 2], "docs.csv.gz"))
    assert 1_000 < len(records) < 5_000 and "damaged or cut" in rejected[-1].reason
    with gzip.open(tmp_path / "bomb.csv.gz", "wb", compresslevel=1) as file:
        file.write(GOOD)
        for _ in range(70):
            file.write(b" " * 2**20 + b"\n")
    with pytest.raises(BadInput, match="gzip bomb"):
        read(tmp_path / "bomb.csv.gz")
