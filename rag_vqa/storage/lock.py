"""Writer lock: one process at a time writes into a folder, and others learn which one.

Knows lock files, hosts and processes. Does not know what is written. Readers need no lock.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rag_vqa.errors import Locked, RagVqaError
from rag_vqa.storage import atomic

LOCK_FILE = "writer.lock"
_LINK_SUFFIX = ".held"  # ends the name of the lock that needs no flock
_HOLDER_SECONDS = (
    0.4  # seconds for a holder to write who it is: nobody waits for more than a second
)
_NO_FLOCK = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


@contextmanager
def hold_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder. The system frees it when the process ends, however it ends.

    Raises:
        Locked: another process holds it, which is named.
        RagVqaError: the folder cannot be written to.
    """
    path = folder / LOCK_FILE
    try:  # never through a link: what it leads to would be emptied
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        if path.is_symlink():
            raise _not_a_file_error(path) from error
        raise RagVqaError(
            f"{folder} cannot be written to: {error.strerror}. Give it rights, or copy it: "
            f"cp -r {folder} ELSEWHERE"
        ) from error
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise _not_a_file_error(path)
        with _hold_flock(file, path) if _try_flock(file, path) else _hold_link(path):
            yield
    finally:
        os.close(file)


def _try_flock(file: int, path: Path) -> bool:
    """Take the lock; False where the file system has none to give."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise _busy_error(path, _read_holder(file)) from error
    except OSError as error:
        if error.errno not in _NO_FLOCK:
            raise RagVqaError(f"{path} cannot be locked: {error.strerror}.") from error
        return False
    return True


@contextmanager
def _hold_flock(file: int, path: Path) -> Iterator[None]:
    """With flock: the file says who holds it, and nothing while nobody does."""
    with atomic.translate_os_errors(path):
        os.ftruncate(file, 0)
        os.pwrite(file, _describe_self().encode(), 0)
    try:
        yield
    finally:
        os.ftruncate(file, 0)


def _read_holder(file: int) -> str:
    """Who holds it: what it wrote, once it has; one that was killed left its name there."""
    end = time.monotonic() + _HOLDER_SECONDS
    while not (name := os.pread(file, 300, 0).decode(errors="replace")) or _is_dead(name):
        if time.monotonic() > end:
            return "an unknown process"
        time.sleep(0.02)
    return name


@contextmanager
def _hold_link(path: Path) -> Iterator[None]:
    """Without flock: a name that only one process can give. A dead holder's is taken over, where
    it can be known to be dead: on its own host."""
    held, mine = path.with_name(path.name + _LINK_SUFFIX), _unique_path(path)
    try:
        with atomic.translate_os_errors(mine), mine.open("x", encoding="utf-8") as file:
            file.write(_describe_self())
        for _ in range(2):
            try:
                held.hardlink_to(mine)
                break
            except FileExistsError as error:
                holder = _read_link(held)
                if not _is_dead(holder):
                    raise _busy_error(path, holder) from error
                _clear_dead_link(held, holder)
        else:
            raise _busy_error(path, _read_link(held))
    finally:
        mine.unlink(missing_ok=True)
    try:
        yield
    finally:
        held.unlink(missing_ok=True)


def _clear_dead_link(held: Path, holder: str) -> None:
    """Take a dead holder's lock away, and put it back if it was another's by then."""
    aside = _unique_path(held)
    try:
        held.rename(aside)
    except FileNotFoundError:
        return  # another was faster
    if _read_link(aside) != holder:
        held.hardlink_to(aside)
    aside.unlink()


def _unique_path(path: Path) -> Path:
    """A name beside it that no other process gives, on no other host either, as a pid would be."""
    return path.with_name(f"{path.name}.{uuid.uuid4().hex}")


def _read_link(held: Path) -> str:
    try:
        return held.read_text("utf-8", "replace")
    except FileNotFoundError:
        return "a process that has just ended"


def _describe_self() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def _is_dead(holder: str) -> bool:
    """Whether that process ran here and does no more."""
    words = holder.split()
    if len(words) != 4 or not words[1].isdecimal() or words[3] != socket.gethostname():
        return False
    try:
        os.kill(int(words[1]), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    return False


def _busy_error(path: Path, holder: str) -> Locked:
    return Locked(
        f"Another process is writing {path.parent}: {holder}. Wait for it, then run this again."
    )


def _not_a_file_error(path: Path) -> RagVqaError:
    return RagVqaError(f"{path} is no plain file, as a lock must be. Remove it: rm {path}")
