"""Each call that changes the disk fails in turn: the old state or the new, and on it goes.

Beside SQLite's own calls, whose failures are SQLite's tests' matter, and test_strace.py's.
"""

import errno
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from rag_vqa.errors import RagVqaError


@pytest.fixture
def base(tmp_path: Path, motions) -> Path:
    """Twenty documents, three of them gone: there is something to compact."""
    with motions.open_or_create(tmp_path / "base.kb") as kb:
        kb.add([motions.document(n, 1) for n in range(20)], batch_size=8)
        kb.delete(["d3", "d4", "d5"])
    return tmp_path / "base.kb"


OPERATIONS = {
    "add": lambda kb, new: kb.add([new(n, 2) for n in (0, 1, 3, 30)], batch_size=100),
    "delete": lambda kb, new: kb.delete(["d0", "d1"]),
    "compact": lambda kb, new: kb.compact(),
}
NEW = {
    "add": lambda old: old | {"d0": 2, "d1": 2, "d3": 2, "d30": 2},
    "delete": lambda old: {name: v for name, v in old.items() if name not in ("d0", "d1")},
    "compact": lambda old: old,
}
CALLS = {"add": 10, "delete": 0, "compact": 10}  # at least; a deletion is SQLite's alone


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("name", OPERATIONS)
def test_the_nth_call_fails(base, tmp_path, motions, system, name, error) -> None:
    with motions.open_or_create(base) as kb:
        old = motions.held(kb)
    new = NEW[name](old)
    for n in range(1, 100):
        path = Path(shutil.copytree(base, tmp_path / f"{n}.kb"))
        with motions.open_or_create(path) as kb:
            with system(fail_at=n, error=error) as calls:
                try:
                    OPERATIONS[name](kb, motions.document)
                except RagVqaError as failed:
                    assert "\n" not in str(failed) and str(path) in str(failed)
            found = motions.held(kb)
            assert found in (old, new)
            if calls.count < n:  # it makes no more calls: each has failed once
                assert found == new
                break
            with motions.open_or_create(path) as reader:
                assert motions.held(reader) == found
            OPERATIONS[name](kb, motions.document)  # there is room again
            assert motions.held(kb) == new
        with motions.open_or_create(path) as kb, kb.store.hold_writer_lock():
            assert motions.unnamed(kb) == []
    assert n > CALLS[name]


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_a_copy_is_whole_or_not_there(base, tmp_path, motions, system, error) -> None:
    with motions.open_or_create(base) as kb:
        old = motions.held(kb)
        for n in range(1, 100):
            target = tmp_path / f"copy{n}.kb"
            with system(fail_at=n, error=error) as calls, suppress(RagVqaError):
                kb.snapshot(target)
            if not (target / "kb.sqlite").exists():
                assert calls.count >= n
                kb.snapshot(target)
            with motions.open_or_create(target) as copy:
                assert motions.held(copy) == old
            if calls.count < n:
                break
        assert n > 20
