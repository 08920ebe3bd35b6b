"""Lines of a text file, plain or packed, in any encoding: streamed, within limits.

Knows line ends, byte order marks and bytes that are no text. Does not know what a line means, how
a file is unpacked (packed_file.py) or which encoding it has (file_encoding.py). Memory is bounded
by one line, time by the size of the file.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from rag_vqa.errors import BadInput
from rag_vqa.formats.file_encoding import BAD_BYTE, MARK_ERRORS, FileEncoding, find_file_encoding
from rag_vqa.formats.packed_file import DamagedStream, open_unpacked

LINE_LIMIT: Final = 16 * 2**20  # characters of one line, without its line break
_CHUNK: Final = 2**16  # bytes that are decoded at once


class UndecodableLine(BadInput):
    """A line with bytes that are no text; `text` has marks in their place."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(reason)
        self.text = text


def read_lines(
    path: Path, encoding: FileEncoding | None = None, breaks: str = "\n"
) -> Iterator[tuple[int, str | BadInput]]:
    """Lines with their numbers from 1, with line breaks; a BadInput replaces an unreadable line.

    A line over LINE_LIMIT is skipped. A damaged stream ends the lines.

    Args:
        encoding: by default it is found out.
        breaks: what ends a line: "\\n" alone, or "" for \\n, \\r and \\r\\n.

    Raises:
        Missing: no such file.
        BadInput: not a regular file, no text, or a bomb.
    """
    found = encoding or find_file_encoding(path)
    with open_unpacked(path) as stream:
        text = io.TextIOWrapper(stream, found.codec, MARK_ERRORS, newline=breaks)
        text._CHUNK_SIZE = _CHUNK  # type: ignore[attr-defined]
        number = 0
        try:
            while True:
                number += 1
                line = text.readline(LINE_LIMIT + 2)
                if not line:
                    return
                if number == 1:
                    line = line.removeprefix("\ufeff")
                if len(line) > LINE_LIMIT and len(line.rstrip("\r\n")) > LINE_LIMIT:
                    line = line[-1:]  # the rest of it is garbage now
                    _skip_line(text, line)
                    yield number, _line_too_long()
                elif found.has_bad_bytes and (bad := BAD_BYTE.search(line)):
                    yield number, _bad_byte(found, line, bad.start())
                else:
                    yield number, line
        except DamagedStream as error:
            yield number, BadInput(str(error))
        finally:
            text.detach()  # the stream is closed by its owner


def _skip_line(text: io.TextIOWrapper, part: str) -> None:
    while part and not part.endswith(("\n", "\r")):
        part = text.readline(2**16)


def _line_too_long() -> BadInput:
    return BadInput(f"the line is over {LINE_LIMIT // 2**20} MB: split the document.")


def _bad_byte(found: FileEncoding, line: str, at: int) -> UndecodableLine:
    byte = ord(line[at]) - 0xDC00
    hint = "" if found.is_given else " Save the file as UTF-8, or give --encoding."
    return UndecodableLine(f"not {found.name}: byte 0x{byte:02x} at character {at}.{hint}", line)
