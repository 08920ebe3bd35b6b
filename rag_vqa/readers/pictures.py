"""Pictures as a reader is given them: opened, at a ratio that processors take, scaled down.

It knows sizes, and which file it has looked at before. It does not know processors, servers or
prompts; `rag_vqa.images` opens.
"""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path

from PIL import Image

from rag_vqa import images
from rag_vqa.types import ImageSource

SLIMMEST = 100  # sides of a picture as one to so many: Qwen's processors refuse 1 to 200


class Pictures:
    """Opens pictures.

    Args:
        max_pixels: of one picture; larger ones are scaled down. None leaves them as they are.
    """

    def __init__(self, max_pixels: int | None = None) -> None:
        self._max_pixels = max_pixels
        self._file_size = lru_cache(maxsize=1024)(self._size_of_version)

    def open(self, image: ImageSource) -> Image.Image:
        """The picture, upright and in RGB. Raises BadImage or Missing, as `images.load`."""
        return scaled(_widened(images.load(image)), self._max_pixels)

    def size(self, image: ImageSource) -> tuple[int, int]:
        """Width and height as the model sees it. The budget asks often: files are decoded once."""
        version = _version(image) if isinstance(image, (str, Path)) else None
        return self.open(image).size if version is None else self._file_size(image, version)

    def _size_of_version(self, image: str | Path, version: tuple[int, ...]) -> tuple[int, int]:
        """`version` is for the cache alone, so that a file that changed is opened again."""
        return self.open(image).size


def _widened(picture: Image.Image) -> Image.Image:
    """A strip more than SLIMMEST times as long as wide, at that ratio and about as many pixels."""
    short, long = sorted(picture.size)
    if long <= SLIMMEST * short:
        return picture
    width = math.isqrt(short * long // SLIMMEST)
    sides = (width, SLIMMEST * width)
    by_height = picture.height > picture.width
    return picture.resize(sides if by_height else sides[::-1], Image.Resampling.BICUBIC)


def scaled(picture: Image.Image, max_pixels: int | None) -> Image.Image:
    """The picture with at most `max_pixels` pixels and about the same proportions.

    >>> scaled(Image.new("RGB", (400, 100)), 10_000).size
    (200, 50)
    """
    width, height = picture.size
    if max_pixels is None or width * height <= max_pixels:
        return picture
    by = math.sqrt(max_pixels / (width * height))
    # A side of one pixel stays; the other is then what fits.
    width = min(max(1, int(width * by)), max_pixels)
    height = min(max(1, int(height * by)), max_pixels // width)
    return picture.resize((width, height), Image.Resampling.BICUBIC)


def _version(path: str | Path) -> tuple[int, ...] | None:
    """Which file, and which state of it; None for what `images.load` is going to refuse."""
    try:
        found = Path(path).stat()
    except (OSError, ValueError):  # ValueError: NUL in the name
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
