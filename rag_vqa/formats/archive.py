"""Archives: the members of a zip file, read within limits (Word, PowerPoint, Excel, EPUB).

Knows how large a zip may become, and how its XML is parsed. Does not know what its members mean.
A zip of 40 kB can unpack to gigabytes, and XML can name other files or repeat itself without end:
both are refused by name before they cost memory.
"""

from __future__ import annotations

import stat
import zipfile
import zlib
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

from rag_vqa.errors import BadInput
from rag_vqa.formatting import quote_value

MAX_ARCHIVE_BYTES: Final = 2 * 2**30  # of the file itself
MAX_MEMBERS: Final = 100_000
MAX_UNPACKED_BYTES: Final = 4 * 2**30  # of all members
MAX_MEMBER_BYTES: Final = 256 * 2**20
MAX_XML_BYTES: Final = 64 * 2**20  # a novel in Word takes about 5 MB
# Deflate reaches 1,032; sparse XML and drawings of one colour reach a few hundred.
MAX_RATIO: Final = 200
_RATIO_FROM_BYTES: Final = 32 * 2**20  # smaller members are harmless whatever their ratio
_DAMAGE = (
    zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, EOFError, OSError, ValueError,
    LookupError, NotImplementedError, RuntimeError, OverflowError,
)  # fmt: skip


class Archive:
    """A zip file whose limits are checked when it is opened. `with` closes it.

    Raises:
        BadInput: not a zip, damaged, encrypted, or over a limit.
    """

    def __init__(self, path: Path) -> None:
        if path.stat().st_size > MAX_ARCHIVE_BYTES:
            raise BadInput(f"the file is over {_size(MAX_ARCHIVE_BYTES)}: divide it.")
        try:
            self._zip = zipfile.ZipFile(path)
        except _DAMAGE as error:
            raise BadInput(
                f"the file is damaged or cut short: it cannot be unpacked ({error}). Copy it again."
            ) from error
        try:
            self._members = _check_members(self._zip.infolist())
        except BadInput:
            self._zip.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._zip.close()

    def names(self) -> tuple[str, ...]:
        """Names of the members in the order of the file; folders are none."""
        return tuple(member.filename for member in self._members.values())

    def __contains__(self, name: str) -> bool:
        return _key(name) in self._members

    def size(self, name: str) -> int:
        """Bytes that a member unpacks to; 0 if there is none."""
        member = self._members.get(_key(name))
        return 0 if member is None else member.file_size

    def read(self, name: str, limit: int = MAX_MEMBER_BYTES) -> bytes:
        """The bytes of a member. Capitals and `\\` for `/` make no difference.

        Raises:
            BadInput: there is none, it is larger than `limit`, or it is damaged.
        """
        member = self._find(name)
        if member.file_size > limit:
            raise BadInput(f"its part {quote_value(name)} is over {_size(limit)}.")
        try:
            return self._zip.read(member)
        except _DAMAGE as error:
            raise _damaged_part(name, error) from error

    def open(self, name: str) -> IO[bytes]:
        """A member as a stream, for what is read piece by piece.

        Raises:
            BadInput: there is none, or its beginning is damaged. Reading on may raise what zipfile
                raises.
        """
        try:
            return self._zip.open(self._find(name))
        except _DAMAGE as error:
            raise _damaged_part(name, error) from error

    def _find(self, name: str) -> zipfile.ZipInfo:
        member = self._members.get(_key(name))
        if member is None:
            raise BadInput(f"its part {quote_value(name)} is missing.")
        if member.flag_bits & 1:
            raise BadInput("it is encrypted: save it without a password.")
        return member


def parse_xml(data: bytes, name: str) -> Any:
    """The root element of an XML file, as lxml gives it. Needs the extra.

    Nothing outside is read: no DTD, no entity, no address. Small faults of writing are mended.

    Raises:
        BadInput: no XML, too large, nested too deeply, or with a DTD, which could name other files.
    """
    from lxml import etree

    if len(data) > MAX_XML_BYTES:
        raise BadInput(f"its part {quote_value(name)} is over {_size(MAX_XML_BYTES)}.")
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, recover=True,
        remove_comments=True, remove_pis=True,
    )  # fmt: skip
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise BadInput(f"its part {quote_value(name)} is not XML ({error}).") from error
    if root is None:
        raise BadInput(f"its part {quote_value(name)} is not XML.")
    if root.getroottree().docinfo.internalDTD is not None:
        raise BadInput(f"its part {quote_value(name)} declares a DTD: that is refused.")
    return root


def _check_members(members: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    """The files by name.

    Raises:
        BadInput: a limit is exceeded.
    """
    if len(members) > MAX_MEMBERS:
        raise BadInput(f"it has {len(members):,} parts, over {MAX_MEMBERS:,}: unpack it yourself.")
    for member in members:
        ratio = member.file_size / max(1, member.compress_size)
        if member.file_size > _RATIO_FROM_BYTES and ratio > MAX_RATIO:
            raise BadInput(
                f"its part {quote_value(member.filename)} unpacks to {ratio:,.0f} times its size: "
                "that is a zip bomb."
            )
    total = sum(member.file_size for member in members)
    if total > MAX_UNPACKED_BYTES:
        raise BadInput(f"it unpacks to {_size(total)}, over {_size(MAX_UNPACKED_BYTES)}.")
    files: dict[str, zipfile.ZipInfo] = {}
    for member in members:
        is_link = stat.S_ISLNK(member.external_attr >> 16)
        if member.filename and not member.filename.endswith("/") and not is_link:
            files.setdefault(_key(member.filename), member)
    return files


def _key(name: str) -> str:
    return name.replace("\\", "/").lstrip("/").casefold()


def _damaged_part(name: str, error: Exception) -> BadInput:
    return BadInput(f"its part {quote_value(name)} is damaged ({error}).")


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GB" if count >= 2**30 else f"{count // 2**20} MB"
