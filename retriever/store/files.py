"""Every write, sync, rename and removal beside those that SQLite makes of its own file.

It knows the calls and what their failures mean to a user. It does not know what the bytes mean.
One place, so that tests can let the n-th call fail, or replay the calls up to a power loss.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rag_vqa.errors import RagVqaError

NEW = ".new"  # ends the name of a file that is not whole yet
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_at(path: Path, offset: int, data: bytes | memoryview) -> None:
    """Bring bytes to the disk at `offset`. All else in the file stays; it is made if need be.

    A link is not followed: whoever made the folder could lead it to any file of the user's.
    """
    view = memoryview(data)
    with explained(path):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            while view:
                written = os.pwrite(file, view, offset)
                view, offset = view[written:], offset + written
            os.fsync(file)
        finally:
            os.close(file)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that is there whole or not at all; safe once its folder is synced."""
    new = path.with_name(path.name + NEW)
    remove(new)  # what a killed process left may be longer
    write_at(new, 0, data)
    with explained(path):
        os.replace(new, path)  # noqa: PTH105  os alone, see above


def replace(new: Path, path: Path) -> None:
    """Give a finished file its name, for good."""
    with explained(path):
        os.replace(new, path)  # noqa: PTH105
    sync_folder(path.parent)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it; one that is there is no error."""
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)


def sync(path: Path) -> None:
    """Bring to the disk what stands in a file, whoever wrote it, or the names in a folder."""
    with explained(path):
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(file)
        finally:
            os.close(file)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    sync(folder)


def remove(path: Path) -> None:
    """Remove a file; none there is no error."""
    with explained(path):
        try:
            os.unlink(path)  # noqa: PTH108
        except FileNotFoundError:
            return


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """The system's errors as ours."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise RagVqaError(
                f"The disk is full: {path} cannot be written. What was committed is safe: make "
                "room, then run the same command again."
            ) from error
        raise RagVqaError(
            f"{path} cannot be written: {error.strerror or error}. What was committed is safe: "
            "check the disk and the rights, then run the same command again."
        ) from error
