"""Packed folders: a zip or tar of a folder is unpacked into a temporary one, within limits.

Knows how many files and bytes are unpacked, and that no name leads out. Does not know what the
files are: the folder is then a source as any other.
"""

from __future__ import annotations

import shlex
import shutil
import tarfile
import tempfile
import unicodedata
import weakref
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Final

from rag_vqa.errors import BadInput, UsageError
from rag_vqa.formats import webdataset
from rag_vqa.formats.archive import MAX_MEMBER_BYTES, MAX_MEMBERS, MAX_UNPACKED_BYTES, Archive
from rag_vqa.formats.folder_walk import PICTURES, is_junk, split_name
from rag_vqa.formats.packed_file import DamagedStream, unpacked_suffix

_DATA: Final = frozenset((".json", ".csv", ".tsv", ".tab", ".jsonl", ".ndjson"))
_BLOCK: Final = 2**20
_LONGEST_NAME: Final = 200  # bytes of one part of a path


def is_packed_folder(path: Path) -> bool:
    """Whether a file is a zip or tar of a folder; a zip of one table is that table."""
    suffix = path.suffix.lower()
    if suffix == ".zip":
        try:
            with zipfile.ZipFile(path) as archive:  # its limits count once it is unpacked
                members = [one for one in archive.infolist() if not one.is_dir()]
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
            return False
        names = [one.filename for one in members if not is_junk(one.filename)]
        tables = sum(split_name(name)[1] in _DATA for name in names)
        return bool(names) and (len(names) > 1 or not tables) and not _is_one_table(names, tables)
    if unpacked_suffix(path) in webdataset.SUFFIXES:
        return not webdataset.holds_samples(path)
    return False


def _is_one_table(names: list[str], tables: int) -> bool:
    """One table with a description beside it."""
    return tables == 1 and not any(split_name(name)[1] in PICTURES for name in names)


class UnpackedFolder:
    """A temporary folder with the files of a zip or tar; it vanishes with the object.

    Raises:
        UsageError: it is too large to be unpacked here; the message has the command.
        BadInput: it is damaged or dangerous.
    """

    def __init__(self, path: Path) -> None:
        folder = tempfile.mkdtemp(prefix="rag-vqa-")
        self._finalizer = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        try:
            is_zip = path.suffix.lower() == ".zip"
            with _zip_members(path) if is_zip else _tar_members(path) as members:
                _write_files(path, Path(folder), members)
        except BaseException as error:
            self._finalizer()
            if isinstance(error, BadInput):
                raise BadInput(f"{path}: {error}") from error
            raise
        self.root = _only_folder(Path(folder))


def _only_folder(folder: Path) -> Path:
    """The folder itself, or the only one in it, as people pack a folder with its name."""
    entries = [entry for entry in folder.iterdir() if not is_junk(entry.name)]
    return entries[0] if len(entries) == 1 and entries[0].is_dir() else folder


@contextmanager
def _zip_members(path: Path) -> Iterator[Iterator[tuple[str, int, IO[bytes]]]]:
    with Archive(path) as archive:
        yield (
            (_repair_name(name), archive.size(name), archive.open(name)) for name in archive.names()
        )


@contextmanager
def _tar_members(path: Path) -> Iterator[Iterator[tuple[str, int, IO[bytes]]]]:
    with webdataset.open_tar(path) as archive:

        def members() -> Iterator[tuple[str, int, IO[bytes]]]:
            for member in archive:
                archive.members = []  # type: ignore[attr-defined]  # tarfile keeps all that it has read
                opened = archive.extractfile(member) if member.isreg() else None
                if opened is not None:
                    yield member.name, member.size, opened

        yield members()


def _write_files(path: Path, folder: Path, members: Iterator[tuple[str, int, IO[bytes]]]) -> None:
    count = total = 0
    try:
        for name, size, opened in members:
            place = _safe_place(name)
            if place is None:
                continue
            count, total = count + 1, total + size
            if count > MAX_MEMBERS or total > MAX_UNPACKED_BYTES or size > MAX_MEMBER_BYTES:
                raise _too_large(path)
            if size + _BLOCK > shutil.disk_usage(folder).free:
                raise _too_large(path)
            target = folder / place
            target.parent.mkdir(parents=True, exist_ok=True)
            with opened, target.open("wb") as file:
                shutil.copyfileobj(opened, file, _BLOCK)
    except (DamagedStream, tarfile.TarError, EOFError, OSError, ValueError, RuntimeError) as error:
        raise BadInput(f"it cannot be unpacked ({error}): copy it again.") from error


def _too_large(path: Path) -> UsageError:
    name, folder = shlex.quote(str(path)), shlex.quote(path.name.partition(".")[0] or "unpacked")
    command = (
        f"unzip {name} -d {folder}"
        if path.suffix.lower() == ".zip"
        else (f"mkdir {folder} && tar xf {name} -C {folder}")
    )
    return UsageError(
        f"{path} is too large to be unpacked in passing. Unpack it, and build the folder: {command}"
    )


def _safe_place(name: str) -> str | None:
    """A member's path within the folder; None of junk and of what leads out."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    parts = tuple(part for part in parts if part not in ("/", "."))
    if not parts or ".." in parts or is_junk(name) or "\0" in name:
        return None
    if any(len(part.encode(errors="surrogateescape")) > _LONGEST_NAME for part in parts):
        return None
    return "/".join(parts)


def _repair_name(name: str) -> str:
    """A name that macOS wrote as UTF-8 without saying so.

    >>> _repair_name("Caf├⌐.jpg"), _repair_name("Café.jpg")
    ('Café.jpg', 'Café.jpg')
    """
    if name.isascii():
        return name
    try:
        return unicodedata.normalize("NFC", name.encode("cp437").decode())
    except UnicodeError:
        return name
