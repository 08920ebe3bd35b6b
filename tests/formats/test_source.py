"""The format of a source is detected, its options are checked, and odd texts survive in each."""

import gzip
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from source_files import WRITERS, lines

from rag_vqa.errors import BadInput, Missing, RagVqaError, UsageError
from rag_vqa.formats.detection import format_names
from rag_vqa.formats.document import Rejected
from rag_vqa.formats.document_reader import DOCUMENT_READERS
from rag_vqa.formats.mapping import parse_mapping
from rag_vqa.formats.source import Source, open_source

NOT_FROM_FIELDS = {"zim"}  # archives of pages: test_zim.py
KINDS = [
    name
    for name in format_names()
    if DOCUMENT_READERS.find(name) is None and name not in NOT_FROM_FIELDS
]
TEXTS = [kind for kind in KINDS if kind not in ("folder", "parquet", "webdataset", "xlsx")]
ODD = {
    "right to left": "\u202eright to left",
    "zero width": "zero\u200bwidth",
    "tags": "\U000e0041tag",
    "emoji": "🏴‍☠️",
    "ansi": "\x1b[31mred",
    "markers": "<image><|im_start|>system </document> {{jinja}} {% x %} <script>alert(1)</script>",
    "quotes": 'a "quoted" text, with; separators\tand\nline\nends | bars',
    "json": '{"id": "x"}',
    "formula": "=1+1",
    "a megabyte": "x" * 10**6,
}


def read(source: Source) -> list[tuple[str, str]]:
    return [(record.id, record.text) for record in source.records()]


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_is_detected_and_read_again_and_again(tmp_path: Path, kind: str) -> None:
    texts = [("a", "One."), ("b", "Two.")]
    source = open_source(WRITERS[kind](tmp_path, texts))
    assert source.kind == kind and source.unknown == ()
    assert read(source) == read(source) == texts
    assert source.folder == (source.path if kind == "folder" else tmp_path).resolve()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
def test_odd_text_is_kept_as_it_is(tmp_path: Path, kind: str, text: str) -> None:
    text = text[:32_767] if kind == "xlsx" else text  # Excel has no longer cells
    assert read(open_source(WRITERS[kind](tmp_path, [("a", text)]))) == [("a", text)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", ["", " \n\t "])
def test_empty_and_blank_text_is_read(tmp_path: Path, kind: str, text: str) -> None:
    ((identity, read_text),) = read(open_source(WRITERS[kind](tmp_path, [("a", text)])))
    assert identity == "a" and not read_text.strip()


@pytest.mark.parametrize("kind", KINDS)
def test_a_nul_is_refused_and_the_rest_read(tmp_path: Path, kind: str) -> None:
    rejected: list[Rejected] = []
    path = WRITERS[kind](tmp_path, [("a", "One."), ("b", "x\0"), ("c", "Three.")])
    source = open_source(path, on_reject=rejected.append)
    assert [identity for identity, _ in read(source)] == ["a", "c"]
    assert [(r.id, "NUL" in r.reason) for r in rejected] == [("b", True)]
    for strict in (open_source(path), open_source(path, on_reject=rejected.append, strict=True)):
        with pytest.raises(BadInput, match="NUL"):
            read(strict)
    assert len(rejected) == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("identity", ["../x", "a b", "{{id}}", "é"])
def test_odd_ids(tmp_path: Path, kind: str, identity: str) -> None:
    if kind == "folder":
        identity = identity.removeprefix("../")  # a file has no such name
    path = WRITERS[kind](tmp_path, [(identity, "One.")])
    assert read(open_source(path)) == [(identity, "One.")]


SURROGATES = [kind for kind in KINDS if kind not in ("csv", "folder", "parquet", "xlsx")]


@pytest.mark.parametrize("kind", SURROGATES)  # the others cannot write one
def test_a_lone_surrogate_is_refused(tmp_path: Path, kind: str) -> None:
    rejected: list[Rejected] = []
    path = WRITERS[kind](tmp_path, [("a", "One."), ("b", "\ud800")])
    assert len(read(open_source(path, on_reject=rejected.append))) == 1
    assert "lone surrogate" in rejected[0].reason


@pytest.mark.parametrize("kind", TEXTS)
def test_bytes_that_are_no_utf_8(tmp_path: Path, kind: str) -> None:
    path = WRITERS[kind](tmp_path, [("a", "One."), ("b", "cafQ"), ("c", "Three.")])
    path.write_bytes(path.read_bytes().replace(b"cafQ", b"caf\xe9"))
    source = open_source(path, on_reject=lambda _: None)
    assert read(source) == [("a", "One."), ("b", "café"), ("c", "Three.")]
    assert kind == "evqa" or "Windows-1252" in "".join(source.remarks)


@pytest.mark.parametrize("kind", TEXTS)
def test_a_few_bad_bytes_of_utf_8(tmp_path: Path, kind: str) -> None:
    path = WRITERS[kind](tmp_path, [("a", "éééQ"), ("b", "cafQQ"), ("c", "Three.")])
    data = path.read_bytes().replace(b"\\u00e9", "é".encode()).replace(b"cafQQ", b"caf\xe9")
    path.write_bytes(data)
    rejected: list[Rejected] = []
    source = open_source(path, on_reject=rejected.append)
    assert [identity for identity, _ in read(source)] == ["a", "c"]
    assert len(rejected) == 1 and rejected[0].reason.isprintable()


@pytest.mark.parametrize("kind", TEXTS)
def test_utf_16(tmp_path: Path, kind: str) -> None:
    path = WRITERS[kind](tmp_path, [("a", "One.")])
    path.write_bytes(path.read_text("utf-8").encode("utf-16"))
    source = open_source(path, kind)
    assert read(source) == [("a", "One.")]
    assert kind == "evqa" or "UTF-16" in "".join(source.remarks)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "folder"])
def test_an_empty_file(tmp_path: Path, kind: str) -> None:
    path = WRITERS[kind](tmp_path, [("a", "One.")])
    path.write_bytes(b"")
    with pytest.raises(BadInput, match=r"is empty|cannot be read"):
        read(open_source(path, kind))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("folder", "webdataset")])
def test_pictures_lie_in_a_folder_of_the_user_s_choice(tmp_path: Path, kind: str) -> None:
    path = WRITERS[kind](tmp_path, [("a", "One.")])
    (record,) = open_source(path, images=tmp_path / "img").records()
    assert record.folder == tmp_path.resolve() / "img"


@pytest.mark.parametrize("kind", KINDS)
def test_a_subset(tmp_path: Path, kind: str) -> None:
    path = WRITERS[kind](tmp_path, [("a", "One."), ("b", "Two."), ("é", "Three.")])
    subset = tmp_path / "subset.list"
    subset.write_text("\ufeffé\r\n\n a \nnot there\n", "utf-8")
    assert [identity for identity, _ in read(open_source(path, subset=subset))] == ["a", "é"]
    subset.write_text("x\ny\n")
    with pytest.raises(BadInput, match="none of the 2 wanted documents is in it"):
        read(open_source(path, subset=subset))


def test_a_subset_names_ids_parents_addresses_or_titles(tmp_path: Path) -> None:
    records = [
        {"id": "1", "title": "Vase"},
        {"id": "2", "url": "https://u"},
        {"id": "3", "parent": "P"},
        {"id": "4", "text": "Vase"},
    ]
    path, subset = lines(tmp_path / "kb.jsonl", records), tmp_path / "subset"
    subset.write_text("Vase\nhttps://u\nP\n")
    assert [i for i, _ in read(open_source(path, subset=subset))] == ["1", "2", "3"]
    for data, said in ((b"\n", "is empty"), ("é".encode() * 9 + b"\xff\n", "line 1: ")):
        subset.write_bytes(data)
        with pytest.raises(BadInput, match=said):
            open_source(path, subset=subset)
    with pytest.raises(Missing, match="does not exist"):
        open_source(path, subset=tmp_path / "none")


def test_sections_of_e_vqa(tmp_path: Path) -> None:
    path = WRITERS["evqa"](tmp_path, [("u", "One.")])
    assert read(open_source(path, unit="section")) == [("u#0", "One.")]
    packed = tmp_path / "kb.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.write(path, "kb.json")
    assert open_source(packed).kind == "evqa" and read(open_source(packed)) == [("u", "One.")]


@pytest.mark.parametrize(
    "name", ["kb.jsonl.gz", "kb.ndjson", "KB.JSONL", "kb.json", "kb.txt", "kb"]
)
def test_names_of_jsonl(tmp_path: Path, name: str) -> None:
    data = lines(tmp_path / "plain", [{"id": "a", "text": "One."}]).read_bytes()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    source = open_source(tmp_path / name)
    assert source.kind == "jsonl" and read(source) == [("a", "One.")]


def test_a_table_with_columns_of_other_names(tmp_path: Path) -> None:
    data = "inv_no,title,description,photos,year\nA1,Vase,Blue.,v.jpg,1750\n"
    (tmp_path / "kb.csv").write_text(data)
    mapping = parse_mapping(["id=inv_no", "text=title,description", "images=photos"])
    source = open_source(tmp_path / "kb.csv", mapping=mapping)
    assert (source.metadata, source.unknown) == (("year",), ())
    (record,) = source.records()
    assert (record.id, record.text, record.metadata) == ("A1", "Vase\nBlue.", {"year": 1750})
    assert record.images == (tmp_path.resolve() / "v.jpg",)


def test_other_columns_are_listed_as_metadata(tmp_path: Path) -> None:
    path = lines(tmp_path / "kb.jsonl", [{"id": "a", "text": "t"}, {"id": "b", "txt": "t", "x": 1}])
    source = open_source(path, on_reject=lambda _: None)
    assert (source.columns, source.metadata) == (("id", "text", "txt", "x"), ("txt", "x"))


NO_KIND: dict[str, tuple[str, bytes]] = {
    "pdf": ("a.pdf", b"%PDF-1.7\n"),
    "doc": ("a.doc", b"\xd0\xcf\x11\xe0\n"),
    "xlsx": ("a.xlsx", b"PK\x03\x04\0\0\n"),
    "prose": ("a.log", b"Some text.\n"),
    "empty": ("a.bin", b""),
}


@pytest.mark.parametrize(("name", "data"), NO_KIND.values(), ids=NO_KIND)
def test_what_is_no_source(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(
        BadInput,
        match=rf"{name}.* (of no known format|it is empty|is damaged|Word 97|is not a)",
    ):
        read(open_source(tmp_path / name))
    with pytest.raises(Missing, match="does not exist: check the path"):
        open_source(tmp_path / "none")


def test_options_that_a_kind_does_not_have(tmp_path: Path) -> None:
    paths = {kind: WRITERS[kind](tmp_path, [("a", "One.")]) for kind in ("folder", "csv")}
    refused: list[tuple[Callable[[], Source], str]] = [
        (lambda: open_source(paths["csv"], unit="page"), "a unit is for evqa: csv has none"),
        (lambda: open_source(paths["folder"], images=tmp_path), "pictures lie beside texts"),
        (
            lambda: open_source(paths["folder"], mapping={}),
            "a mapping is for .*csv.*: folder has none",
        ),
        (lambda: open_source(paths["csv"], mapping={"text": ["txt"]}), "Did you mean 'text'"),
    ]
    for call, said in refused:
        with pytest.raises(UsageError, match=said):
            call()
    wrong: Any = "jsnol"
    with pytest.raises(UsageError, match="Did you mean 'jsonl'"):
        open_source(paths["csv"], wrong)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("given", ["pipe", "folder", "device"])
def test_what_is_no_file_is_refused_at_once(
    tmp_path: Path, kind: str, given: Literal["pipe", "folder", "device"]
) -> None:
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe")
    path = {"pipe": tmp_path / "pipe", "folder": tmp_path / "empty", "device": Path("/dev/zero")}
    with pytest.raises(RagVqaError, match=r"not a regular file|not a folder|contains no documents"):
        read(open_source(path[given], kind))


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.csv", "a.parquet", "a.zip", "a"])
def test_a_pipe_of_any_name_does_not_block(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(BadInput, match="not a regular file"):
        open_source(tmp_path / name)
