"""The encoding of a file of text: found out by reading it through once, or given by the user.

Knows that a file with a few bad bytes among many good characters is damaged UTF-8, and how a byte
that is no text is marked. Does not know how bytes betray an encoding (encodings.py),
nor lines (line_reader.py).

All of the file is looked at, because the first character beyond ASCII may be in the last line.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from encodings.aliases import aliases
from functools import lru_cache
from io import BufferedReader
from pathlib import Path
from typing import Final

from rag_vqa.errors import BadInput, UsageError
from rag_vqa.formats.encodings import UTF_8, find_encoding, find_likelier, name_encoding
from rag_vqa.formats.packed_file import DamagedStream, open_unpacked
from rag_vqa.formatting import did_you_mean

MARK_ERRORS: Final = "rag-vqa-mark"  # errors= of decoders: a byte that is no text becomes a mark
BAD_BYTE: Final = re.compile(r"[\udc00-\udcff]")
_BLOCK: Final = 2**20
_HEAD: Final = 2**16
_SAMPLE: Final = 2**17  # bytes of lines beyond ASCII that the guess is made from
_SURE: Final = 5_000  # bad bytes after which the rest of a file is not looked at
_CONTROLS: Final = bytes((*range(1, 9), *range(14, 27), *range(28, 32)))
_ALIASES: Final = {"ansi": "cp1252", "windows": "cp1252", "unicode": "utf-16", "mac": "mac_roman"}


def _mark_bad_byte(error: UnicodeError) -> tuple[str, int]:
    """A lone surrogate for the first byte that cannot be decoded; documents refuse surrogates."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return chr(0xDC00 + error.object[error.start]), max(error.end, error.start + 1)


codecs.register_error(MARK_ERRORS, _mark_bad_byte)


@dataclass(frozen=True, slots=True)
class FileEncoding:
    """The encoding of one file.

    Attributes:
        codec: Python's name.
        has_bad_bytes: some bytes may be no text in it: lines have to be looked at.
        is_given: the user named it.
    """

    codec: str
    has_bad_bytes: bool = False
    is_given: bool = False

    @property
    def name(self) -> str:
        """As people write it: "Windows-1252"."""
        return name_encoding(self.codec)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What the user should know: the encoding, unless it is UTF-8."""
        if self.name == "UTF-8":
            return ()
        if self.is_given or self.codec.startswith("utf"):
            return (f"the file is read as {self.name}",)
        hint = "if letters look wrong, give its encoding: --encoding NAME"
        return (f"the file is not UTF-8 and is read as {self.name}: {hint}",)


def find_file_encoding(path: Path, given: str | None = None) -> FileEncoding:
    """The encoding of a file.

    Args:
        given: what the user says it is.

    Raises:
        UsageError: no encoding is called so.
        BadInput: binary data, or an encoding that has to be given.
        Missing: no such file.
    """
    if given is not None:
        return FileEncoding(find_codec(given), has_bad_bytes=True, is_given=True)
    try:
        found = path.stat()
    except (OSError, ValueError):
        return FileEncoding(UTF_8, has_bad_bytes=True)  # opening it says what is wrong
    return _scan(path, found.st_size, found.st_mtime_ns)


def find_codec(name: str) -> str:
    """Python's name of an encoding.

    Raises:
        UsageError: there is none of that name.

    >>> find_codec("Windows-1252"), find_codec("Latin-1"), find_codec("Shift_JIS")
    ('cp1252', 'iso8859-1', 'shift_jis')
    """
    plain = name.strip().lower()
    try:
        codec = codecs.lookup(_ALIASES.get(plain, plain)).name
        "".encode(codec)  # "base64" and "rot13" are no encodings of text
    except (LookupError, ValueError, TypeError) as error:
        known = sorted({alias.replace("_", "-") for alias in (*aliases, *aliases.values())})
        raise UsageError(
            f"--encoding {name}: there is no such encoding.{did_you_mean(plain, known)} "
            "For instance: utf-8, utf-16, cp1252 (Western Europe), cp1250 (Central Europe), "
            "cp1251 (Cyrillic), shift_jis, gb18030, big5, euc_kr, mac_roman."
        ) from error
    return codec


@lru_cache(maxsize=16)
def _scan(path: Path, size: int, modified: int) -> FileEncoding:
    """Size and time are part of the key alone."""
    with open_unpacked(path) as stream:
        try:
            head = stream.peek(_HEAD)[:_HEAD]
        except DamagedStream:  # reading says so again
            return FileEncoding(UTF_8, has_bad_bytes=True)
        wide = _wide_codec(head) if b"\0" in head else None
        codec = wide or find_encoding(head, is_whole=False)
        if codec not in (UTF_8, "utf-8-sig", "cp1252", "iso8859-1"):
            return FileEncoding(codec, has_bad_bytes=True)
        good, bad, sample = _count_characters(stream)
    if not bad:
        return FileEncoding(UTF_8)
    if codec == "utf-8-sig" or good > bad:
        return FileEncoding(UTF_8, has_bad_bytes=True)
    return FileEncoding(_eight_bit_codec(path, sample), has_bad_bytes=True)


def _count_characters(stream: BufferedReader) -> tuple[int, int, bytes]:
    """Read as UTF-8: characters beyond ASCII, bytes that are none, and lines with such bytes."""
    decoder = codecs.getincrementaldecoder(UTF_8)(MARK_ERRORS)
    good = bad = 0
    sample = bytearray()
    try:
        while (block := stream.read1(_BLOCK)) and (bad < _SURE or good > bad):
            if block.isascii() and not decoder.getstate()[0]:
                continue
            text = decoder.decode(block)
            marks = len(BAD_BYTE.findall(text))
            good += len(text) - len(text.encode("ascii", "ignore")) - marks
            bad += marks
            if marks and len(sample) < _SAMPLE:
                lines = block.splitlines(keepends=True)
                sample += b"".join(line for line in lines if _is_not_utf_8(line))
    except DamagedStream:
        return good, bad, bytes(sample)
    rest = decoder.getstate()[0]
    return good, bad + len(rest), bytes(sample[:_SAMPLE]) + rest


def _is_not_utf_8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return True
    return False


def _eight_bit_codec(path: Path, sample: bytes) -> str:
    """
    Raises:
        BadInput: binary data, or an encoding that has to be given.
    """
    if len(sample.translate(None, _CONTROLS + b"\0")) < 0.98 * len(sample):
        raise BadInput(f"{path} is not text: it contains binary data.")
    likelier = find_likelier(sample)
    if likelier is None:
        return find_encoding(sample)
    perhaps = f", perhaps {name_encoding(likelier)}" if likelier else ""
    raise BadInput(
        f"{path} is neither UTF-8 nor Windows-1252{perhaps}: say which encoding it has, for "
        f"instance --encoding {likelier or 'mac_roman'}"
    )


def _wide_codec(sample: bytes) -> str | None:
    """UTF-16 or UTF-32 in any script: line breaks betray it, or quotes."""
    for codec in ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be"):
        text = sample.decode(codec, "replace")
        marks = text.count("\n") + text.count('"') // 2
        if marks and text.count("\ufffd") + text.count("\0") <= len(text) / 50:
            return codec
    return None
