"""Whole-file writes: a file is on the disk completely, or not at all.

Every write, sync, rename and removal of this project goes through here, except those that SQLite
makes of its own file. One place, so that tests can fail the n-th system call, or replay the calls
up to a power loss. Knows system calls and what their failures mean to a user. Does not know what
the bytes mean.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rag_vqa.errors import RagVqaError

PARTIAL_SUFFIX = ".new"  # ends the name of a file that is not whole yet
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
OLD_SUFFIX = ".old"  # ends the name of the folder that is being replaced


def write_at(path: Path, offset: int, data: bytes | memoryview) -> None:
    """Bring bytes to the disk at `offset`. All else in the file stays; it is made if need be.

    A link is not followed: whoever made the folder could lead it to any file of the user's.
    """
    view = memoryview(data)
    with translate_os_errors(path):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            while view:
                written = os.pwrite(file, view, offset)
                view, offset = view[written:], offset + written
            os.fsync(file)
        finally:
            os.close(file)


def write_file(path: Path, data: bytes) -> None:
    """Write a file that is there whole or not at all; safe once its folder is synced."""
    new = path.with_name(path.name + PARTIAL_SUFFIX)
    remove_file(new)  # what a killed process left may be longer
    write_at(new, 0, data)
    with translate_os_errors(path):
        os.replace(new, path)  # noqa: PTH105  os alone, see above


def replace_file(new: Path, path: Path) -> None:
    """Give a finished file its name, for good."""
    with translate_os_errors(path):
        os.replace(new, path)  # noqa: PTH105
    sync_folder(path.parent)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it; one that is there is no error."""
    with translate_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)


def sync_file(path: Path) -> None:
    """Bring to the disk what stands in a file, whoever wrote it, or the names in a folder."""
    with translate_os_errors(path):
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(file)
        finally:
            os.close(file)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    sync_file(folder)


def remove_file(path: Path) -> None:
    """Remove a file; none there is no error."""
    with translate_os_errors(path):
        try:
            os.unlink(path)  # noqa: PTH108
        except FileNotFoundError:
            return


@contextmanager
def translate_os_errors(path: Path) -> Iterator[None]:
    """The system's errors as ours."""
    try:
        yield
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise RagVqaError(
                f"The disk is full: {path} cannot be written. What was committed is safe: make "
                "room, then run the same command again."
            ) from error
        raise RagVqaError(
            f"{path} cannot be written: {error.strerror or error}. What was committed is safe: "
            "check the disk and the rights, then run the same command again."
        ) from error


def recover_folder(folder: Path) -> None:
    """Bring back the former folder, if a kill came between its going and the new one's coming."""
    old = folder.with_name(folder.name + OLD_SUFFIX)
    if old.exists():
        if folder.exists():
            shutil.rmtree(old)
        else:
            old.rename(folder)


def replace_folder(new: Path, folder: Path) -> None:
    """Give a finished folder its name; the former one of that name goes when it has it."""
    allowed = (new / "config.json").stat().st_mode
    for file in sorted(new.iterdir()):
        file.chmod(allowed & 0o777)  # safetensors writes for its owner alone
        sync_file(file)
    recover_folder(folder)
    if folder.exists():
        folder.rename(folder.with_name(folder.name + OLD_SUFFIX))
    replace_file(new, folder)
    shutil.rmtree(folder.with_name(folder.name + OLD_SUFFIX), ignore_errors=True)
