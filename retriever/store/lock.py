"""One writer a knowledge base: a file that is locked while somebody writes, and says who.

It knows hosts and processes. It does not know what is written. Readers never ask.
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
from rag_vqa.retriever.store import files

FILE = "writer.lock"
_HELD = ".held"  # ends the name of the lock that needs no flock
_PATIENCE = 0.4  # seconds for a holder to write who it is: nobody waits for more than a second
_NO_FLOCK = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder. The system frees it when the process ends, however it ends.

    Raises:
        Locked: another process holds it, which is named.
        RagVqaError: the folder cannot be written to.
    """
    path = folder / FILE
    try:  # never through a link: what it leads to would be emptied
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        if path.is_symlink():
            raise _no_lock(path) from error
        raise RagVqaError(
            f"{folder} cannot be written to: {error.strerror}. Give it rights, or copy it: "
            f"cp -r {folder} ELSEWHERE"
        ) from error
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise _no_lock(path)
        with _flocked(file, path) if _flock(file, path) else _linked(path):
            yield
    finally:
        os.close(file)


def _flock(file: int, path: Path) -> bool:
    """Take the lock; False where the file system has none to give."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise _busy(path, _holder(file)) from error
    except OSError as error:
        if error.errno not in _NO_FLOCK:
            raise RagVqaError(f"{path} cannot be locked: {error.strerror}.") from error
        return False
    return True


@contextmanager
def _flocked(file: int, path: Path) -> Iterator[None]:
    """With flock: the file says who holds it, and nothing while nobody does."""
    with files.explained(path):
        os.ftruncate(file, 0)
        os.pwrite(file, _me().encode(), 0)
    try:
        yield
    finally:
        os.ftruncate(file, 0)


def _holder(file: int) -> str:
    """Who holds it: what it wrote, once it has; one that was killed left its name there."""
    end = time.monotonic() + _PATIENCE
    while not (name := os.pread(file, 300, 0).decode(errors="replace")) or _dead(name):
        if time.monotonic() > end:
            return "an unknown process"
        time.sleep(0.02)
    return name


@contextmanager
def _linked(path: Path) -> Iterator[None]:
    """Without flock: a name that only one process can give. A dead holder's is taken over, where
    it can be known to be dead: on its own host."""
    held, mine = path.with_name(path.name + _HELD), _fresh(path)
    try:
        with files.explained(mine), mine.open("x", encoding="utf-8") as file:
            file.write(_me())
        for _ in range(2):
            try:
                held.hardlink_to(mine)
                break
            except FileExistsError as error:
                holder = _read(held)
                if not _dead(holder):
                    raise _busy(path, holder) from error
                _clear(held, holder)
        else:
            raise _busy(path, _read(held))
    finally:
        mine.unlink(missing_ok=True)
    try:
        yield
    finally:
        held.unlink(missing_ok=True)


def _clear(held: Path, holder: str) -> None:
    """Take a dead holder's lock away, and put it back if it was another's by then."""
    aside = _fresh(held)
    try:
        held.rename(aside)
    except FileNotFoundError:
        return  # another was faster
    if _read(aside) != holder:
        held.hardlink_to(aside)
    aside.unlink()


def _fresh(path: Path) -> Path:
    """A name beside it that no other process gives, on no other host either, as a pid would be."""
    return path.with_name(f"{path.name}.{uuid.uuid4().hex}")


def _read(held: Path) -> str:
    try:
        return held.read_text("utf-8", "replace")
    except FileNotFoundError:
        return "a process that has just ended"


def _me() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def _dead(holder: str) -> bool:
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


def _busy(path: Path, holder: str) -> Locked:
    return Locked(
        f"Another process is writing {path.parent}: {holder}. Wait for it, then run this again."
    )


def _no_lock(path: Path) -> RagVqaError:
    return RagVqaError(f"{path} is no plain file, as a lock must be. Remove it: rm {path}")
