"""Another option, another state of a file: a job does not resume, and the message names it."""

from pathlib import Path

import pytest

from rag_vqa.errors import UsageError
from rag_vqa.storage.fingerprint import check_unchanged, file_state, find_changes


def test_equal_trees_go_on() -> None:
    check_unchanged("run", {"a": {"b": [1, 2]}, "c": None}, {"a": {"b": [1, 2]}}, "Stop.")


def test_every_change_is_named_with_its_path() -> None:
    before = {"steps": 10, "data": {"seed": 1, "files": "x" * 100}, "gone": True}
    now = {"steps": 20, "data": {"seed": 1, "files": "y"}, "new": 0}
    with pytest.raises(UsageError) as found:
        check_unchanged("out/run", before, now, "Give another folder.")
    assert str(found.value) == (
        f"out/run was started with other options: steps was 10, is 20; data.files was {'x' * 59}…,"
        " is y; gone was True, is none; new was none, is 0. Give another folder."
    )
    assert [change.name for change in find_changes(before, now)] == [
        "steps", "data.files", "gone", "new"
    ]  # fmt: skip


def test_another_content_has_another_state(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("a")
    before = file_state(path)
    assert file_state(path) == before
    path.write_text("ab")
    assert file_state(path) != before
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "nowhere")
    assert file_state(link)[0] == str(tmp_path / "nowhere")
