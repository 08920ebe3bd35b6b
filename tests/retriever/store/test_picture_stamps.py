"""Stamps: an unchanged file is recognised, and no change of a file or of its copy is missed."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rag_vqa.retriever.store import picture_stamps
from rag_vqa.retriever.store.picture_stamps import (
    STAMPS_FILE,
    PictureStamps,
    is_settled,
    read_stamp,
)


@pytest.fixture
def kb(tmp_path: Path) -> Path:
    (tmp_path / "kb/images").mkdir(parents=True)
    (tmp_path / "kb/images/abc").write_bytes(b"pixels")
    (tmp_path / "vase.jpg").write_bytes(b"pixels")
    note(tmp_path)
    return tmp_path


def note(folder: Path) -> None:
    stamps = PictureStamps(folder / "kb", folder / "kb/images", writes=True)
    path = str(folder / "vase.jpg")
    stamp = read_stamp(path)
    assert stamp is not None
    stamps.note(path, stamp, str(folder), "abc")
    stamps.close()


def find(folder: Path, root: str | None = None) -> str | None:
    stamps = PictureStamps(folder / "kb", folder / "kb/images", writes=False)
    try:
        return stamps.find(str(folder / "vase.jpg"), root or str(folder))
    finally:
        stamps.close()


def replace_with_its_old_date(path: Path) -> None:
    """As `cp --preserve` or an archive program does: same size, same date, other bytes."""
    before = path.stat()
    path.write_bytes(b"PIXELS")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def swap(path: Path) -> None:
    other = path.with_name("other.jpg")
    other.write_bytes(b"PIXELS")
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.replace(path)


def link(path: Path) -> None:
    other = path.with_name("elsewhere.jpg")
    other.write_bytes(b"pixels")
    path.unlink()
    path.symlink_to(other)


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_bytes(b"more pixels"),
        replace_with_its_old_date,
        swap,
        link,
        lambda path: path.unlink(),
    ],
    ids=["written", "old date", "swapped", "linked", "deleted"],
)
@pytest.mark.parametrize("name", ["vase.jpg", "kb/images/abc"])
def test_no_change_is_missed(kb: Path, name: str, change: Callable[[Path], object]) -> None:
    assert find(kb) == "abc"
    change(kb / name)
    assert find(kb) is None


def test_a_file_is_recognised_below_the_folder_that_it_was_checked_in(kb: Path) -> None:
    assert find(kb, "/elsewhere") is None


def test_what_changed_just_now_gets_no_stamp(tmp_path: Path) -> None:
    path = tmp_path / "new.jpg"
    path.write_bytes(b"x")
    assert not is_settled(str(path)) and not is_settled(str(tmp_path / "no.jpg"))
    assert is_settled("/")  # changed long ago


@pytest.mark.parametrize("damage", [b"", b"SQLite format 3\0 no", b"\xff" * 5000])
def test_a_damaged_cache_is_begun_again(kb: Path, damage: bytes) -> None:
    (kb / "kb" / STAMPS_FILE).write_bytes(damage)
    assert find(kb) is None
    note(kb)
    assert find(kb) == "abc"


def test_a_reader_makes_no_file(tmp_path: Path) -> None:
    (tmp_path / "kb/images").mkdir(parents=True)
    assert find(tmp_path) is None
    assert not (tmp_path / "kb" / STAMPS_FILE).exists()


def test_stamps_of_files_that_are_gone_do_not_grow(
    kb: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture_stamps, "_SPARE_ROWS", 0)
    stamps = PictureStamps(kb / "kb", kb / "kb/images", writes=True)
    for number in range(10):
        stamps.note(f"/gone/{number}.jpg", "stamp", "/gone", "abc")
    assert stamps.find(str(kb / "vase.jpg"), str(kb)) == "abc"
    stamps.close(complete=True)  # one of eleven was asked for
    assert find(kb) is None
