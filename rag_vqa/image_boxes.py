"""Removes metadata from HEIC, AVIF and JPEG XL, files made of boxes, before a decoder sees them.

Knows boxes (ISO/IEC 14496-12), brands, items (23008-12), and the header of JPEG XL (18181-1), whose
decoder would decode before it says the size. Decodes no pixel.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Final

from rag_vqa.errors import BadImage
from rag_vqa.image_metadata import BareFile, exif_orientation

_META: Final = 256 * 2**10  # photographs have under 20 kB; one profile goes to each picture
_BOXES: Final = 10_000
_JXL_SIGNATURE: Final = b"\0\0\0\x0cJXL \r\n\x87\n"
# What a JPEG XL says of its width: the height times one of these.
_RATIOS: Final = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))


def read_brands(data: bytes) -> list[bytes]:
    """Brands of a file that begins with the box `ftyp`, the major one first; none of any other.

    >>> read_brands(b"\\0\\0\\0\\x18ftypmif1\\0\\0\\0\\0mif1avif")
    [b'mif1', b'mif1', b'avif']
    """
    if data[4:8] != b"ftyp":
        return []
    size = int.from_bytes(data[:4], "big")
    end = min(size if size >= 16 else 16, len(data), 1024)
    return [data[8:12], *(data[at : at + 4] for at in range(16, end - 3, 4))]


def strip_heif(data: bytes) -> BareFile:
    """A HEIC or AVIF with its metadata detached from its images.

    The decoder reads every item, and copies metadata and colour profiles to every image. The items
    together must therefore not be larger than the file, and the box that describes them must be
    small. How the picture lies, the format says apart from EXIF, and its decoder knows.

    Raises:
        ValueError: boxes or items leave the file or overlap, or are more than photographs have.
    """
    parts, at, last = [], 0, 0
    for kind, start, end in _iterate_boxes(data, 0, len(data), whole=False):
        last = end
        if kind == b"meta":
            if end - start > _META:
                raise ValueError("too much metadata")
            inner = list(_iterate_boxes(data, start + 4, end))
            for name, first, last in inner:
                if name == b"iloc":
                    _check_item_sizes(data[first:last], len(data))
            # References "describes", and the one type of item that may be packed.
            bare = data[start:end].replace(b"cdsc", b"free").replace(b"mime", b"free")
            parts += [data[at:start], bare]
            at = end
    return BareFile(b"".join((*parts, data[at:last])))


def strip_jxl(data: bytes) -> BareFile:
    """The codestream of a JPEG XL: without metadata, and without what would give a JPEG again.

    Its header says how the picture lies, and the decoder turns it. EXIF counts only if the header
    says nothing: some programs write only that.

    Raises:
        BadImage: an animation, of which the decoder gives the last picture.
        ValueError: boxes leave the file, or the header is damaged.
    """
    parts, turn = [data], 1
    if data.startswith(_JXL_SIGNATURE):
        parts = []
        for kind, start, end in _iterate_boxes(data, 0, len(data), whole=False):
            if kind == b"jxlc":
                parts.append(data[start:end])
            elif kind == b"jxlp":
                parts.append(data[start + 4 : end])
            elif kind == b"Exif" and turn == 1:  # four bytes before it say where it begins
                block = data[start:end]
                turn = exif_orientation(block if block[:2] in (b"II", b"MM") else block[4:])
    codestream = b"".join(parts)
    size, orientation = _read_jxl_header(codestream)
    return BareFile(codestream, 1 if orientation > 1 else turn, size=size)


def _read_jxl_header(codestream: bytes) -> tuple[tuple[int, int], int]:
    """((width, height), orientation): fields of 1 to 30 bits, the lowest bit first."""
    if not codestream.startswith(b"\xff\x0a") or len(codestream) < 12:
        raise ValueError("damaged or truncated JPEG XL header")
    rest = int.from_bytes(codestream[2:32], "little")

    def bits(count: int) -> int:
        nonlocal rest
        value, rest = rest & (1 << count) - 1, rest >> count
        return value

    def side(small: int) -> int:
        return 8 + 8 * bits(5) if small else 1 + bits((9, 13, 18, 30)[bits(2)])

    def size() -> tuple[int, int]:
        small = bits(1)
        height, ratio = side(small), bits(3)
        wide, high = _RATIOS[ratio - 1]
        return (height * wide // high if ratio else side(small)), height

    found, orientation = size(), 1
    if not bits(1) and bits(1):  # not everything is as usual, and there are extra fields
        orientation = 1 + bits(3)
        if bits(1):
            size()  # for display
        if not bits(1) and bits(1):  # no preview
            raise BadImage("an animation in JPEG XL is not supported: save it as GIF, WebP or PNG")
    return found, orientation


def _iterate_boxes(
    data: bytes, at: int, end: int, whole: bool = True
) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start of the content, end) of each box; where `whole` is False, of those that are.

    Phones and programs append what is no box.
    """
    for _ in range(_BOXES):
        if at >= end:
            return
        size, kind, start = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], at + 8
        if size == 1:
            size, start = int.from_bytes(data[at + 8 : at + 16], "big"), at + 16
        after = at + size if size else end
        if at + 8 > end or after < start or after > end:
            if whole:
                raise ValueError("truncated box")
            return
        yield kind, start, after
        at = after
    raise ValueError("too many small pieces")


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
