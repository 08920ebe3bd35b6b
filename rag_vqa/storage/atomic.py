"""Whole-file writes: a file is on the disk completely, or not at all, also after a power loss.

Every write, sync, rename and removal of this project goes through here, except those that SQLite
makes of its own file. One place, so that tests can fail the n-th system call, or replay the calls
up to a power loss. Knows system calls and what their failures mean to a user. Does not know what
the bytes mean.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rag_vqa.errors import RagVqaError

PARTIAL_SUFFIX = ".new"  # ends the name of a file that is not complete yet
OLD_SUFFIX = ".old"  # ends the name of a folder that is being replaced
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_WINDOWS = os.name == "nt"
# Flags that exist on some systems only.
_CLOSE_ON_EXEC = getattr(os, "O_CLOEXEC", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_BINARY = getattr(os, "O_BINARY", 0)


def write_at(path: Path, offset: int, data: bytes | memoryview) -> None:
    """Write bytes at `offset` and sync them; create the file if needed, keep its other bytes.

    Does not follow a link: whoever made the folder could point it at any file of the user's.
    """
    view = memoryview(data)
    flags = os.O_WRONLY | os.O_CREAT | _CLOSE_ON_EXEC | _NO_LINK | _BINARY
    with translate_os_errors(path):
        file = os.open(path, flags, 0o666)
        try:
            while view:
                written = _write_some(file, view, offset)
                view, offset = view[written:], offset + written
            os.fsync(file)
        finally:
            os.close(file)


def write_file(
    path: Path, data: bytes | str, *, partial: Path | None = None, sync_name: bool = True
) -> None:
    """Write a file completely or not at all; a string is written as UTF-8.

    Args:
        partial: where the bytes lie until the file is complete; default: PATH.new.
        sync_name: False if the caller syncs the folder itself, once for many files.
    """
    new = _partial_path(path, partial)
    remove_file(new)  # what a killed process left may be longer
    write_at(new, 0, data.encode() if isinstance(data, str) else data)
    replace_file(new, path, sync_name=sync_name)


def write_lines(
    path: Path, lines: Iterable[str], *, partial: Path | None = None, errors: str = "strict"
) -> int:
    """Write lines to a UTF-8 file, completely or not at all; returns how many.

    Args:
        lines: each without its line end.
        errors: what happens to text that UTF-8 cannot encode; see `open`.
    """
    count = 0
    with (
        partial_file(path, partial) as new,
        new.open("w", encoding="utf-8", errors=errors, newline="\n") as file,
    ):
        for line in lines:
            file.write(f"{line}\n")
            count += 1
    return count


@contextmanager
def partial_file(path: Path, partial: Path | None = None) -> Iterator[Path]:
    """A path to write to; the file there takes the name `path` when the block succeeds.

    If the block raises, the partial file is removed, and an older file at `path` stays.
    """
    new = _partial_path(path, partial)
    remove_file(new)
    try:
        yield new
        sync_file(new, name_in_error=path)
        replace_file(new, path)
    except BaseException:
        with suppress(RagVqaError):
            remove_file(new)
        raise


def replace_file(new: Path, path: Path, *, sync_name: bool = True) -> None:
    """Give a complete file its name, in place of an older one."""
    with translate_os_errors(path):
        os.replace(new, path)  # noqa: PTH105  os alone, see above
    if sync_name:
        sync_folder(path.parent)


def replace_folder(new: Path, folder: Path) -> None:
    """Give a complete folder of files its name, then remove the folder that had it before.

    `new` must hold a config.json, whose permissions all files get. See `recover_folder`.
    """
    allowed = (new / "config.json").stat().st_mode
    for file in sorted(new.iterdir()):
        file.chmod(allowed & 0o777)  # safetensors writes files that only their owner can read
        sync_file(file)
    recover_folder(folder)
    old = folder.with_name(folder.name + OLD_SUFFIX)
    if folder.exists():
        folder.rename(old)
    replace_file(new, folder)
    shutil.rmtree(old, ignore_errors=True)


def recover_folder(folder: Path) -> None:
    """Undo a `replace_folder` that was killed after the old folder went and before the new came."""
    old = folder.with_name(folder.name + OLD_SUFFIX)
    if old.exists():
        if folder.exists():
            shutil.rmtree(old)
        else:
            old.rename(folder)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, if they do not exist."""
    with translate_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)


def sync_file(path: Path, name_in_error: Path | None = None) -> None:
    """Sync the content of a file to the disk, also if another process wrote it.

    Args:
        name_in_error: the file that an error names; default: `path`.
    """
    # Windows syncs only what is open for writing.
    _sync(path, os.O_RDWR if _WINDOWS else os.O_RDONLY, name_in_error or path)


def sync_folder(folder: Path) -> None:
    """Sync the names in a folder to the disk. Windows has no such call and needs none."""
    if not _WINDOWS:
        _sync(folder, os.O_RDONLY, folder)


def remove_file(path: Path) -> None:
    """Remove a file, if it exists."""
    with translate_os_errors(path):
        try:
            os.unlink(path)  # noqa: PTH108
        except FileNotFoundError:
            return


@contextmanager
def translate_os_errors(path: Path) -> Iterator[None]:
    """Turn an OSError of the block into a RagVqaError that says what to do about `path`."""
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


def _partial_path(path: Path, partial: Path | None) -> Path:
    return path.with_name(path.name + PARTIAL_SUFFIX) if partial is None else partial


def _sync(path: Path, mode: int, name_in_error: Path) -> None:
    with translate_os_errors(name_in_error):
        file = os.open(path, mode | _CLOSE_ON_EXEC | _BINARY)
        try:
            os.fsync(file)
        finally:
            os.close(file)


def _write_some(file: int, view: memoryview, offset: int) -> int:
    """Write at an offset; returns how many bytes the system took."""
    if _WINDOWS:  # which has no pwrite
        os.lseek(file, offset, os.SEEK_SET)
        return os.write(file, view)
    return os.pwrite(file, view, offset)
