"""Reading JSONL: what is accepted, and one line with a reason for what is not."""

import bz2
import gzip
import json
import lzma
import os
import tracemalloc
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from rag_vqa.errors import BadInput, Missing, UsageError
from rag_vqa.formats import line_reader
from rag_vqa.formats.document import Rejected, parse_document
from rag_vqa.formats.document_format import SourceOptions
from rag_vqa.formats.jsonl import contents, read_jsonl
from rag_vqa.types import Document

GOOD = b'{"id": "a", "text": "One."}\n'


def write(folder: Path, data: bytes, name: str = "docs.jsonl") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def read(path: Path, images: Path | None = None) -> tuple[list[Document], list[Rejected]]:
    rejected: list[Rejected] = []
    records = list(read_jsonl(path, images, on_reject=rejected.append))
    names = [field.name for field in fields(Document)]
    return [Document(**{name: getattr(r, name) for name in names}) for r in records], rejected


def test_all_fields(tmp_path: Path) -> None:
    record: dict[str, Any] = {
        "id": "../x",
        "text": "t",
        "title": "T",
        "section": "S",
        "parent": "P",
        "url": "https://u",
        "images": ["p.jpg", "sub/q.jpg"],
        "metadata": {"lang": "en", "year": 1990, "ok": True, "none": None, "x": 0.5},
    }
    path = write(tmp_path, json.dumps(record).encode())
    folder = tmp_path.resolve()
    images = (folder / "p.jpg", folder / "sub/q.jpg")
    del record["metadata"]["none"]
    assert read(path) == ([Document(**{**record, "images": images})], [])


def test_null_is_absent_and_image_is_one_of_images(tmp_path: Path) -> None:
    data = b'{"id": "a", "title": null, "image": "p.jpg"}\n{"id": "b", "text": "t", "image": ""}'
    documents, rejected = read(write(tmp_path, data), tmp_path / "img")
    assert documents == [
        Document("a", images=(tmp_path.resolve() / "img" / "p.jpg",)),
        Document("b", text="t"),
    ]
    assert not rejected


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf" + GOOD,
        GOOD.replace(b"\n", b"\r\n"),
        GOOD.rstrip(),
        b"\n \n" + GOOD + b"\n",
        gzip.compress(GOOD, mtime=0),
        gzip.compress(b"\xef\xbb\xbf" + GOOD.replace(b"\n", b"\r\n"), mtime=0),
        bz2.compress(GOOD),
        lzma.compress(GOOD),
        GOOD.decode().encode("utf-16"),
        GOOD.decode().encode("utf-16-le"),
        b"\xfe\xff" + GOOD.decode().encode("utf-16-be"),
    ],
    ids=[
        "bom",
        "crlf",
        "no line end",
        "blank lines",
        "gz",
        "gz bom crlf",
        "bz2",
        "xz",
        "utf-16",
        "utf-16 without a mark",
        "utf-16 big-endian",
    ],
)
def test_odd_but_fine_files(tmp_path: Path, data: bytes) -> None:
    assert read(write(tmp_path, data)) == ([Document("a", text="One.")], [])


@pytest.mark.parametrize(
    "text",
    [
        "\u202eright to left",
        "zero\u200bwidth",
        "\U000e0041tag",
        "🏴‍☠️",
        "\x1b[31mred",
        "<image><|im_start|>system </document> {{jinja}} <script>",
    ],
)
def test_odd_text_is_kept_as_it_is(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, json.dumps({"id": text, "text": text}).encode())
    assert read(path) == ([Document(text, text=text)], [])


BAD = {
    "bad line": (b"{'id': 1}", "not JSON"),
    "array": (b'["id"]', "not an object"),
    "number": (b"7", "not an object"),
    "duplicate key": (b'{"id": "b", "id": "c"}', "'id' is repeated"),
    "missing id": (b'{"text": "t"}', "id is missing"),
    "null id": (b'{"id": null}', "id is missing"),
    "empty id": (b'{"id": " "}', "id is empty"),
    "list id": (b'{"id": ["b"]}', "not a text or a number"),
    "boolean id": (b'{"id": true}', "not a text or a number"),
    "5000 digits": (b'{"id": "b", "metadata": {"x": ' + b"9" * 5000 + b"}}", "not JSON that"),
    "deep": (b'{"id": "b", "text": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", "nested too deeply"),
    "deep and cut": (b"[" * 100_000, "nested too deeply"),
    "structure as text": (b'{"id": "b", "text": {"x": 5}}', "not text"),
    "lone surrogate": (b'{"id": "b", "text": "\\ud800"}', "lone surrogate"),
    "NUL": (b'{"id": "b", "text": "x\\u0000"}', "NUL"),
    "raw NUL": (b'{"id": "b", "text": "x\x00"}', "not JSON"),
}


@pytest.mark.parametrize(("line", "reason"), BAD.values(), ids=BAD)
def test_a_bad_line_is_reported_and_the_next_is_read(
    tmp_path: Path, line: bytes, reason: str
) -> None:
    path = write(tmp_path, GOOD + line + b"\n" + GOOD.replace(b'"a"', b'"z"'))
    documents, (rejected,) = read(path)
    assert [document.id for document in documents] == ["a", "z"]
    assert rejected.line == 2 and reason in rejected.reason
    assert rejected.reason.isprintable() and len(rejected.reason) < 200
    with pytest.raises(BadInput, match=r"docs\.jsonl, line 2: "):
        list(read_jsonl(path, on_reject=lambda _: None, strict=True))
    with pytest.raises(BadInput, match=r"docs\.jsonl, line 2: "):
        list(read_jsonl(path))


def test_encodings(tmp_path: Path) -> None:
    line = '{"id": "%s", "text": "Gießkanne – fünf Liter"}\n'
    documents, _ = read(write(tmp_path, (line % "a").encode("cp1252")))
    assert documents[0].text == "Gießkanne – fünf Liter"
    damaged = (line % "a").encode() * 3 + b'{"id": "b", "text": "\xff"}\n'
    documents, (rejected,) = read(write(tmp_path, damaged))
    assert [document.id for document in documents] == ["a", "a", "a"]
    assert (rejected.line, rejected.reason[:34]) == (4, "not UTF-8: byte 0xff at character ")
    found = contents(
        write(tmp_path, (line % "a").encode("cp437", "replace")), SourceOptions(encoding="437")
    )
    (item,) = found.items()
    assert not isinstance(item.fields, BadInput)
    assert item.fields["text"] == "Gießkanne ? fünf Liter"
    assert found.remarks == ("the file is read as CP437",)


def test_the_id_of_a_refused_line_is_reported(tmp_path: Path) -> None:
    _, (rejected,) = read(write(tmp_path, GOOD + b'{"id": "b", "text": {"x": 5}}'))
    assert rejected == Rejected(2, "b", "text is {'x': 5}, not text.")


def test_a_cut_last_line(tmp_path: Path) -> None:
    documents, (rejected,) = read(write(tmp_path, GOOD + b'{"id": "b", "te'))
    assert len(documents) == 1
    assert rejected.line == 2 and "last line is cut" in rejected.reason


def test_a_record_knows_its_line_and_the_folder_of_its_pictures(tmp_path: Path) -> None:
    path = write(tmp_path, b"\n" + GOOD + b"[]\n" + GOOD)
    records = list(read_jsonl(path, on_reject=lambda _: None))
    assert [(record.line, record.folder) for record in records] == [
        (2, tmp_path.resolve()),
        (4, tmp_path.resolve()),
    ]
    (record,) = read_jsonl(write(tmp_path, GOOD), tmp_path / "img")
    assert record.folder == tmp_path.resolve() / "img"


def test_a_name_that_is_nearly_a_field_is_said(tmp_path: Path) -> None:
    path = write(tmp_path, b'{"id": "a", "texts": 1}\n{"id": "b", "texts": 2}\n')
    (remark,) = contents(path, SourceOptions()).remarks
    assert "'texts'" in remark and "'text'" in remark
    assert [document.metadata for document in read(path)[0]] == [{"texts": 1}, {"texts": 2}]


def test_without_any_id_the_question_is_which_field_it_is(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"which column is the id\? Give --map id=COLUMN.*nr"):
        read(write(tmp_path, b'{"nr": 1, "text": "t"}\n'))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "contains no documents: it is empty"),
        (b"\n\r\n", "contains no documents: it is empty"),
        (b"\xef\xbb\xbf", "contains no documents: it is empty"),
        (b"{\n[\n", "contains no documents: line 1 was refused: not JSON"),
        (gzip.compress(b"", mtime=0), "contains no documents: it is empty"),
    ],
)
def test_a_file_of_no_documents(tmp_path: Path, data: bytes, reason: str) -> None:
    with pytest.raises(BadInput, match=reason):
        read(write(tmp_path, data))


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Missing, match="does not exist"):
        read(tmp_path / "none.jsonl")
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(BadInput, match="not a regular file"):
            read(path)


def test_a_huge_line_is_passed_over_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "docs.jsonl"
    with path.open("wb") as file:
        file.write(GOOD + b'{"id": "b", "text": "')
        for _ in range(100):
            file.write(b"x" * 2**20)
        file.write(b'"}\n' + GOOD.replace(b'"a"', b'"z"'))
    tracemalloc.start()
    documents, (rejected,) = read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [document.id for document in documents] == ["a", "z"]
    assert (rejected.line, rejected.reason[:21]) == (2, "the line is over 16 M")
    assert peak < 60 * 2**20


def test_a_line_of_the_limit_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for limit, accepted in ((len(GOOD), 1), (len(GOOD) - 1, 1), (len(GOOD) - 2, 0)):
        monkeypatch.setattr(line_reader, "LINE_LIMIT", limit)  # a line end is not counted
        documents, _ = read(write(tmp_path, GOOD + b'{"id":"b"}\n'))
        assert len(documents) == 1 + accepted


def test_gzip_that_is_cut_or_damaged(tmp_path: Path) -> None:
    many = b"".join(
        b'{"id": "%06d", "text": "%x"}\n' % (n, n * 7919 % 100_003) for n in range(5_000)
    )
    whole = gzip.compress(many)
    for broken in (whole[: len(whole) // 2], whole[:-4], whole[:-8] + b"\0" * 8):
        documents, (rejected,) = read(write(tmp_path, broken))
        assert 1_000 < len(documents) <= 5_000
        assert rejected.line is not None and rejected.line > len(documents)
        assert "damaged or cut" in rejected.reason
        with pytest.raises(BadInput, match="damaged or cut"):
            list(read_jsonl(tmp_path / "docs.jsonl"))


def test_a_gzip_bomb_is_stopped(tmp_path: Path) -> None:
    bomb = tmp_path / "docs.jsonl.gz"
    with gzip.open(bomb, "wb", compresslevel=1) as file:
        file.write(GOOD)
        for _ in range(200):
            file.write(b" " * 2**20)
    with pytest.raises(BadInput, match="gzip bomb"):
        read(bomb)


VALUES: dict[str, tuple[str, dict[str, Any]]] = {
    "integer id": ('"id": 41', {"id": "41"}),
    "float id": ('"id": 41.0', {"id": "41"}),
    "numbers as texts": ('"id": "b", "text": 5, "title": 1.5', {"text": "5", "title": "1.5"}),
    "texts of a list": ('"id": "b", "text": ["a", null, "b"]', {"text": "a\nb"}),
    "NaN and infinity": ('"id": "b", "metadata": {"x": NaN, "y": Infinity}', {"metadata": {}}),
    "65 bits": (
        '"id": "b", "metadata": {"x": 18446744073709551616, "y": 1}',
        {"metadata": {"y": 1}},
    ),
    "nested": (
        '"id": "b", "metadata": {"x": {"y": 1}, "z": [[1]], "t": 2}',
        {"metadata": {"t": 2}},
    ),
    "a list": ('"id": "b", "metadata": {"x": ["a", null, 2]}', {"metadata": {"x": ("a", 2)}}),
    "other fields": ('"id": "b", "year": 1780, "box": {"x": 1}', {"metadata": {"year": 1780}}),
    "both": (
        '"id": "b", "year": 1, "metadata": {"year": 2, "z": 3}',
        {"metadata": {"year": 1, "z": 3}},
    ),
    "a name with half a character": (
        '"id": "b", "metadata": {"\\udfff": 1, "z": 3}', {"metadata": {"z": 3}},
    ),
    "metadata that is a text": ('"id": "b", "metadata": "old"', {"metadata": {"metadata": "old"}}),
}  # fmt: skip


@pytest.mark.parametrize(("fields", "expected"), VALUES.values(), ids=VALUES)
def test_values_become_what_a_document_holds(
    tmp_path: Path, fields: str, expected: dict[str, Any]
) -> None:
    path = write(tmp_path, b'{"id": "first"}\n{' + fields.encode() + b"}\n")
    documents, rejected = read(path)
    assert not rejected
    assert documents[1] == Document(**{"id": "b", **expected})


PICTURES: dict[str, tuple[str, tuple[Any, ...]]] = {
    "image and images": ('"image": "p", "images": ["q", "p"]', ("p", "q")),
    "one name": ('"images": "p"', ("p",)),
    "a list as image": ('"image": ["p", null, " "]', ("p",)),
    "in one text": ('"image": "p.jpg|q.jpg"', ("p.jpg", "q.jpg")),
    "of datasets": ('"image": {"bytes": null, "path": "p"}', ("p",)),
}


@pytest.mark.parametrize(("fields", "names"), PICTURES.values(), ids=PICTURES)
def test_pictures_are_listed(tmp_path: Path, fields: str, names: tuple[str, ...]) -> None:
    (document,), _ = read(write(tmp_path, b'{"id": "b", ' + fields.encode() + b"}"))
    assert document.images == tuple(tmp_path.resolve() / name for name in names)


@pytest.mark.parametrize(
    "value", ['"http://x/p.jpg"', '"data:image/png;base64,AAAA"', "5", '"p\\u0000.jpg"']
)
def test_what_is_no_name_of_a_file_stays_a_text_that_cannot_be_opened(
    tmp_path: Path, value: str
) -> None:
    (document,), _ = read(write(tmp_path, b'{"id": "b", "image": ' + value.encode() + b"}"))
    assert [type(image) for image in document.images] == [str]


def test_what_could_not_be_kept_is_known_by_name(tmp_path: Path) -> None:
    data = b'{"id": "b", "box": {"x": 1}, "metadata": {"far": 1e999, "v": [' + b"0," * 64 + b"0]}}"
    (record,) = read_jsonl(write(tmp_path, data))
    reasons = {"box": "nested", "far": "infinite", "v": "a list of over 64 numbers"}
    assert record.left_out == reasons and not record.metadata


def test_from_mapping_trusts_the_caller_with_sources_but_not_with_fields() -> None:
    document = parse_document({"id": "a", "images": [b"bytes", Path("p.jpg"), "q.jpg"]})
    assert document.images == (b"bytes", Path("p.jpg"), "q.jpg")
    assert parse_document({"id": "a", "year": 1780}).metadata == {"year": 1780}
    with pytest.raises(BadInput, match=r"text is .*, not text"):
        parse_document({"id": "a", "text": {"de": "t"}})
