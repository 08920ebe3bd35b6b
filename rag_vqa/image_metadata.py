"""Removes metadata from image files before a decoder sees them, and reads the EXIF orientation.

Knows the markers of JPEG, the chunks of PNG and WebP, the directory of TIFF and one tag of EXIF.
Decodes no pixel. Does not know formats made of boxes (image_boxes.py). Kept by hand: decoders read
metadata on opening, where thousands of entries may each name the same megabytes, where one damaged
comment spoils a good picture, and they turn TIFFs whether asked or not.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

_SEGMENTS: Final = 10_000  # photographs have under a hundred
_CHUNKS: Final = 100_000  # of a PNG; 64 MB in chunks of 4 kB are 16,000
_SKIPPED: Final = 64 * 2**10  # bytes between the markers of a JPEG that belong to none
_PROFILE: Final = 2**20  # bytes of EXIF as text in a PNG; a JPEG holds 64 kB
_ORIENTATION: Final = 274  # TIFF 6.0; EXIF 2.32, table 4
# Tags that a TIFF decoder needs: layout, compression, colours, strips, tiles, JPEG tables, YCbCr.
_PIXEL_TAGS: Final = {
    *(254, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 317, 320),
    *(322, 323, 324, 325, 332, 338, 339, 347, *range(512, 522), 529, 530, 531, 532),
}
_TYPE_BYTES: Final = dict(enumerate((1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4), start=1))
_WHOLE_NUMBERS: Final = {1: 1, 3: 2, 4: 4, 6: 1, 8: 2, 9: 4}  # EXIF type -> bytes
# "Raw profile type exif", then name, size and hexadecimal digits: ImageMagick before version 7.0.8.
_RAW_PROFILE: Final = re.compile(rb"Raw profile type (?:exif|APP1)\0", re.IGNORECASE)
_WEBP_FLAGS: Final = 0x12  # alpha and animation; the others say that there is metadata
_ALL_COEFFICIENTS: Final = 2**64 - 1


class BareFile(NamedTuple):
    """A file without its metadata, and what its metadata said.

    Attributes:
        turn: the EXIF orientation.
        scans: how many passes over the pixels the file makes.
        whole: False for a JPEG whose end is missing; an end marker was added.
        size: width and height, where a decoder would decode before it says them.
    """

    data: bytes
    turn: int = 1
    scans: int = 1
    whole: bool = True
    size: tuple[int, int] | None = None


def strip_jpeg(data: bytes) -> BareFile:
    """The file cut at its end marker: phones append further images and videos after it.

    Raises:
        ValueError: the markers are damaged, or whole passes over the pixels are missing.
    """
    kept, turn, at, components, skipped = [data[:2]], 1, 2, b"", 0
    for _ in range(_SEGMENTS):
        if data[at : at + 2] == b"\xff\xff":  # a fill byte
            at += 1
            continue
        if data[at : at + 1] != b"\xff":  # as decoders do: on to the next marker
            marker = data.find(b"\xff", at, at + _SKIPPED - skipped)
            if marker < 0:
                raise ValueError("damaged or truncated JPEG header")
            at, skipped = marker, skipped + marker - at
            continue
        if at + 4 > len(data):
            raise ValueError("damaged or truncated JPEG header")
        kind, after = data[at + 1], at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if kind <= 0x01 or 0xD0 <= kind <= 0xD8:  # they stand alone
            at += 2
            continue
        if kind == 0xDA:  # pixels begin
            return _cut_at_end(data, at, kept, turn, components)
        if kind == 0xE1 and turn == 1 and data[at + 4 : at + 9] == b"Exif\0":
            turn = exif_orientation(data[at + 4 : after])
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            components = data[at + 10 : after : 3]
        # APP0 (JFIF) and APP14 (Adobe) define the colour space; the other APPn and comments do not
        # concern pixels.
        if kind in (0xE0, 0xEE) or not (0xE0 <= kind <= 0xEF or kind == 0xFE):
            kept.append(data[at:after])
        at = after
    raise ValueError("too much metadata")


def _cut_at_end(data: bytes, at: int, kept: list[bytes], turn: int, components: bytes) -> BareFile:
    """Inside pixels, FF DA is the next scan and FF D9 the end."""
    end = data.find(b"\xff\xd9", at)
    if end >= 0:
        scans = data.count(b"\xff\xda", at, end)
        return BareFile(b"".join((*kept, data[at:end], b"\xff\xd9")), turn, scans)
    pixels = data[at:].rstrip(b"\0").rstrip(b"\xff")  # a file made at full length, filled in part
    scans = pixels.count(b"\xff\xda")
    if scans > _SEGMENTS or not _has_all_scans(pixels, components):
        raise ValueError("truncated: the end of the JPEG is missing")
    return BareFile(b"".join((*kept, pixels, b"\xff\xd9")), turn, scans, whole=False)


def _has_all_scans(pixels: bytes, components: bytes) -> bool:
    """True if a scan of all bits of all coefficients of each component has begun."""
    found = dict.fromkeys(components, 0)
    for scan in re.finditer(rb"\xff\xda", pixels):
        at = scan.start() + 4
        count = pixels[at] if at < len(pixels) else 0
        last = at + 1 + 2 * count
        if last + 3 > len(pixels):
            return False
        low, high, bits = pixels[last : last + 3]
        if bits & 15 == 0 and low <= high < 64:
            for component in pixels[at + 1 : last : 2]:
                found[component] = found.get(component, 0) | (2 << high) - (1 << low)
    return bool(found) and all(bits == _ALL_COEFFICIENTS for bits in found.values())


def strip_png(data: bytes) -> BareFile:
    """The file with nothing but header, palette and pixels; its end is written if it is missing.

    Raises:
        ValueError: millions of chunks.
    """
    kept, exif, profile = [data[:8]], b"", b""
    for kind, start, end in _iterate_chunks(data):
        if kind in (b"IHDR", b"PLTE", b"IDAT"):
            if end + 4 <= len(data):
                kept.append(data[start - 8 : end + 4])
            else:  # cut: perhaps only its checksum is missing, and all pixels are there
                content = kind + data[start:end]
                kept += [struct.pack(">I", end - start), content]
                kept.append(struct.pack(">I", zlib.crc32(content)))
        elif kind == b"eXIf":
            exif = exif or data[start:end]
        elif kind in (b"tEXt", b"zTXt", b"iTXt") and _RAW_PROFILE.match(data, start):
            profile = profile or _read_raw_profile(kind, data[start:end])
        elif kind == b"IEND":
            break
    kept.append(b"\0\0\0\0IEND\xaeB`\x82")
    return BareFile(b"".join(kept), exif_orientation(exif or profile))


def _iterate_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start of the content, its end) of each chunk; a checksum follows."""
    at = 8
    for _ in range(_CHUNKS):
        if at + 8 > len(data):
            return
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 8], at + 8, min(end, len(data))
        at = end + 4
    raise ValueError("too many small pieces")


def _read_raw_profile(kind: bytes, content: bytes) -> bytes:
    """The EXIF block of a text chunk; nothing if it is damaged."""
    text = content.partition(b"\0")[2]
    try:
        if kind == b"zTXt":
            text = zlib.decompressobj().decompress(text[1:], 3 * _PROFILE)
        elif kind == b"iTXt":
            packed, text = text[:1] == b"\1", text[2:].split(b"\0", 2)[-1]
            text = zlib.decompressobj().decompress(text, 3 * _PROFILE) if packed else text
        _name, _size, digits = text[: 3 * _PROFILE].strip().split(b"\n", 2)
        block = bytes.fromhex(digits.decode("ascii"))
        return block if block[:4] in (b"Exif", b"II*\0", b"MM\0*") else b""  # APP1 may be XMP
    except (ValueError, zlib.error):
        return b""


def strip_webp(data: bytes) -> BareFile:
    """The file with its first picture only; its sizes are written anew.

    Some programs leave out the byte that fills up an odd chunk, or count it wrongly.

    Raises:
        ValueError: pixels are missing, or there are millions of chunks.
    """
    kept: dict[bytes, bytes] = {}
    turn, at = 1, 12
    for _ in range(_CHUNKS):
        if at + 8 > len(data):
            break
        kind, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        end = at + 8 + size
        if kind in (b"VP8 ", b"VP8L", b"ANMF") and end > len(data):
            raise ValueError("its end is missing")
        if kind == b"EXIF" and turn == 1:
            turn = exif_orientation(data[at + 8 : end])
        elif kind == b"VP8X" and size >= 1:
            flags = bytes([data[at + 8] & _WEBP_FLAGS]) if at + 8 < len(data) else b""
            kept.setdefault(kind, data[at : at + 8] + flags + data[at + 9 : end])
        elif kind in (b"VP8 ", b"VP8L", b"ANMF", b"ANIM", b"ALPH"):
            kept.setdefault(kind, data[at:end])
        at = end + size % 2
    else:
        raise ValueError("too many small pieces")
    body = b"".join(chunk + b"\0" * (len(chunk) % 2) for chunk in kept.values())
    return BareFile(b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body, turn)


def strip_tiff(data: bytes) -> BareFile:
    """The file with a new directory, of its first image only.

    Raises:
        ValueError: the directory is truncated, or its values overlap or lie outside the file.
    """
    order: Literal["<", ">"] = "<" if data[:2] == b"II" else ">"
    try:
        (start,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, start)
        kept, total = [], 0
        for at in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, values, where = struct.unpack_from(f"{order}HHII", data, at)
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
    bare = b"".join((head, body, struct.pack(f"{order}H", len(kept)), *kept, b"\0" * 4))
    return BareFile(bare, exif_orientation(data))


def exif_orientation(exif: bytes) -> int:
    """Orientation in the first directory of an EXIF block or a TIFF; 1 (upright) without one.

    Reads twelve bytes for each entry and follows no value, so a hostile block costs nothing and a
    damaged one does not spoil the image.

    >>> entry = bytes([0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, 6, 0, 0])  # tag 274, short, 1 of them: 6
    >>> exif_orientation(b"MM\\0*\\0\\0\\0\\x08" + b"\\0\\1" + entry)
    6
    """
    if exif[:5] == b"Exif\0":
        exif = exif[6:]
    order: Literal["little", "big"] = "little" if exif[:2] == b"II" else "big"
    start = int.from_bytes(exif[4:8], order)
    count = int.from_bytes(exif[start : start + 2], order)
    for at in range(start + 2, min(start + 2 + 12 * count, len(exif) - 11), 12):
        if int.from_bytes(exif[at : at + 2], order) == _ORIENTATION:
            kind = int.from_bytes(exif[at + 2 : at + 4], order)  # 3, a short, in all good files
            return int.from_bytes(exif[at + 8 : at + 8 + _WHOLE_NUMBERS.get(kind, 2)], order)
    return 1
