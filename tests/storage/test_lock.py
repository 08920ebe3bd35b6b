"""The lock's own file: never another's through a link, never one name for two hosts."""

import errno
import fcntl
import os
import socket
from pathlib import Path

import pytest

from rag_vqa.errors import Locked, RagVqaError
from rag_vqa.storage import atomic, lock


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "x.kb").mkdir()
    (tmp_path / "x.kb" / "writer.lock").symlink_to(victim)
    with pytest.raises(RagVqaError, match="no plain file"), lock.hold_lock(tmp_path / "x.kb"):
        pass
    with pytest.raises(RagVqaError, match="cannot be written"):
        atomic.write_at(tmp_path / "x.kb" / "writer.lock", 0, b"x")
    assert victim.read_text() == "precious"


def test_a_pipe_is_no_lock(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "writer.lock")
    with pytest.raises(RagVqaError, match="no plain file"), lock.hold_lock(tmp_path):
        pass


def test_two_hosts_may_have_the_same_pid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Containers count from 1. Without flock, the second's failure must not free the first's."""

    def refuse(file: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    pid = 4_194_305  # beyond Linux's largest, see proc_sys_kernel(5)
    monkeypatch.setattr(lock.os, "getpid", lambda: pid)
    monkeypatch.setattr(socket, "gethostname", lambda: "one")
    with lock.hold_lock(tmp_path):
        monkeypatch.setattr(socket, "gethostname", lambda: "two")
        for _ in range(2):  # on "two", no process of that pid runs
            with pytest.raises(Locked, match=f"process {pid} on one"), lock.hold_lock(tmp_path):
                pass
    with lock.hold_lock(tmp_path):
        pass
    assert [file.name for file in tmp_path.iterdir()] == ["writer.lock"]


def test_what_cannot_be_locked_is_not_called_locked(tmp_path: Path) -> None:
    """Waiting helps against another writer, not against this."""
    with pytest.raises(RagVqaError) as found, lock.hold_lock(tmp_path / "none.kb"):
        pass
    assert not isinstance(found.value, Locked)
