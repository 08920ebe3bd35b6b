"""Makes hostile and odd pictures, byte by byte where Pillow would not write them."""

from __future__ import annotations

import io
import struct
import time
import tracemalloc
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rag_vqa import images
from rag_vqa.errors import BadImage

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
PNG = b"\x89PNG\r\n\x1a\n"
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")


def file(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def noise(width: int = 120, height: int = 80) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, pixels: bytes = b"", *extra: bytes, colour: int = 2) -> bytes:
    """A PNG of 8-bit samples by hand; `pixels` are its deflated rows, `extra` chunks before."""
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    parts = (chunk(b"IHDR", header), *extra, chunk(b"IDAT", pixels), chunk(b"IEND", b""))
    return PNG + b"".join(parts)


def bmp(width: int, height: int) -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + info


def tiff(*entries: tuple[int, int, int, int]) -> bytes:
    """A TIFF of one directory; entries are (tag, type, count, value or offset)."""
    body = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + body + b"\0\0\0\0"


def gif(width: int, height: int, frames: int = 1, frame_size: tuple[int, int] = (1, 1)) -> bytes:
    """Frames of one pixel: the first is colour 1 (red), the others colour 0 (blue)."""
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(BLUE + RED)
    frame = b"," + struct.pack("<HHHHB", 0, 0, *frame_size, 0) + b"\x02"
    # 3-bit codes, low bits first: clear (4), the colour, end (5)
    first, others = (b"\x02" + struct.pack("<H", 4 | c << 3 | 5 << 6) + b"\0" for c in (1, 0))
    return head + frame + first + (frame + others) * (frames - 1) + b";"


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[274] = orientation
    return tags.tobytes()


def refused(
    source: str | Path | bytes | Image.Image,
    reason: str,
    kind: type[Exception] = BadImage,
    root: Path | None = None,
) -> None:
    """One line with name and reason, under 5 s and 300 MB, without a warning on the way."""
    start = time.monotonic()
    tracemalloc.start()
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            with pytest.raises(kind) as caught:
                images.load(source, root=root)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.monotonic() - start < 5
    assert peak < 300e6
    assert [str(one.message) for one in said] == []
    message = str(caught.value)
    name = "<bytes>" if isinstance(source, bytes) else "<image>"
    name = source if isinstance(source, str) else name
    assert message.startswith(f"{source if isinstance(source, Path) else name}: ")
    assert reason in message
    assert message.isprintable() and len(message) < 600
