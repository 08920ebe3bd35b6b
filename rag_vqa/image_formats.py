"""The picture formats that are supported: how each is recognised, stripped and opened.

Knows formats and decoders, those of extras too. Does not know limits, orientation or RGB
(images.py). Pillow's registry of formats is never asked: a decoder is chosen here, by first bytes.
"""

from __future__ import annotations

import io
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from rag_vqa.errors import BadImage
from rag_vqa.image_boxes import read_brands, strip_heif, strip_jxl
from rag_vqa.image_metadata import BareFile, strip_jpeg, strip_png, strip_tiff, strip_webp
from rag_vqa.image_signatures import UNKNOWN, describe_file, name_picture_format
from rag_vqa.jxl_process import decode_jxl, has_jxl

Opener = Callable[[io.BytesIO], Image.Image]
SUPPORTED: Final = "PNG, JPEG, WebP, GIF, BMP and TIFF are supported, AVIF, HEIC and JPEG XL too"


@dataclass(frozen=True, slots=True)
class PictureFormat:
    """One supported format.

    Attributes:
        find_opener: gives the decoder; raises BadImage if it is not installed.
        strip: takes metadata away, before the decoder sees it.
        turned_always: the orientation is part of the format: everybody who opens the file turns the
            picture. The decoder gives it as EXIF.
    """

    name: str
    magic: re.Pattern[bytes]
    find_opener: Callable[[], Opener]
    strip: Callable[[bytes], BareFile] = BareFile
    turned_always: bool = False


def find_format(data: bytes) -> PictureFormat:
    """The format of a file by its first bytes.

    Raises:
        BadImage: it is none of ours; with the reason alone, without the name of the file.
    """
    found = name_picture_format(data)
    if found is None:
        for each in _FORMATS:
            if each.magic.match(data):
                return each
        brands = read_brands(data)
        if _AVIF_BRANDS & {*brands} and not _HEIC_BRANDS & {*brands[:1]}:
            return _AVIF
        if _HEIC_SEQUENCES & {*brands[:1]}:
            found = "a sequence of HEIC pictures"
        elif _HEIC_BRANDS & {*brands} or brands[:1] == [b"mif1"]:
            return _HEIC
    reason = describe_file(data) if found is None else f"{found} is not supported"
    if found or reason == UNKNOWN:
        reason = f"{reason}; {SUPPORTED}: convert it to one of them"
    raise BadImage(reason)


def measure_jpeg(data: bytes, scans: int) -> float:
    """Which share of a JPEG whose end is missing is there, from 0 to 1; `data` ends in FF D9.

    After the last byte that is there, the decoder gets noise, and once more other noise: the
    picture is there as far as both agree. The block within which they part counts as there, and one
    block of at least ten may be missing. Of several scans only the last can be incomplete
    (`strip_jpeg`), and counts by its part of the bytes.
    """
    pixels = data[:-2]
    noises = (random.Random(seed).randbytes(1_000).replace(b"\xff", b"\0") for seed in (1, 2))
    (first, block), (second, _) = (
        _decode_small(pixels + noise + data[-2:], scans) for noise in noises
    )
    unlike = _join_blocks((first != second).reshape(*first.shape[:2], -1).any(axis=2), *block)
    if not unlike.any():
        return 1.0
    blocks, reached = len(unlike), 1 + int(unlike.argmax())
    if reached == blocks - 1 and blocks >= 10:
        return 1.0
    last_scan = len(pixels) - pixels.rfind(b"\xff\xda")
    missing = last_scan * (blocks - reached) / reached  # bytes, if it goes on as it began
    there = len(pixels) - pixels.find(b"\xff\xda")
    return there / (there + missing)


def _decode_small(data: bytes, scans: int) -> tuple[Any, tuple[int, int]]:
    """Pixels at a scale that needs little memory, and the size of a block that is coded together.

    Of a plain file an eighth is enough; a later scan changes only what is smaller than that.
    """
    import numpy as np

    image = JpegImageFile(io.BytesIO(data))
    area = image.width * image.height
    scale = 8 if scans == 1 else next((s for s in (1, 2, 4) if area <= s * s * 2**22), 8)
    high, wide = (max(part[axis] for part in image.layer) for axis in (2, 1))
    if scale > 1:
        image.draft(None, (max(1, image.width // scale), max(1, image.height // scale)))
    image.load()
    return np.asarray(image), (max(1, 8 * high // scale), max(1, 8 * wide // scale))


def _join_blocks(unlike: Any, high: int, wide: int) -> Any:
    """One truth value for each block of `high` by `wide`, row by row."""
    import numpy as np

    rows, columns = -(-unlike.shape[0] // high), -(-unlike.shape[1] // wide)
    whole = np.zeros((rows * high, columns * wide), bool)
    whole[: unlike.shape[0], : unlike.shape[1]] = unlike
    return whole.reshape(rows, high, columns, wide).any(axis=(1, 3)).ravel()


def _find_avif() -> Opener:
    try:
        from PIL.AvifImagePlugin import SUPPORTED as IS_BUILT
        from PIL.AvifImagePlugin import AvifImageFile
    except ImportError:
        IS_BUILT = False
    if not IS_BUILT:
        raise BadImage("AVIF needs Pillow 11.3: pip install -U pillow, or save it as JPEG")
    return AvifImageFile


def _find_heic() -> Opener:
    """The decoder of the extra, without registering it in Pillow."""
    try:
        from pillow_heif import HeifImageFile
    except ImportError as error:
        extra = "HEIC needs an extra: pip install 'rag-vqa[heic]', or save it as JPEG"
        raise BadImage(extra) from error
    opener: Opener = HeifImageFile
    return opener


def _find_jxl() -> Opener:
    if not has_jxl():
        raise BadImage("JPEG XL needs an extra: pip install 'rag-vqa[jxl]', or save it as JPEG")
    return lambda file: decode_jxl(file.getvalue())


def _magic(signature: bytes) -> re.Pattern[bytes]:
    return re.compile(signature, re.DOTALL)


_FORMATS: Final = (
    PictureFormat("PNG", _magic(rb"\x89PNG\r\n\x1a\n"), lambda: PngImageFile, strip_png),
    # Also MPO from phones and stereo cameras: its first image.
    PictureFormat("JPEG", _magic(rb"\xff\xd8\xff"), lambda: JpegImageFile, strip_jpeg),
    PictureFormat("WebP", _magic(rb"RIFF....WEBP"), lambda: WebPImageFile, strip_webp),
    PictureFormat("GIF", _magic(rb"GIF8[79]a"), lambda: GifImageFile),
    # A text may begin with these two letters; the size of its second header follows.
    PictureFormat("BMP", _magic(rb"BM.{12}[\x0c\x10(4@8lx|]\0\0\0"), lambda: BmpImageFile),
    PictureFormat("TIFF", _magic(rb"II\*\0|MM\0\*"), lambda: TiffImageFile, strip_tiff),
    PictureFormat("JPEG XL", _magic(rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n"), _find_jxl, strip_jxl),
)
# Files of boxes that begin with `ftyp`: their brands tell.
_AVIF: Final = PictureFormat("AVIF", _magic(rb"....ftyp"), _find_avif, strip_heif, True)
_HEIC: Final = PictureFormat("HEIC", _magic(rb"....ftyp"), _find_heic, strip_heif)
_AVIF_BRANDS: Final = {b"avif", b"avis"}
_HEIC_BRANDS: Final = {b"heic", b"heix", b"heim", b"heis"}
_HEIC_SEQUENCES: Final = {b"hevc", b"hevx", b"hevm", b"hevs", b"msf1"}
