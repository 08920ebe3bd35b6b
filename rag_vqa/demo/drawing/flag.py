"""A flag is a ratio and layers of shapes; `draw_flag` paints it, canonically or in another style.

Knows nothing about countries: real_flags.py and invented_flags.py do. No picture files, no torch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rag_vqa.demo.drawing.colours import (
    CANONICAL,
    Colour,
    Style,
    colour_family,
    parse_colour,
    random_style,
)
from rag_vqa.demo.drawing.pen import Pen
from rag_vqa.demo.drawing.shapes import Shape
from rag_vqa.errors import UsageError

__all__ = [
    "CANONICAL",
    "Colour",
    "FlagSpec",
    "Style",
    "colour_family",
    "draw_flag",
    "flag_distance",
    "flag_signature",
    "parse_colour",
    "random_style",
]

_SIGNATURE_SIZE = (24, 16)
_PLAIN = Style(ratio=_SIGNATURE_SIZE[1] / _SIGNATURE_SIZE[0], flatten=True)


@dataclass(frozen=True, slots=True)
class FlagSpec:
    """What a flag is, apart from any artist: ratio is height to width, layers bottom to top."""

    ratio: float
    layers: tuple[Shape, ...]
    mirrored: bool = False


def draw_flag(spec: FlagSpec, width: int = 192, style: Style = CANONICAL) -> NDArray[np.uint8]:
    """The flag as (h, width, 3) uint8, antialiased; h follows from the style's or its own ratio.

    Raises UsageError where `width` is below 4.
    """
    if width < 4:
        raise UsageError(f"a flag {width} pixels wide shows nothing: ask for at least 4")
    fine = 3 if 48 < width <= 128 else 2
    height = max(3, round(width * (style.ratio or spec.ratio)))
    image = Image.new("RGB", (width * fine, height * fine), (255, 255, 255))
    full = image.width * style.widen
    pen = Pen(image, style, -(full - image.width) * style.anchor, 0, full, image.height)
    for layer in spec.layers:
        layer.paint(pen)
    pixels = np.asarray(image.reduce(fine))
    return np.ascontiguousarray(pixels[:, ::-1]) if spec.mirrored else pixels.copy()


def flag_signature(spec: FlagSpec) -> NDArray[np.float32]:
    """The flag as (1152,) numbers in [0, 1] that see neither shade nor ratio: 24 x 16 RGB."""
    pixels = draw_flag(spec, _SIGNATURE_SIZE[0], _PLAIN)
    return pixels.reshape(-1).astype(np.float32) / np.float32(255)


def flag_distance(a: FlagSpec, b: FlagSpec) -> float:
    """How different two flags look, whatever their shades: 0 is equal, black to white is 1.

    The root mean square difference of their signatures.
    """
    return float(np.sqrt(np.mean(np.square(flag_signature(a) - flag_signature(b)))))
