"""Writer lock: one process at a time writes into a folder, and others learn which one.

Knows lock files, hosts and processes. Does not know what is written. Readers need no lock.

The library filelock takes the system's lock on Linux, macOS and Windows. Kept by hand: the name of
the holder in the file, and the fallback for network file systems without locks (filelock's own
deletes locks by their age; ours asks whether the holder still runs).
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rag_vqa.errors import Locked, RagVqaError
from rag_vqa.storage.atomic import translate_os_errors

LOCK_FILE = "writer.lock"
_LINK_SUFFIX = ".held"  # ends the name of the lock on file systems without locks
_HOLDER_SECONDS = 0.4  # to wait for the holder's name: a second writer is refused within a second
_HOLDER_BYTES = 300
_WINDOWS = os.name == "nt"
_NAME_OFFSET = 1 if _WINDOWS else 0  # Windows locks byte 0 against readers
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}


@contextmanager
def hold_lock(folder: Path) -> Iterator[None]:
    """Hold the writer lock of a folder. The system frees it when the process ends, in any way.

    Raises:
        Locked: another process holds it; the message names process and host.
        RagVqaError: the folder cannot be written to.
    """
    from filelock import FileLock, Timeout  # 0.1 s, which readers need not wait for

    path = folder / LOCK_FILE
    _check_lock_file(path)
    descriptors: list[int] = []

    def write_holder(descriptor: int) -> None:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _not_a_file_error(path)
        with translate_os_errors(path):
            _write_name(descriptor, _describe_self())
        descriptors.append(descriptor)

    lock = FileLock(
        path,
        blocking=False,
        thread_local=False,
        fallback_to_soft=False,
        preserve_lock_file=True,
        on_acquired=write_holder,
    )
    try:
        lock.acquire()
    except Timeout as error:
        raise _busy_error(path, _read_holder(path)) from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise _access_error(path, error) from error
    if not lock.is_locked:
        with _hold_link(path):
            yield
        return
    try:
        yield
    finally:
        _write_name(descriptors[0], "")
        lock.release()


def _check_lock_file(path: Path) -> None:
    """Refuse a link, a pipe or a device; and a folder that does not exist, or filelock makes it."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise _not_a_file_error(path)
    except FileNotFoundError:
        try:
            path.parent.stat()
        except OSError as error:
            raise _access_error(path, error) from error
    except OSError as error:
        raise _access_error(path, error) from error


def _write_name(descriptor: int, name: str) -> None:
    """Write who holds the lock into its file; nothing while nobody does."""
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, _NAME_OFFSET, os.SEEK_SET)
    os.write(descriptor, name.encode())


def _read_holder(path: Path) -> str:
    """Who holds the lock: waits until the name is written, and skips one left by a dead process."""
    end = time.monotonic() + _HOLDER_SECONDS
    while not (name := _read_name(path)) or _is_dead(name):
        if time.monotonic() > end:
            return "an unknown process"
        time.sleep(0.02)
    return name


def _read_name(path: Path) -> str:
    try:
        with path.open("rb", buffering=0) as file:
            file.seek(_NAME_OFFSET)
            return file.read(_HOLDER_BYTES).decode(errors="replace")
    except OSError:
        return ""


@contextmanager
def _hold_link(path: Path) -> Iterator[None]:
    """Hold the lock by a hard link, whose name only one process can create.

    Takes over the link of a dead process, if that ran on this host: of others nothing is known.
    """
    held, mine = path.with_name(path.name + _LINK_SUFFIX), _unique_path(path)
    try:
        with translate_os_errors(mine), mine.open("x", encoding="utf-8") as file:
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


def _clear_dead_link(link: Path, holder: str) -> None:
    """Remove a dead process's link; put it back if it belongs to another process by now."""
    aside = _unique_path(link)
    try:
        link.rename(aside)
    except FileNotFoundError:
        return  # another process was faster
    if _read_link(aside) != holder:
        link.hardlink_to(aside)
    aside.unlink()


def _unique_path(path: Path) -> Path:
    """A name beside `path` that no other process uses, also on another host with equal pids."""
    return path.with_name(f"{path.name}.{uuid.uuid4().hex}")


def _read_link(link: Path) -> str:
    try:
        return link.read_text("utf-8", "replace")
    except FileNotFoundError:
        return "a process that has just ended"


def _describe_self() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def _is_dead(holder: str) -> bool:
    """Whether that process ran on this host and has ended."""
    words = holder.split()
    if _WINDOWS:  # where os.kill would end it, or everything in its console
        return False
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


def _access_error(path: Path, error: OSError) -> RagVqaError:
    return RagVqaError(
        f"{path.parent} cannot be written to: {error.strerror}. Give it rights, or copy it: "
        f"cp -r {path.parent} ELSEWHERE"
    )


def _not_a_file_error(path: Path) -> RagVqaError:
    return RagVqaError(f"{path} is no plain file, as a lock must be. Remove it: rm {path}")
