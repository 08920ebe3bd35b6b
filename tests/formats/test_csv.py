"""Reading CSV and TSV: dialects, quotes, and a line with a reason for what is refused.

Files are written out by hand after RFC 4180, or by the csv module's writer.
"""

import csv
import gzip
import io
import tracemalloc
from pathlib import Path

import pytest

from rag_vqa.errors import BadInput, Missing
from rag_vqa.formats.csv import contents
from rag_vqa.formats.document import Record, Rejected, read_records
from rag_vqa.formats.document_format import SourceOptions

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
    ],
)
def test_dialects(tmp_path: Path, name: str, data: bytes) -> None:
    ((record,), rejected) = read(write(tmp_path, data, name))
    assert (record.id, record.text, record.metadata) == ("a", "One.", {})
    assert not rejected


def test_a_table_of_ids_alone(tmp_path: Path) -> None:
    records, _ = read(write(tmp_path, b"id\na\nb\n"))
    assert [record.id for record in records] == ["a", "b"]


BAD = {
    "too few": (b"b", "1 cells, but the header has 2"),
    "too many": (b"b,One, two.", "3 cells, but the header has 2"),
    "no id": (b",Text", "the id is missing"),
    "bad utf-8": (b"b,caf\xe9", "not UTF-8: byte 0xe9 at 5 of line 3"),
    "NUL": (b"b,x\0", "NUL"),
    "behind a quote": (b'b,"x"y', "not CSV"),
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


def test_a_bad_line_inside_quotes_costs_its_row(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD + b'b,"one\n\xff\ntwo"\nz,One.\n')
    records, rejected = read(path)
    assert [record.id for record in records] == ["a", "z"]
    assert rejected[0].line == 3 and "not UTF-8" in rejected[0].reason


def test_an_open_quote_does_not_take_the_file_along_in_silence(tmp_path: Path) -> None:
    rows = b"".join(b"%d,One.\n" % number for number in range(15_000))
    records, (rejected,) = read(write(tmp_path, GOOD + b'b,"open\n' + rows))
    assert len(records) == 1 + 15_000 - 10_000
    assert rejected.line == 3 and "not closed by line 10003" in rejected.reason
    records, (rejected,) = read(write(tmp_path, GOOD + b'b,"open\nc,One.\n'))
    assert [record.id for record in records] == ["a"]
    assert rejected.line == 3 and "not CSV: unexpected end" in rejected.reason


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "it is empty"),
        (b"\n\n", "it is empty"),
        (b"id,text\n", "contains no documents: it is empty"),
        (b"id,text,text\na,b,c\n", "two columns are called 'text'"),
        (b",id,text\n0,a,b\n", "column 1 has no name"),
        (b"id,caf\xe9\na,b\n", "line 1: not UTF-8: byte 0xe9"),
        (b'id,"text\n', "the header is not CSV"),
        ("id,text\na,b\n".encode("utf-16"), "is UTF-16"),
        (b"id,text\r\x61,b\r", "header is not CSV"),
        (b"id,text\nb\n", "line 2 was refused: 1 cells"),
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
    assert peak < 60 * 2**20


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
