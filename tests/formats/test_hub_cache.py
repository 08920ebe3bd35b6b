"""Data sets as huggingface_hub keeps them: links of a snapshot lead into the blobs beside it."""

from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from rag_vqa.errors import UsageError
from rag_vqa.formats.document import Rejected
from rag_vqa.formats.source import Source, open_source

MAIN = "5f3759df" * 5


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A cache as `load_dataset` leaves it: names of blobs are hashes, snapshots are links."""
    root = tmp_path / "hub" / "datasets--museum--vases"
    (root / "blobs").mkdir(parents=True)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(MAIN)
    (root / "snapshots" / MAIN).mkdir(parents=True)
    return root


def add(repository: Path, name: str, data: bytes, snapshot: str = MAIN) -> Path:
    blob = repository / "blobs" / f"{abs(hash(data)):x}"
    blob.write_bytes(data)
    link = repository / "snapshots" / snapshot / name
    link.parent.mkdir(parents=True, exist_ok=True)
    up = "../" * (2 + name.count("/"))
    link.symlink_to(f"{up}blobs/{blob.name}")
    return link


def read(path: Path) -> tuple[Source, dict[str, list[bytes]], list[Rejected]]:
    """The pictures of each document, read as a build reads them."""
    from rag_vqa.images import read_bytes

    rejected: list[Rejected] = []
    source = open_source(path, on_reject=rejected.append)
    found = {
        record.id: [read_bytes(image, record.folder) for image in record.images]  # type: ignore[arg-type]
        for record in source.records()
    }
    return source, found, rejected


def test_parquet_of_a_snapshot(repository: Path, tmp_path: Path) -> None:
    for number in range(2):
        file = tmp_path / "one.parquet"
        parquet.write_table(pa.table({"id": [f"v{number}"], "text": ["A vase."]}), file)
        add(repository, f"data/train-0000{number}-of-00002.parquet", file.read_bytes())
    add(repository, "README.md", b"# Vases")
    snapshot = repository / "snapshots" / MAIN
    for path in (repository, repository / "snapshots", snapshot, snapshot / "data"):
        source, found, rejected = read(path)
        assert (source.kind, list(found), rejected) == ("parquet", ["v0", "v1"], [])
    _, found, _ = read(snapshot / "data" / "train-00001-of-00002.parquet")
    assert list(found) == ["v1"]


def test_pictures_of_a_snapshot(repository: Path) -> None:
    add(repository, "metadata.csv", b"file_name,text\nimg/a.png,A vase.\n")
    add(repository, "img/a.png", b"picture a")
    for path in (repository, repository / "snapshots" / MAIN / "metadata.csv"):
        _, found, rejected = read(path)
        assert found == {"img/a.png": [b"picture a"]} and not rejected


def test_a_folder_of_pictures_and_texts(repository: Path) -> None:
    add(repository, "train/a.png", b"picture a")
    add(repository, "train/a.txt", b"A vase.")
    _, found, rejected = read(repository / "snapshots" / MAIN)
    assert found == {"train/a": [b"picture a"]} and not rejected


def test_links_that_lead_elsewhere_are_outside(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"secret")
    other = tmp_path / "hub" / "datasets--other--set" / "blobs"
    other.mkdir(parents=True)
    (other / "b").write_bytes(b"secret")
    snapshot = repository / "snapshots" / MAIN
    (snapshot / "a.png").symlink_to(tmp_path / "secret.png")
    (snapshot / "b.png").symlink_to(other / "b")
    (snapshot / "c.txt").write_text("A vase.")
    _, found, rejected = read(repository)
    assert found == {"c": []}
    assert sorted("leads out of the folder" in one.reason for one in rejected) == [True, True]


def test_links_into_blobs_count_only_in_a_cache(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "a").write_bytes(b"picture")
    inside = tmp_path / "snapshots" / MAIN
    inside.mkdir(parents=True)
    (inside / "a.png").symlink_to("../../blobs/a")
    (inside / "c.txt").write_text("A vase.")
    _, found, (rejected,) = read(inside)
    assert found == {"c": []} and "leads out of the folder" in rejected.reason


def test_which_snapshot(repository: Path) -> None:
    add(repository, "new.txt", b"New.")
    add(repository, "old.txt", b"Old.", "0ld")
    assert list(read(repository)[1]) == ["new"]
    (repository / "refs" / "main").write_text("gone")
    with pytest.raises(
        UsageError, match=r"several snapshots: give one of them, such as .*snapshots"
    ):
        open_source(repository)
