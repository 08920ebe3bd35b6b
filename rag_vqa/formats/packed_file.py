"""Packed files: gzip, bzip2, xz and zips of one file, read as a stream of bytes within limits.

Knows how a packed file begins and how far it may unpack. Does not know what is packed. The first
bytes decide, not the name. Memory is that of one buffer.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, Final

from rag_vqa.errors import BadInput, Missing
from rag_vqa.formatting import quote_value

# Text packs to a tenth, repetitive JSON to a fiftieth; a bomb of zeros to a thousandth.
BOMB_RATIO: Final = 200
BOMB_FLOOR: Final = 64 * 2**20
_BUFFER: Final = 2**18
_SUFFIXES: Final = (".gz", ".bz2", ".xz", ".zip")
_LINE_SUFFIXES: Final = (".csv", ".tsv", ".tab", ".jsonl", ".ndjson")
_DATA_SUFFIXES: Final = (*_LINE_SUFFIXES, ".json")
_DAMAGE: Final = (
    EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, OSError, NotImplementedError,
    RuntimeError, ValueError,
)  # fmt: skip
_OPENERS: Final[tuple[tuple[bytes, str, Callable[..., Any]], ...]] = (
    (b"\x1f\x8b", "gzip", gzip.open),
    (b"BZh", "bzip2", bz2.open),
    (b"\xfd7zXZ\0", "xz", lzma.open),
)
_ZIP: Final = b"PK\x03\x04"
_ZSTANDARD: Final = b"\x28\xb5\x2f\xfd"


class DamagedStream(BadInput):
    """A packed file is damaged or cut at this place. What came before it is sound."""


def unpacked_suffix(path: Path) -> str:
    """The suffix of a file's name in lower case, without ".gz", ".bz2", ".xz" or ".zip".

    The suffix of a zip that contains one table or one file of lines is that of this file.

    >>> unpacked_suffix(Path("docs.JSONL.gz"))
    '.jsonl'
    """
    name = path.name.lower()
    packing = next((suffix for suffix in _SUFFIXES if name.endswith(suffix)), "")
    inside = Path(name.removesuffix(packing)).suffix
    if packing == ".zip" and inside not in _LINE_SUFFIXES:
        inside = Path(_single_member(path).lower()).suffix
        return inside if inside in _LINE_SUFFIXES else packing
    return inside or packing


def require_file(path: Path) -> None:
    """
    Raises:
        Missing: no such file.
        BadInput: not a regular file; a pipe would block when it is opened.
    """
    if not path.exists():
        raise Missing(f"{path} does not exist: check the path.")
    if not path.is_file():
        raise BadInput(f"{path} is not a regular file.")


@contextmanager
def open_unpacked(path: Path) -> Iterator[io.BufferedReader[Any]]:
    """The bytes of a file, unpacked if it is packed. Reading may raise DamagedStream.

    Raises:
        Missing: no such file.
        BadInput: not a regular file, a zip of several files, or (while reading) a bomb.
    """
    require_file(path)
    with ExitStack() as stack:
        raw = stack.enter_context(io.BufferedReader(path.open("rb", buffering=0), _BUFFER))
        head = raw.read(8)
        raw.seek(0)
        if head.startswith(_ZSTANDARD):
            raise BadInput(f"{path} is packed with zstd: unpack it first, with unzstd.")
        if head.startswith(_ZIP):
            yield _limit_bytes(_open_member(path, raw, stack), path, "ZIP")
            return
        for magic, what, opener in _OPENERS:
            if head.startswith(magic):
                yield _limit_bytes(opener(raw), path, what)
                return
        yield raw


def read_head(path: Path, size: int) -> bytes:
    """The first bytes of a file, unpacked; fewer if it is shorter or damaged there.

    Raises:
        BadInput, Missing: as `open_unpacked`.
    """
    found = bytearray()
    with open_unpacked(path) as stream:
        try:
            while len(found) < size and (part := stream.read1(size - len(found))):
                found += part
        except DamagedStream:
            pass
    return bytes(found)


class _BoundedReader(io.RawIOBase):
    """Unpacked bytes, as far as they are no bomb."""

    def __init__(self, stream: Any, path: Path, what: str) -> None:
        self._stream, self._path, self._what = stream, path, what
        self._left = max(BOMB_FLOOR, BOMB_RATIO * path.stat().st_size)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:  # read1: what comes before damage is given out
            data: bytes = self._stream.read1(len(buffer))
        except _DAMAGE as error:
            why = quote_value(str(error)) if str(error) else type(error).__name__
            raise DamagedStream(
                f"the {self._what} stream is damaged or cut here ({why})."
            ) from error
        self._left -= len(data)
        if self._left < 0:
            raise BadInput(
                f"{self._path} unpacks to over {BOMB_RATIO} times its size, as a {self._what} bomb "
                "does: unpack it yourself if you trust it."
            )
        buffer[: len(data)] = data
        return len(data)


def _limit_bytes(stream: Any, path: Path, what: str) -> io.BufferedReader[Any]:
    return io.BufferedReader(_BoundedReader(stream, path, what), _BUFFER)


def _open_member(path: Path, raw: IO[bytes], stack: ExitStack) -> IO[bytes]:
    """The only file in a zip, or the only one that has a suffix of data.

    Raises:
        BadInput: it is damaged, encrypted, or contains several files.
    """
    try:
        archive = stack.enter_context(zipfile.ZipFile(raw))
        members = _data_members(archive)
        if len(members) != 1:
            raise BadInput(f"{path} contains {len(members)} files of data, not one: unpack it.")
        return stack.enter_context(archive.open(members[0]))
    except _DAMAGE as error:
        raise BadInput(f"{path} is not a readable ZIP: {quote_value(str(error))}") from error


def _data_members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Files of a zip that have a suffix of data; of a zip of one file, that one."""
    members = [
        member
        for member in archive.infolist()
        if not member.is_dir()
        and not member.filename.startswith("__MACOSX/")
        and not Path(member.filename).name.startswith(".")
    ]
    data = [member for member in members if member.filename.lower().endswith(_DATA_SUFFIXES)]
    return data or members


def _single_member(path: Path) -> str:
    """The name of the only file of data in a zip; "" if there are several, or it is no zip."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = _data_members(archive)
    except _DAMAGE:
        return ""
    return members[0].filename if len(members) == 1 else ""
