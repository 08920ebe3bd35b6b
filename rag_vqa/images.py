"""The only place where images are opened or decoded: refuses dangerous files, returns RGB.

Knows files, limits, EXIF orientation, RGB, and how an image is scaled down and packed again. Does
not know formats (image_formats.py), models, or the network. Every image counts as hostile: a
decoder gets bytes in memory, chosen by the first of them and without metadata. The size is checked
before pixels exist, and the number of reads is limited. No state of Pillow and no warning filter is
changed, so that all of it is thread-safe.
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
from pathlib import Path
from typing import Any, Final, Literal

from PIL import Image, ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

from rag_vqa.errors import BadImage, Missing
from rag_vqa.image_formats import find_format, measure_jpeg
from rag_vqa.image_metadata import BareFile, exif_orientation
from rag_vqa.types import ImageSource

# Pillow holds 4 bytes for each decoded pixel: 256 MB, so that JPEG and PNG cost less than 300 MB.
# Decoders that hold it several times (HEIC, AVIF, WebP, JPEG XL, progressive JPEG) take up to 1 GB.
# Photographs of 48 and 50 MP pass.
MAX_PIXELS: Final = 64_000_000
# A plain JPEG can be decoded at a half, a quarter or an eighth of its sides. Phones take 108 and
# 200 MP, and no model sees a tenth of that.
MAX_JPEG_PIXELS: Final = 512_000_000
MAX_REDUCED_PIXELS: Final = 32_000_000
# Of a JPEG whose end is missing; less is a cut-off download.
MIN_JPEG_SHARE: Final = 0.95
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
        data = _opened_jpeg(source) or source
    else:
        data = read_bytes(source, root, name)
    try:
        if isinstance(data, Image.Image):
            return _decode_rgb(data, _orientation(data) if exif else 1)
        return _decode_file(data, exif)
    except BadImage as error:
        raise _bad_image(name, str(error)) from error
    except _DECODER_ERRORS as error:
        reason = _error_reason(error)
        cut = reason.startswith("image file is truncated")
        reason = "truncated: copy it again" if cut else f"damaged or truncated ({reason})"
        raise _bad_image(name, reason) from error


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


def _opened_jpeg(image: Image.Image) -> bytes | None:
    """The file of a photograph fresh from `Image.open` that has to be decoded smaller."""
    if not isinstance(image, JpegImageFile) or not image.tile or image.decoderconfig:
        return None
    if image.width * image.height <= MAX_PIXELS:
        return None
    file = image.fp
    if file is None or image.tell():
        return None
    try:
        at = file.tell()
        file.seek(0)
        data = file.read(MAX_FILE_BYTES + 1)
        file.seek(at)
    except (OSError, ValueError):
        return None
    return data if data[:2] == b"\xff\xd8" and len(data) <= MAX_FILE_BYTES else None


def _decode_file(data: bytes, exif: bool) -> Image.Image:
    file_format = find_format(data)
    opener = file_format.find_opener()
    bare = file_format.strip(data)
    if bare.size is not None:
        _check_size(*bare.size)
    image = opener(_MeteredFile(bare.data))
    if isinstance(image, JpegImageFile):
        _prepare_jpeg(image, bare)
    by_exif = bare.turn if exif else 1
    return _decode_rgb(image, _orientation(image) if file_format.turned_always else by_exif, True)


def _orientation(image: Image.Image) -> int:
    """EXIF orientation of an image fresh from its file.

    1 for an image that the caller prepared, and for TIFF, which Pillow turns while decoding.
    """
    if not isinstance(image, ImageFile.ImageFile) or isinstance(image, TiffImageFile):
        return 1
    if image.format == "JXL" and not getattr(image, "jpeg", False):  # its decoder turned it
        return 1
    exif = image.info.get("exif", b"")
    return exif_orientation(exif) if exif and isinstance(exif, bytes) else 1


def _check_size(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise BadImage(f"{width}x{height} pixels")
    if width * height > MAX_PIXELS:
        limit = f"{width}x{height} pixels, over {MAX_PIXELS // 10**6} million"
        raise BadImage(f"{limit}; make it smaller, or save it as JPEG")


def _prepare_jpeg(image: JpegImageFile, bare: BareFile) -> None:
    """Checks passes and completeness; a photograph over MAX_PIXELS will be decoded smaller."""
    width, height = image.size
    pixels, limit = width * height, f"{width}x{height} pixels, over"
    if pixels > MAX_JPEG_PIXELS:
        raise BadImage(f"{limit} {MAX_JPEG_PIXELS // 10**6} million; make it smaller")
    if pixels > MAX_PIXELS and bare.scans > 1:
        raise BadImage(
            f"{limit} {MAX_PIXELS // 10**6} million in {bare.scans} scans: a progressive JPEG of "
            "this size takes gigabytes; save it as a plain (baseline) one"
        )
    if bare.scans > MAX_SCANS or bare.scans * pixels > MAX_SCANNED_PIXELS:
        raise BadImage(f"JPEG of {bare.scans} scans; save it again as a plain one")
    if not bare.whole and (share := measure_jpeg(bare.data, bare.scans)) < MIN_JPEG_SHARE:
        raise BadImage(f"truncated: {int(100 * share)}% of the JPEG is there; copy it again")
    if pixels > MAX_PIXELS:
        by = next(by for by in (2, 4, 8) if pixels <= by * by * MAX_REDUCED_PIXELS)
        image.draft(None, (max(1, width // by), max(1, height // by)))


def _decode_rgb(image: Image.Image, turn: int, ours: bool = False) -> Image.Image:
    """`ours`: nobody else has the image, so its pixels may be taken."""
    _check_size(*image.size)
    image.load()
    rgb = _convert_to_rgb(image, ours)
    return rgb.transpose(_UPRIGHT[turn]) if turn in _UPRIGHT else rgb


def _convert_to_rgb(image: Image.Image, ours: bool) -> Image.Image:
    """A new RGB image without metadata; the source is not changed."""
    if ours and image.mode == "RGB":
        rgb = image._new(image.im)  # without a copy of 256 MB
        rgb.info.clear()
        return rgb
    if image.mode.startswith("I;16"):
        import numpy as np

        # Pillow's own conversion clips at 255: all but the darkest 0.4% would be white.
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        reason = f"32-bit samples ({image.mode}) have no agreed white; save it with 8 or 16 bits"
        raise BadImage(reason)
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
    return _printable_line(" ".join(text.split()) or type(error).__name__)


def _source_name(source: ImageSource) -> str:
    if isinstance(source, bytes):
        return "<bytes>"
    return "<image>" if isinstance(source, Image.Image) else _printable_line(os.fspath(source))


def _printable_line(text: str, limit: int = 200) -> str:
    """One printable line: names and messages may hold newlines, escapes, lone surrogates."""
    cut = text if len(text) <= limit else f"{text[: limit // 2]}...{text[-limit // 2 :]}"
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in cut)
