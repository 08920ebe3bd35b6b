"""The only place where images are opened or decoded: refuses dangerous files, returns RGB.

Knows files, formats, limits, EXIF orientation, RGB, and how an image is scaled down and packed
again. Does not know models, and fetches no address. Every image counts as hostile: Pillow gets
bytes in memory and one decoder, chosen here by the first bytes (its registry is never asked). The
size is checked before pixels exist, and the number of reads is limited. No state of Pillow and no
warning filter is changed, so that all of it is thread-safe.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import re
import stat
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

from PIL import Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from rag_vqa import image_metadata
from rag_vqa.errors import BadImage, Missing
from rag_vqa.types import ImageSource

# Pillow holds 4 bytes for each decoded pixel: 256 MB, so a file that is truncated at its end costs
# less than 300 MB. Photographs of 48 and 50 MP pass.
MAX_PIXELS: Final = 64_000_000
# A photograph of MAX_PIXELS as JPEG at high quality takes about half of it.
MAX_FILE_BYTES: Final = 64 * 2**20
# Photographs have 1 scan, progressive ones about 10. Each scan passes over all pixels again, so a
# file of 60 kB could take hours.
MAX_SCANS: Final = 64
MAX_SCANNED_PIXELS: Final = 12 * MAX_PIXELS
# An image takes a few thousand reads; 64 MB of PNG in chunks of 4 kB take 50,000. Millions of empty
# chunks, or entries that all point at the same megabytes, take minutes and gigabytes.
MAX_READS: Final = 200_000
MAX_REREADS: Final = 4
_Opener = Callable[[io.BytesIO], ImageFile.ImageFile]
_OPENERS: Final[tuple[tuple[re.Pattern[bytes], _Opener], ...]] = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), PngImageFile),
    (re.compile(rb"\xff\xd8\xff"), JpegImageFile),  # also MPO from phones: its first image
    (re.compile(rb"RIFF....WEBP", re.DOTALL), WebPImageFile),
    (re.compile(rb"GIF8[79]a"), GifImageFile),
    (re.compile(rb"BM"), BmpImageFile),
    (re.compile(rb"II\*\0|MM\0\*"), TiffImageFile),
)
_HEIC: Final = re.compile(rb"....ftyp(?:hei[cxms]|mif1)", re.DOTALL)
_FORMATS: Final = "PNG, JPEG, WebP, GIF, BMP and TIFF are supported"
_URL: Final = re.compile(r"[a-z][a-z0-9+.-]+:/|data:", re.IGNORECASE)
# EXIF orientation -> the operation that turns the image upright (TIFF 6.0, Orientation).
_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Raised by Pillow for damaged files; Warning, because the user's filters may raise warnings.
_DECODER_ERRORS: Final = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError,
    AssertionError, EOFError, MemoryError, RuntimeError, struct.error, zlib.error, Warning,
    Image.DecompressionBombError,
)  # fmt: skip
_SIGNATURES: Final = (
    (re.compile(rb"....ftyp(?:hev|msf1)", re.DOTALL), "a sequence of HEIC pictures"),
    (re.compile(rb"....ftypavi", re.DOTALL), "AVIF"),
    (re.compile(rb"%PDF"), "PDF"),
    (re.compile(rb"%!PS|\xc5\xd0\xd3\xc6"), "EPS"),
    (re.compile(rb"8BPS"), "PSD"),
    (re.compile(rb"SIMPLE  ="), "FITS"),
    (re.compile(rb"\0\0[\1\2]\0"), "ICO"),
    (re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"), "JPEG 2000"),
    (re.compile(rb"(?:\xef\xbb\xbf)?\s*<.*<svg|(?:\xef\xbb\xbf)?\s*<svg", re.DOTALL | re.I), "SVG"),
    (re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype html|html|head)", re.I), "HTML"),
)
# Lossless PNG where it is cheap: small images, and graphics, which PNG packs well and JPEG
# blurs at edges. Photographs were JPEG before, and PNG makes them five times as large.
_SMALL_IMAGE_PIXELS = 128 * 1024  # pixels
_FEW_COLOURS = 256


def load(
    source: ImageSource, *, exif: bool = True, root: Path | None = None, name: str = ""
) -> Image.Image:
    """An image as RGB, fully decoded, without metadata; the first frame of an animation.

    Args:
        source: a path, the bytes of a file, or a PIL image. An image fresh from `Image.open` counts
            as its file; any other was prepared by the caller and is only converted.
        exif: turn the image upright by its EXIF orientation. False follows the ReT release.
        root: folder of a relative path. The path must not leave it, not even through a link.
        name: name of the image in errors, if `source` has none.

    Alpha is dropped, not composited, and ICC profiles are not applied, as in the ReT release
    (transformers 4.45); 16-bit samples keep their high byte.

    Raises:
        BadImage: it is no image, or a damaged or dangerous one; one line with file and reason.
        Missing: there is no such file.
    """
    name = _printable_line(name) or _source_name(source)
    if isinstance(source, Image.Image):
        return _decode_rgb(source, name, _orientation(source) if exif else 1)
    data = read_bytes(source, root, name)
    opener = _choose_opener(data, name)
    turn, scans = None, 1
    try:
        if opener is JpegImageFile:
            data, turn, scans = image_metadata.strip_jpeg(data)
        elif opener is TiffImageFile:
            data, turn = image_metadata.strip_tiff(data)
        elif _HEIC.match(data):  # its decoder turns it, as the format demands
            data, turn = image_metadata.strip_heic(data), 1
        image = opener(_MeteredFile(data))
    except _DECODER_ERRORS as error:
        raise _bad_image(name, f"damaged header ({_error_reason(error)})") from error
    turn = _orientation(image) if turn is None else turn
    return _decode_rgb(image, name, turn if exif else 1, scans)


def read_bytes(source: str | Path | bytes, root: Path | None = None, name: str = "") -> bytes:
    """The bytes of an image file, unchecked; `root` and `name` as in `load`.

    Raises:
        BadImage: an address, a folder, a pipe, a device, over MAX_FILE_BYTES, or outside `root`.
        Missing: there is no such file.
    """
    name = name or _source_name(source)
    if isinstance(source, bytes):
        data = source
    else:
        path = _resolve_path(source, name, root)
        # O_NONBLOCK, because a pipe would block the open. O_NOFOLLOW, because the path is resolved:
        # under a root, a link that appears afterwards is not followed.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        flags |= getattr(os, "O_NOFOLLOW", 0) if root is not None else 0
        try:
            with os.fdopen(os.open(path, flags), "rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise _bad_image(name, "not a regular file (a folder, a pipe or a device)")
                data = file.read(MAX_FILE_BYTES + 1)
        except (FileNotFoundError, NotADirectoryError) as error:
            where = "" if root is None else f" in {_source_name(root)}"
            message = f"{name}: no such file{where}. Check the path and the folder of the images."
            raise Missing(message) from error
        except (OSError, ValueError) as error:  # ValueError: NUL in the name
            raise _bad_image(name, f"cannot be read ({_error_reason(error)})") from error
    if not data:
        raise _bad_image(name, "empty (0 bytes)")
    if len(data) > MAX_FILE_BYTES:
        raise _bad_image(name, f"file over {MAX_FILE_BYTES // 2**20} MB; make it smaller")
    return data


def encode(image: Image.Image, format: Literal["PNG", "JPEG"] = "PNG") -> bytes:
    """The image as a new file in RGB, without any metadata of its source.

    Raises:
        BadImage: the format cannot hold it (a JPEG side is at most 65,500 pixels).
    """
    bare = load(image, exif=False)
    buffer = io.BytesIO()
    try:
        bare.save(buffer, format, quality=90)  # PNG ignores the quality
    except (OSError, ValueError) as error:
        raise _bad_image(
            "<image>", f"cannot be written as {format} ({_error_reason(error)})"
        ) from error
    return buffer.getvalue()


def scale_down(image: Image.Image, max_pixels: int | None) -> Image.Image:
    """The image with at most `max_pixels` pixels and about the same proportions.

    >>> scale_down(Image.new("RGB", (400, 100)), 10_000).size
    (200, 50)
    """
    width, height = image.size
    if max_pixels is None or width * height <= max_pixels:
        return image
    by = math.sqrt(max_pixels / (width * height))
    # A side of one pixel stays; the other side is as long as fits.
    width = min(max(1, int(width * by)), max_pixels)
    height = min(max(1, int(height * by)), max_pixels // width)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def choose_format(image: Image.Image) -> Any:
    """The format for `encode`: "PNG" (lossless) for few pixels or colours, else "JPEG"."""
    small = image.width * image.height <= _SMALL_IMAGE_PIXELS
    return "PNG" if small or image.getcolors(_FEW_COLOURS) is not None else "JPEG"


def content_hash(image_bytes: bytes) -> str:
    """SHA-256 of a file's bytes, in hex.

    >>> content_hash(b"")[:8]
    'e3b0c442'
    """
    return hashlib.sha256(image_bytes).hexdigest()


class _MeteredFile(io.BytesIO):
    """A file in memory that stops a decoder which reads the same bytes again and again."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._reads = MAX_READS
        self._bytes = MAX_REREADS * len(data) + 2**20

    def read(self, size: int | None = -1, /) -> bytes:
        piece = super().read(size)
        self._reads -= 1
        self._bytes -= len(piece)
        if self._reads < 0 or self._bytes < 0:
            raise OSError("too many small pieces")
        return piece


def _resolve_path(source: str | Path, name: str, root: Path | None) -> Path:
    if _URL.match(os.fspath(source)):
        raise _bad_image(name, "addresses are not fetched; save the picture and give its path")
    try:
        base = Path() if root is None else root.resolve()
        path = (base / source).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links; NUL in the name
        raise _bad_image(name, f"cannot be found ({_error_reason(error)})") from error
    if root is not None and not path.is_relative_to(base):
        raise _bad_image(name, f"lies outside {_source_name(root)}; copy it there")
    if path.suffix.startswith(".sqlite"):  # closing it would drop our locks on it: fcntl(2)
        raise _bad_image(name, "a database is not opened; give the path of a picture")
    return path


def _choose_opener(data: bytes, name: str) -> _Opener:
    for magic, opener in _OPENERS:
        if magic.match(data):
            return opener
    if _HEIC.match(data):
        return _heic_opener(name)
    found = name_file_format(data[:1024])
    reason = "not a picture" if found is None else f"{found} is not supported"
    raise _bad_image(name, f"{reason}; {_FORMATS}: convert it to one of them")


def _heic_opener(name: str) -> _Opener:
    """The decoder of the extra, without registering it in Pillow."""
    try:
        from pillow_heif import HeifImageFile
    except ImportError as error:
        extra = "HEIC needs an extra: pip install 'rag-vqa[heic]', or save it as JPEG"
        raise _bad_image(name, extra) from error
    opener: _Opener = HeifImageFile
    return opener


def _orientation(image: Image.Image) -> int:
    """EXIF orientation of an image fresh from its file.

    1 for an image that the caller prepared, and for TIFF, which Pillow turns while decoding.
    """
    if not isinstance(image, ImageFile.ImageFile) or isinstance(image, TiffImageFile):
        return 1
    exif = image.info.get("exif", b"")
    return image_metadata.exif_orientation(exif) if exif and isinstance(exif, bytes) else 1


def _check_size(image: Image.Image, name: str, scans: int) -> None:
    width, height = image.size
    if width < 1 or height < 1:
        raise _bad_image(name, f"{width}x{height} pixels")
    if width * height > MAX_PIXELS:
        limit = f"{MAX_PIXELS // 10**6} million"
        raise _bad_image(name, f"{width}x{height} pixels, over {limit}; make it smaller")
    if scans > MAX_SCANS or scans * width * height > MAX_SCANNED_PIXELS:
        raise _bad_image(name, f"JPEG of {scans} scans; save it again as a plain one")


def _decode_rgb(image: Image.Image, name: str, turn: int, scans: int = 1) -> Image.Image:
    _check_size(image, name, scans)
    try:
        image.load()
        rgb = _convert_to_rgb(image, name)
        return rgb.transpose(_UPRIGHT[turn]) if turn in _UPRIGHT else rgb
    except _DECODER_ERRORS as error:
        raise _bad_image(name, f"damaged or truncated ({_error_reason(error)})") from error


def _convert_to_rgb(image: Image.Image, name: str) -> Image.Image:
    """A new RGB image without metadata; the source is not changed."""
    if image.mode.startswith("I;16"):
        import numpy as np

        # Pillow's own conversion clips at 255: all but the darkest 0.4% would be white.
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        reason = f"32-bit samples ({image.mode}) have no agreed white; save it with 8 or 16 bits"
        raise _bad_image(name, reason)
    elif image.mode in ("RGBa", "La"):  # premultiplied: Pillow converts these only in this way
        image = image.convert(image.mode.upper())
    elif "transparency" in image.info:  # dropped like alpha; converting it would warn
        image = image.copy()
        del image.info["transparency"]
    rgb = image.convert("RGB")
    rgb.info.clear()
    return rgb


def _bad_image(name: str, reason: str) -> BadImage:
    return BadImage(f"{name}: {reason}")


def _error_reason(error: BaseException) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return _printable_line(text or type(error).__name__)


def _source_name(source: ImageSource) -> str:
    if isinstance(source, bytes):
        return "<bytes>"
    return "<image>" if isinstance(source, Image.Image) else _printable_line(os.fspath(source))


def _printable_line(text: str, limit: int = 200) -> str:
    """One printable line: names and messages may hold newlines, escapes, lone surrogates."""
    cut = text if len(text) <= limit else f"{text[: limit // 2]}...{text[-limit // 2 :]}"
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in cut)


def name_file_format(head: bytes) -> str | None:
    """The name of a format that is not supported, by a file's first bytes; or None.

    >>> name_file_format(b"%PDF-1.7")
    'PDF'
    """
    return next((name for magic, name in _SIGNATURES if magic.match(head)), None)
