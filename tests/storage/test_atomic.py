"""A file is complete or the old one; a folder likewise; the same on a system without pwrite."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rag_vqa.errors import RagVqaError
from rag_vqa.storage import atomic


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("windows", [False, True])
def test_a_file_is_written_over_a_longer_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, windows: bool
) -> None:
    monkeypatch.setattr(atomic, "_WINDOWS", windows)
    path = tmp_path / "a.json"
    (tmp_path / "a.json.new").write_text("left by a killed process, and longer than the next")
    atomic.write_file(path, "first, äöü")
    assert path.read_text("utf-8") == "first, äöü"
    atomic.write_file(path, b"\x00second")
    assert path.read_bytes() == b"\x00second"
    atomic.write_at(path, 3, b"XY")
    assert path.read_bytes() == b"\x00seXYnd"
    assert names(tmp_path) == ["a.json"]


def test_lines_that_end_in_an_error_leave_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    assert atomic.write_lines(path, ["a", "b"]) == 2

    def broken() -> Iterator[str]:
        yield "c"
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        atomic.write_lines(path, broken())
    assert path.read_bytes() == b"a\nb\n"
    assert names(tmp_path) == ["rows.jsonl"]


def test_half_a_character_is_written_as_asked(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with pytest.raises(UnicodeEncodeError):
        atomic.write_lines(path, ["\ud800"])
    atomic.write_lines(path, ["\ud800"], errors="surrogatepass")
    assert path.read_text("utf-8", "surrogatepass") == "\ud800\n"


def test_the_partial_file_lies_where_the_caller_says(tmp_path: Path) -> None:
    path, partial = tmp_path / "page.html", tmp_path / "page.html.begun"
    with atomic.partial_file(path, partial) as new:
        assert new == partial
        new.write_text("page")
    assert path.read_text() == "page" and names(tmp_path) == ["page.html"]


def test_an_error_names_the_file_and_the_next_step(tmp_path: Path) -> None:
    with pytest.raises(RagVqaError, match=r"a\.txt\.new cannot be written: .* run the same"):
        atomic.write_file(tmp_path / "none" / "a.txt", "x")


def folder(path: Path, text: str) -> Path:
    path.mkdir()
    (path / "config.json").write_text(text)
    return path


def test_a_folder_takes_the_place_of_another(tmp_path: Path) -> None:
    target = folder(tmp_path / "best", "old")
    atomic.replace_folder(folder(tmp_path / "best.new", "new"), target)
    assert (target / "config.json").read_text() == "new"
    assert names(tmp_path) == ["best"]


def test_a_kill_between_the_two_renames_is_undone(tmp_path: Path) -> None:
    target = tmp_path / "best"
    folder(tmp_path / "best.old", "old")
    atomic.recover_folder(target)
    assert (target / "config.json").read_text() == "old"
    folder(tmp_path / "best.old", "older")  # a kill after them: the new folder is there
    atomic.recover_folder(target)
    assert (target / "config.json").read_text() == "old"
    assert names(tmp_path) == ["best"]
