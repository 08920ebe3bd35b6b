"""Tar files as WebDataset writes them: members of one name are one document."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from rag_vqa.errors import BadInput
from rag_vqa.formats.document import Record, Rejected
from rag_vqa.formats.source import Source, open_source


def write_tar(path: Path, *members: tuple[str, bytes | str], mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in members:
            info = tarfile.TarInfo(name)
            data = data.encode() if isinstance(data, str) else data
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def read(path: Path, **options: object) -> tuple[Source, list[Record], list[Rejected]]:
    rejected: list[Rejected] = []
    source = open_source(path, on_reject=rejected.append, **options)  # type: ignore[arg-type]
    return source, list(source.records()), rejected


def sample(key: str, text: str = "A vase.") -> list[tuple[str, bytes | str]]:
    return [(f"{key}.jpg", key.encode()), (f"{key}.txt", text)]


@pytest.mark.parametrize(
    ("name", "mode"), [("a.tar", "w"), ("a.tar.gz", "w:gz"), ("a.tgz", "w:gz")]
)
def test_pictures_with_texts(tmp_path: Path, name: str, mode: str) -> None:
    path = write_tar(tmp_path / name, *sample("0001"), *sample("0002", "A bowl."), mode=mode)
    source, records, rejected = read(path)
    assert source.kind == "webdataset" and not rejected
    assert [(r.id, r.text, r.images, r.metadata) for r in records] == [
        ("0001", "A vase.", (b"0001",), {}),
        ("0002", "A bowl.", (b"0002",), {}),
    ]
    assert [r.id for r in source.records()] == ["0001", "0002"]  # again, from the beginning


def test_what_each_member_is(tmp_path: Path) -> None:
    fields = {"title": "Vase", "caption": "A caption.", "width": 640, "tags": ["blue", "old"]}
    path = write_tar(
        tmp_path / "a.tar",
        ("./train/0001.left.png", b"left"), ("./train/0001.right.PNG", b"right"),
        ("./train/0001.json", json.dumps(fields)), ("./train/0001.cls", "7\n"),
        ("./train/0001.npy", b"\x93NUMPY\0\1"), ("./train/._0001.jpg", b"junk"),
        ("./train/0002.json", '{"caption": "A text alone."}'),
    )  # fmt: skip
    source, (first, second), rejected = read(path)
    assert not rejected and first.images == (b"left", b"right")
    assert (first.id, first.title, first.text) == ("train/0001", "Vase", "A caption.")
    assert first.metadata == {"width": 640, "tags": ("blue", "old"), "cls": 7}
    assert (second.id, second.text, second.images) == ("train/0002", "A text alone.", ())
    assert source.findings() == ("left out: 1 .npy",)


def test_ids_and_mapped_names(tmp_path: Path) -> None:
    rows = [(f"{n}.json", json.dumps({"id": n * 10, "about": f"Text {n}."})) for n in (1, 2)]
    path = write_tar(tmp_path / "a.tar", *rows)
    _, records, _ = read(path, mapping={"text": ["about"]})
    assert [(r.id, r.text) for r in records] == [("10", "Text 1."), ("20", "Text 2.")]


def test_a_folder_of_shards(tmp_path: Path) -> None:
    for number in range(3):
        write_tar(tmp_path / "data" / f"train-{number:05}.tar", *sample(f"{number}-a"))
    (tmp_path / "README.md").write_text("# Card")
    source, records, _ = read(tmp_path)
    assert source.kind == "webdataset" and [r.id for r in records] == ["0-a", "1-a", "2-a"]


def test_a_bad_member_costs_its_document(tmp_path: Path) -> None:
    path = write_tar(
        tmp_path / "a.tar", *sample("1"), ("2.jpg", b"2"), ("2.json", "{no json"), *sample("3")
    )
    _, records, (rejected,) = read(path)
    assert [r.id for r in records] == ["1", "3"] and "not JSON" in rejected.reason


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_tar_that_is_cut(tmp_path: Path, mode: str) -> None:
    import random

    noise = random.Random(0)
    members = [(f"{n}.jpg", noise.randbytes(20_000)) for n in range(20)]
    path = write_tar(tmp_path / ("a.tar" if mode == "w" else "a.tar.gz"), *members, mode=mode)
    path.write_bytes(path.read_bytes()[: 3 * path.stat().st_size // 4])
    _, records, (rejected,) = read(path)
    assert 10 < len(records) < 20 and "damaged or cut" in rejected.reason
    empty = tmp_path / "b.tar"
    empty.write_bytes(b"no tar at all" * 100)
    with pytest.raises(BadInput, match="no tar file"):
        open_source(empty)
