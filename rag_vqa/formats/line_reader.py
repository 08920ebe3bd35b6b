"""Lines of a text file, plain or gzipped: streamed as bytes, within limits.

Knows files, gzip, byte order marks and line ends. Does not know what a line means. Memory is
bounded by one line, time by the size of the file.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from rag_vqa.errors import BadInput, Missing

LINE_LIMIT = 16 * 2**20  # bytes of one line, without its line break
# Text gzips to a tenth, repetitive JSON to a fiftieth; a bomb of zeros to a thousandth.
_BOMB_RATIO = 200
_BOMB_FLOOR = 64 * 2**20
_DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile)


def unpacked_suffix(path: Path) -> str:
    """The suffix of a file's name in lower case, without ".gz".

    >>> unpacked_suffix(Path("docs.JSONL.gz"))
    '.jsonl'
    """
    return Path(path.name.lower().removesuffix(".gz")).suffix


def read_lines(path: Path) -> Iterator[tuple[int, bytes | BadInput]]:
    """Lines with their numbers from 1, with line breaks; a BadInput replaces an unreadable line.

    A line over LINE_LIMIT is skipped. A damaged gzip stream ends the lines.

    Raises:
        Missing: no such file.
        BadInput: not a regular file, UTF-16 or UTF-32, or a gzip bomb.
    """
    if not path.exists():
        raise Missing(f"{path} does not exist: check the path.")
    if not path.is_file():  # before it is opened: a pipe would block
        raise BadInput(f"{path} is not a regular file.")
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        stream = cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if packed else raw
        limit = max(_BOMB_FLOOR, _BOMB_RATIO * os.fstat(raw.fileno()).st_size)
        taken = number = 0
        while True:
            number += 1
            try:
                line = stream.readline(LINE_LIMIT + 1)
                taken += len(line)
                long = len(line) > LINE_LIMIT and not line.endswith(b"\n")
                part = line
                while long and part and not part.endswith(b"\n") and taken <= limit:
                    part = stream.readline(2**16)
                    taken += len(part)
            except _DAMAGED as error:
                yield number, BadInput(f"the gzip stream is damaged or cut here ({error}).")
                return
            if packed and taken > limit:
                raise BadInput(
                    f"{path} unpacks to over {_BOMB_RATIO} times its size, as a gzip bomb does: "
                    "unpack it yourself if you trust it."
                )
            if not line:
                return
            yield (
                number,
                _line_too_long()
                if long
                else _strip_byte_order_mark(path, line)
                if number == 1
                else line,
            )


def _line_too_long() -> BadInput:
    return BadInput(f"the line is over {LINE_LIMIT // 2**20} MB: split the document.")


def _strip_byte_order_mark(path: Path, line: bytes) -> bytes:
    """The first line without its byte order mark."""
    if line.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise BadInput(f"{path} is UTF-16: save it as UTF-8.")
    return line.removeprefix(b"\xef\xbb\xbf")
