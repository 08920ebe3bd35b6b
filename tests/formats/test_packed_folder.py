"""Zips and tars of a folder are read as the folder that they contain."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from rag_vqa.errors import BadInput, UsageError
from rag_vqa.formats import packed_folder
from rag_vqa.formats.document import Record
from rag_vqa.formats.source import Source, open_source

TABLE = "id,text,image\na,A vase.,img/a.png\n"


def write_zip(path: Path, **files: str | bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def read(path: Path) -> tuple[Source, list[Record]]:
    source = open_source(path)
    return source, list(source.records())


def pictures(source: Source, record: Record) -> list[bytes]:
    from rag_vqa.images import read_bytes

    return [read_bytes(image, record.folder) for image in record.images]  # type: ignore[arg-type]


def test_a_zip_of_photographs_with_captions(tmp_path: Path) -> None:
    path = write_zip(
        tmp_path / "photos.zip",
        **{"photos/a.jpg": b"a", "photos/A.txt": "A vase.", "photos/sub/b.png": b"b"},
        **{"__MACOSX/photos/._a.jpg": b"junk", "photos/.DS_Store": b"junk"},
    )
    source, records = read(path)
    assert source.kind == "folder" and source.path == path
    assert [(r.id, r.text, pictures(source, r)) for r in records] == [
        ("A", "A vase.", [b"a"]),
        ("sub/b", "", [b"b"]),
    ]
    folder = source.unpacked.root  # type: ignore[union-attr]
    assert folder.is_dir()
    del source, records
    assert not folder.exists()


def test_a_zip_with_a_table_and_its_pictures(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "set.zip", **{"list.csv": TABLE, "img/a.png": b"a"})
    source, (record,) = read(path)
    assert source.kind == "csv" and pictures(source, record) == [b"a"]


def test_a_zip_of_one_table_is_that_table(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "list.csv.zip", **{"list.csv": "id,text\na,A vase.\n"})
    source, (record,) = read(path)
    assert source.kind == "csv" and source.unpacked is None and record.text == "A vase."


def test_a_tar_of_a_folder_with_a_table(tmp_path: Path) -> None:
    path = tmp_path / "set.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, data in (("set/list.csv", TABLE.encode()), ("set/img/a.png", b"a")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("set/img/b.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(link)
    source, (record,) = read(path)
    assert source.kind == "csv" and pictures(source, record) == [b"a"]


def test_names_that_lead_out_are_not_written(tmp_path: Path) -> None:
    names = ("../out.txt", "a/../../out.txt", "/abs.txt", "C:\\x\\w.txt", "ok.txt", "n.txt")
    path = write_zip(tmp_path / "a.zip", **dict.fromkeys(names, "x"))
    source, records = read(path)
    assert {record.id for record in records} == {"ok", "n", "abs", "C:/x/w"}
    assert not (tmp_path / "out.txt").exists() and not Path("/abs.txt").exists()
    folder = source.unpacked.root  # type: ignore[union-attr]
    assert not (folder.parent / "out.txt").exists()


def test_names_of_macos(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    name = "café.jpg"
    write_zip(path, **{name: b"a", "café.txt": "A vase."})
    data = path.read_bytes()
    for place in range(len(data) - 4):  # without the flag that says UTF-8
        if data[place : place + 4] == b"PK\x03\x04":
            data = data[: place + 7] + b"\0" + data[place + 8 :]
        elif data[place : place + 4] == b"PK\x01\x02":
            data = data[: place + 9] + b"\0" + data[place + 10 :]
    path.write_bytes(data)
    _, (record,) = read(path)
    assert record.id == "café" and len(record.images) == 1


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_zip(tmp_path / "a b.zip", **{"a.txt": "x" * 100, "b.txt": "x" * 100})
    monkeypatch.setattr(packed_folder, "MAX_UNPACKED_BYTES", 150)
    with pytest.raises(UsageError, match=r"too large .*: unzip '.*/a b.zip' -d 'a b'"):
        open_source(path)


def test_a_bomb_and_a_damaged_zip(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", b"\0" * 2**26)
        archive.writestr("b.jpg", b"x")
    with pytest.raises(BadInput, match="zip bomb"):
        open_source(bomb)
    damaged = write_zip(tmp_path / "d.zip", **{"a.txt": "x", "b.jpg": b"y"})
    damaged.write_bytes(damaged.read_bytes()[:-30])
    with pytest.raises(BadInput):
        open_source(damaged)
