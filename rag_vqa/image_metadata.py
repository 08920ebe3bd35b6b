"""Removes metadata from image files before a decoder sees them, and reads the EXIF orientation.

Knows the markers of JPEG, the directory of TIFF, the boxes of HEIC and one tag of EXIF. Decodes no
pixel. Only images.py needs it; it is apart because that file is long. Kept by hand: decoders read
metadata on opening, where thousands of entries may each name the same megabytes, and they turn
TIFFs whether asked or not.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import Final, Literal

_SEGMENTS: Final = 10_000  # photographs have under a hundred
_HEIC_META: Final = 256 * 2**10  # photographs have under 20 kB; one profile goes to each picture
_ORIENTATION: Final = 274  # TIFF 6.0; EXIF 2.32, table 4
# Tags that a TIFF decoder needs: layout, compression, colours, strips, tiles, JPEG tables, YCbCr.
_PIXEL_TAGS: Final = {
    *(254, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 317, 320),
    *(322, 323, 324, 325, 332, 338, 339, 347, *range(512, 522), 529, 530, 531, 532),
}
_TYPE_BYTES: Final = dict(enumerate((1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4), start=1))


def strip_jpeg(data: bytes) -> tuple[bytes, int, int]:
    """(file without metadata, EXIF orientation, number of scans); cut at its end marker.

    Phones append further images and videos after the end marker.

    Raises:
        ValueError: the markers are damaged.
    """
    kept, turn, at = [data[:2]], 1, 2
    for _ in range(_SEGMENTS):
        if data[at : at + 2] == b"\xff\xff":  # a fill byte
            at += 1
            continue
        if data[at : at + 1] != b"\xff" or at + 4 > len(data):
            raise ValueError("damaged or truncated JPEG header")
        kind, after = data[at + 1], at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if kind == 0xDA:  # pixels begin: inside them, FF DA is the next scan and FF D9 the end
            end = data.find(b"\xff\xd9", at)
            if end < 0:
                raise ValueError("truncated: the end of the JPEG is missing")
            return b"".join((*kept, data[at : end + 2])), turn, data.count(b"\xff\xda", at, end)
        if kind == 0xE1 and turn == 1 and data[at + 4 : at + 10] == b"Exif\0\0":
            turn = exif_orientation(data[at + 4 : after])
        # APP0 (JFIF) and APP14 (Adobe) define the colour space; the other APPn and comments do not
        # concern pixels.
        if kind in (0xE0, 0xEE) or not (0xE0 <= kind <= 0xEF or kind == 0xFE):
            kept.append(data[at:after])
        at = after
    raise ValueError("too much metadata")


def strip_tiff(data: bytes) -> tuple[bytes, int]:
    """(file with a new directory of its first image only, orientation of that image).

    Raises:
        ValueError: the directory is truncated, or its values overlap or lie outside the file.
    """
    order: Literal["<", ">"] = "<" if data[:2] == b"II" else ">"
    try:
        (start,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, start)
        kept, total, turn = [], 0, 1
        for at in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, values, where = struct.unpack_from(f"{order}HHII", data, at)
            if tag == _ORIENTATION:
                (turn,) = struct.unpack_from(f"{order}H", data, at + 8)
            if tag not in _PIXEL_TAGS or kind not in _TYPE_BYTES:
                continue
            size = values * _TYPE_BYTES[kind]
            total += size
            if total > len(data) or (size > 4 and where + size > len(data)):
                raise ValueError("truncated or damaged TIFF directory")
            kept.append(data[at : at + 12])
    except struct.error as error:
        raise ValueError("truncated TIFF directory") from error
    body = data[8:] + b"\0" * (len(data) % 2)  # a directory begins at an even place
    head = data[:4] + struct.pack(f"{order}I", 8 + len(body))
    return b"".join((head, body, struct.pack(f"{order}H", len(kept)), *kept, b"\0" * 4)), turn


def strip_heic(data: bytes) -> bytes:
    """The file with its metadata detached from its images (ISO/IEC 14496-12, 23008-12).

    The decoder reads every item, and copies metadata and colour profiles to every image. The items
    together must therefore not be larger than the file, and the box that describes them must be
    small.

    Raises:
        ValueError: boxes or items leave the file or overlap, or are more than photographs have.
    """
    parts, at = [], 0
    for kind, start, end in _iterate_boxes(data, 0, len(data)):
        if kind == b"meta":
            if end - start > _HEIC_META:
                raise ValueError("too much metadata")
            inner = list(_iterate_boxes(data, start + 4, end))
            for name, first, last in inner:
                if name == b"iloc":
                    _check_item_sizes(data[first:last], len(data))
            # References "describes", and the one type of item that may be packed.
            bare = data[start:end].replace(b"cdsc", b"free").replace(b"mime", b"free")
            parts += [data[at:start], bare]
            at = end
    return b"".join((*parts, data[at:]))


def _iterate_boxes(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start of the content, end) of each box."""
    while at < end:
        if at + 8 > end:
            raise ValueError("truncated box")
        size, kind, start = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], at + 8
        if size == 1:
            size, start = int.from_bytes(data[at + 8 : at + 16], "big"), at + 16
        after = at + size if size else end
        if after < start or after > end:
            raise ValueError("truncated box")
        yield kind, start, after
        at = after


def _check_item_sizes(iloc: bytes, file_size: int) -> None:
    """Raises ValueError if all extents of all items have more bytes than the file.

    An extent of length 0 is the whole file.
    """
    stream = io.BytesIO(iloc)

    def number(size: int) -> int:
        piece = stream.read(size)
        if len(piece) < size:
            raise ValueError("truncated list of items")
        return int.from_bytes(piece, "big")

    version, _, sizes = number(1), number(3), number(2)
    offset, length, base = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    index = sizes & 15 if version in (1, 2) else 0
    wide = 4 if version == 2 else 2
    total = 0
    for _ in range(number(wide)):
        number(wide + (2 if version in (1, 2) else 0) + 2 + base)
        for _ in range(number(2)):
            number(index + offset)
            total += number(length) or file_size
            if total > file_size:
                raise ValueError("items overlap, or are truncated")


def exif_orientation(exif: bytes) -> int:
    """Orientation in the first directory of an EXIF block; 1 (upright) without one.

    Reads twelve bytes for each entry and follows no value, so a hostile block costs nothing and a
    damaged one does not spoil the image.

    >>> entry = bytes([0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, 6, 0, 0])  # tag 274, short, 1 of them: 6
    >>> exif_orientation(b"MM\\0*\\0\\0\\0\\x08" + b"\\0\\1" + entry)
    6
    """
    exif = exif.removeprefix(b"Exif\0\0")
    order: Literal["little", "big"] = "little" if exif[:2] == b"II" else "big"
    start = int.from_bytes(exif[4:8], order)
    count = int.from_bytes(exif[start : start + 2], order)
    for at in range(start + 2, min(start + 2 + 12 * count, len(exif) - 11), 12):
        if int.from_bytes(exif[at : at + 2], order) == _ORIENTATION:
            return int.from_bytes(exif[at + 8 : at + 10], order)
    return 1
