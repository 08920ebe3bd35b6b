"""A pen that paints polygons, stripes, discs and emblems as one artist would.

Knows geometry and the outlines of emblems. x and y are fractions of the frame's width and height,
sizes and thicknesses are fractions of its shorter side, so that discs stay round in every ratio.
An outline is a polygon inside the unit circle, y down, its points complex numbers. Knows no flag.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable
from functools import cache

from PIL import Image, ImageDraw

from rag_vqa.demo.drawing.colours import Colour, Style
from rag_vqa.errors import UsageError

Outline = tuple[complex, ...]
_TURN = 2 * math.pi
_EAGLE = [(0, -0.95), (0.12, -0.8), (0.1, -0.55), (0.3, -0.5), (0.75, -0.85), (0.95, -0.5),
          (0.9, 0.0), (0.62, 0.1), (0.6, 0.4), (0.35, 0.3), (0.22, 0.5), (0.42, 0.75),
          (0.18, 0.7), (0.12, 0.95), (0, 0.85)]  # fmt: skip
_DOUBLE_EAGLE = [(0, -0.45), (0.12, -0.75), (0.3, -0.95), (0.5, -0.8), (0.3, -0.7), (0.28, -0.5),
                 (0.8, -0.7), (0.98, -0.35), (0.9, 0.0), (0.65, 0.0), (0.72, 0.3), (0.4, 0.2),
                 (0.35, 0.5), (0.55, 0.8), (0.2, 0.65), (0, 1.0)]  # fmt: skip
_MAPLE = [(0, -1.0), (0.19, -0.64), (0.4, -0.76), (0.31, -0.22), (0.58, -0.5), (0.64, -0.36),
          (0.94, -0.4), (0.83, -0.1), (0.98, 0.0), (0.52, 0.36), (0.58, 0.52), (0.05, 0.45),
          (0.07, 1.0)]  # fmt: skip
_CEDAR = [(0, -1.0), (0.25, -0.75), (0.2, -0.65), (0.5, -0.4), (0.4, -0.3), (0.75, 0.0),
          (0.6, 0.08), (0.95, 0.5), (0.3, 0.45), (0.12, 0.5), (0.14, 0.9), (0.3, 1.0)]  # fmt: skip
_SHIELD = [(0, -1.0), (0.8, -1.0), (0.8, 0.1), (0.65, 0.5), (0.35, 0.82), (0, 1.0)]
_CROWN = [(0, -0.8), (0.15, -0.3), (0.6, -0.75), (0.62, -0.2), (1.0, -0.5), (0.8, 0.6)]
_TRIDENT = [(0, -1.0), (0.12, -0.7), (0.07, -0.6), (0.07, -0.1), (0.32, -0.15), (0.42, -0.5),
            (0.36, -0.62), (0.62, -0.85), (0.66, -0.5), (0.5, 0.15), (0.07, 0.2),
            (0.1, 1.0)]  # fmt: skip
_TREE = [(0, -0.9), (0.4, -0.85), (0.8, -0.5), (0.9, -0.1), (0.6, 0.2), (0.15, 0.2), (0.12, 0.7),
         (0.4, 1.0)]  # fmt: skip
_BIRD = (
    -1.0 - 0.55j, -0.35 - 0.35j, -0.1 - 0.6j, 0.1 - 1.0j, 0.3 - 0.95j, 0.15 - 0.45j, 0.6 - 0.6j,
    1.0 - 0.2j, 0.5 - 0.1j, 0.25 + 0.2j, 0.4 + 0.9j, 0.1 + 0.6j, -0.15 + 1.0j, -0.1 + 0.3j,
    -0.5 + 0.1j,
)  # fmt: skip
_LION = (
    -0.9 - 0.3j, -0.6 - 0.75j, -0.25 - 0.8j, -0.1 - 0.4j, 0.5 - 0.35j, 0.75 - 0.9j, 1.0 - 0.9j,
    0.85 - 0.3j, 0.8 + 0.2j, 0.95 + 0.9j, 0.6 + 0.9j, 0.4 + 0.3j, -0.1 + 0.35j, -0.2 + 0.9j,
    -0.5 + 0.9j, -0.45 + 0.2j, -0.75 + 0.1j,
)  # fmt: skip
_DRAGON = (
    -1.0 + 0.5j, -0.8 + 0.1j, -0.5 + 0.3j, -0.45 - 0.1j, -0.15 + 0.1j, -0.05 - 0.35j,
    0.2 - 0.1j, 0.35 - 0.6j, 0.6 - 0.35j, 0.95 - 0.75j, 0.85 - 0.2j, 0.6 - 0.05j, 0.5 + 0.25j,
    0.2 + 0.15j, 0.05 + 0.5j, -0.25 + 0.35j, -0.4 + 0.65j, -0.7 + 0.45j,
)  # fmt: skip
_LEAF = (-1.0 + 0j, -0.4 - 0.4j, 0.3 - 0.4j, 1.0 + 0j, 0.3 + 0.4j, -0.4 + 0.4j)
_PLUS = (
    -0.31 - 1j, 0.31 - 1j, 0.31 - 0.31j, 1 - 0.31j, 1 + 0.31j, 0.31 + 0.31j, 0.31 + 1j,
    -0.31 + 1j, -0.31 + 0.31j, -1 + 0.31j, -1 - 0.31j, -0.31 - 0.31j,
)  # fmt: skip
_SWORD = (-1 + 0j, -0.6 - 0.09j, 0.55 - 0.09j, 0.55 - 0.3j, 0.65 - 0.3j, 0.65 - 0.09j, 1 - 0.09j,
          1 + 0.09j, 0.65 + 0.09j, 0.65 + 0.3j, 0.55 + 0.3j, 0.55 + 0.09j,
          -0.6 + 0.09j)  # fmt: skip
Point = tuple[float, float]


def _circle_point(radius: float, turn: float) -> complex:
    """The point at `turn` clockwise from the top, in turns."""
    return cmath.rect(radius, _TURN * (turn - 0.25))


def _arc(radius: float, start: float, end: float, n: int = 24, centre: complex = 0j) -> Outline:
    return tuple(
        centre + _circle_point(radius, start + (end - start) * i / n) for i in range(n + 1)
    )


def _star(points: int, inner: float) -> tuple[Outline, ...]:
    corners = (_circle_point(inner if i % 2 else 1.0, i / (2 * points)) for i in range(2 * points))
    return (tuple(corners),)


def _with_hole(outline: Outline, hole: float) -> tuple[Outline, ...]:
    """The outline with a hole in its form: walked out, then back at a fraction of the size."""
    back = (outline[0], *reversed(outline))
    return ((*outline, outline[0], *(hole * z for z in back)),)


def _crescent(cut: float, offset: float) -> tuple[Outline, ...]:
    """A disc less a disc of radius `cut` shifted to the right by `offset`; horns point right."""
    # The two circles meet where x = (1 - cut² + offset²) / (2 offset).
    x = (1 - cut * cut + offset * offset) / (2 * offset)
    outer = math.acos(x) / _TURN
    inner = math.acos((x - offset) / cut) / _TURN
    far = _arc(1.0, 0.25 + outer, 1.25 - outer)
    near = _arc(cut, 1.25 - inner, 0.25 + inner, centre=complex(offset, 0))
    return (far + near,)


def _ring(inner: float) -> Outline:
    return _arc(1.0, 0, 1) + _arc(inner, 1, 0)


def _sun(rays: int, disc: float) -> tuple[Outline, ...]:
    half = 0.30 / rays
    beams = [
        (
            _circle_point(1.0, i / rays),
            _circle_point(disc + 0.08, i / rays + half),
            _circle_point(disc + 0.08, i / rays - half),
        )
        for i in range(rays)
    ]
    return (_arc(disc, 0, 1), *beams)


def _wheel(spokes: int) -> tuple[Outline, ...]:
    thin = 0.10 / spokes
    beams = [
        (
            _circle_point(0.9, i / spokes - thin),
            _circle_point(0.9, i / spokes + thin),
            _circle_point(0.1, i / spokes + 0.25),
        )
        for i in range(spokes)
    ]
    return (_ring(0.84), _arc(0.16, 0, 1, 12), *beams)


def _half(right: list[tuple[float, float]]) -> tuple[Outline, ...]:
    """A symmetric outline from its right half, top to bottom."""
    side = [complex(x, y) for x, y in right]
    return (tuple(side + [complex(-z.real, z.imag) for z in reversed(side)]),)


def _wreath() -> tuple[Outline, ...]:
    leaves: list[Outline] = []
    for i in range(7):
        turn = 0.54 + 0.06 * i
        for sign in (1, -1):
            base, tip = _circle_point(0.78, sign * turn), _circle_point(1.0, sign * (turn + 0.05))
            side = (
                _circle_point(0.96, sign * (turn - 0.01)),
                _circle_point(0.74, sign * (turn + 0.06)),
            )
            leaves.append((base, side[0], tip, side[1]))
    return tuple(leaves)


def _script() -> tuple[Outline, ...]:
    """A line of writing, 2 wide and about 0.5 high: strokes, hooks and dots."""
    strokes: list[Outline] = []
    for i in range(9):
        x, tall = -0.95 + 0.215 * i, 0.34 if i % 3 else 0.46
        strokes.append((x - tall * 1j, x + 0.06 - tall * 1j, x + 0.07 + 0.12j, x + 0.01 + 0.12j))
        if i % 2:
            strokes.append((x - 0.12 + 0.06j, x + 0.18 + 0.04j, x + 0.16 + 0.14j, x - 0.1 + 0.2j))
        else:
            strokes.append((x + 0.1 - 0.1j, x + 0.18 - 0.1j, x + 0.18 - 0.02j, x + 0.1 - 0.02j))
    return tuple(strokes)


def _yin() -> tuple[Outline, ...]:
    """The upper half of the yin-yang: a half disc, with one bulge added and one taken away."""
    upper = _arc(1.0, 0.75, 1.25)
    right = _arc(0.5, 0.25, -0.25, 12, 0.5 + 0j)  # hollow
    left = _arc(0.5, 0.25, 0.75, 12, -0.5 + 0j)  # bulge
    return (upper + right + left,)


def _trigram(broken: tuple[bool, ...]) -> tuple[Outline, ...]:
    bars: list[Outline] = []
    for y, split in zip((-0.6, 0.0, 0.6), broken, strict=True):
        for a, b in ((-1.0, -0.08), (0.08, 1.0)) if split else ((-1.0, 1.0),):
            top, low = complex(0, y - 0.2), complex(0, y + 0.2)
            bars.append((a + top, b + top, b + low, a + low))
    return tuple(bars)


_FORMS: dict[str, Callable[[], tuple[Outline, ...]]] = {
    "star": lambda: _star(5, 0.382),
    "open star": lambda: _with_hole(_star(5, 0.382)[0], 0.66),
    "star4": lambda: _star(4, 0.35),
    "star6": lambda: _star(6, 0.577),
    "star7": lambda: _star(7, 0.5),
    "star8": lambda: _star(8, 0.55),
    "star12": lambda: _star(12, 0.6),
    "star14": lambda: _star(14, 0.55),
    "star24": lambda: _star(24, 0.75),
    "crescent": lambda: _crescent(0.8, 0.25),
    "thick crescent": lambda: _crescent(0.75, 0.42),
    "thin crescent": lambda: _crescent(0.88, 0.2),
    "disc": lambda: (_arc(1.0, 0, 1),),
    "ring": lambda: (_ring(0.72),),
    "thin ring": lambda: (_ring(0.86),),
    "sun": lambda: _sun(16, 0.55),
    "sun8": lambda: _sun(8, 0.45),
    "sun12": lambda: _sun(12, 0.55),
    "sun32": lambda: _sun(32, 0.6),
    "wheel": lambda: _wheel(24),
    "gear": lambda: _with_hole(_star(12, 0.8)[0], 0.6),
    "yin": _yin,
    "heaven": lambda: _trigram((False, False, False)),
    "earth": lambda: _trigram((True, True, True)),
    "water": lambda: _trigram((True, False, True)),
    "fire": lambda: _trigram((False, True, False)),
    "triangle": lambda: ((_circle_point(1, 0), _circle_point(1, 1 / 3), _circle_point(1, 2 / 3)),),
    "open triangle": lambda: _with_hole(
        (_circle_point(1, 0), _circle_point(1, 1 / 3), _circle_point(1, 2 / 3)), 0.7
    ),
    "diamond": lambda: ((-1j, 0.7 + 0j, 1j, -0.7 + 0j),),
    "square": lambda: ((-0.7 - 0.7j, 0.7 - 0.7j, 0.7 + 0.7j, -0.7 + 0.7j),),
    "plus": lambda: (_PLUS,),
    "wreath": _wreath,
    "script": _script,
    "eagle": lambda: _half(_EAGLE),
    "double eagle": lambda: _half(_DOUBLE_EAGLE),
    "maple": lambda: _half(_MAPLE),
    "cedar": lambda: _half(_CEDAR),
    "shield": lambda: _half(_SHIELD),
    "crown": lambda: _half(_CROWN),
    "trident": lambda: _half(_TRIDENT),
    "tree": lambda: _half(_TREE),
    "bird": lambda: (_BIRD,),
    "lion": lambda: (_LION,),
    "dragon": lambda: (_DRAGON,),
    "leaf": lambda: (_LEAF,),
    "sword": lambda: (_SWORD,),
}


EMBLEM_NAMES = tuple(_FORMS)


@cache
def emblem_outlines(name: str) -> tuple[Outline, ...]:
    """The polygons of an emblem, all of one colour.

    Raises UsageError for a name that is not in NAMES.
    """
    if name not in _FORMS:
        raise UsageError(f"no emblem {name!r}: choose one of {', '.join(EMBLEM_NAMES)}")
    return _FORMS[name]()


class Pen:
    """Paints into one rectangle of a picture, as one artist would."""

    def __init__(
        self, image: Image.Image, style: Style, left: float, top: float, w: float, h: float
    ) -> None:
        self.image, self.style = image, style
        self.left, self.top, self.w, self.h = left, top, w, h
        self.unit = min(w, h)
        self.ink = ImageDraw.Draw(image)

    def pixel(self, x: float, y: float) -> Point:
        """Pixels of a point given in fractions."""
        return self.left + x * self.w, self.top + y * self.h

    def fill(self, points: tuple[Point, ...], colour: Colour) -> None:
        """Fill a polygon given in fractions."""
        self.ink.polygon([self.pixel(x, y) for x, y in points], self.style.shade(colour))

    def rectangle(self, x: float, y: float, w: float, h: float, colour: Colour) -> None:
        """Fill an upright rectangle given in fractions."""
        (a, b), (c, d) = self.pixel(x, y), self.pixel(x + w, y + h)
        # PIL includes the last pixel.
        box = round(a), round(b), max(round(a), round(c) - 1), max(round(b), round(d) - 1)
        self.ink.rectangle(box, self.style.shade(colour))

    def stripe(self, start: Point, end: Point, thickness: float, colour: Colour) -> None:
        """Fill a straight stripe that runs on beyond both its ends."""
        a, b = complex(*self.pixel(*start)), complex(*self.pixel(*end))
        along = (b - a) / abs(b - a)
        side = 1j * along * thickness * self.unit / 2
        a, b = a - along * self.unit, b + along * self.unit
        corners = (a + side, b + side, b - side, a - side)
        self.ink.polygon([(z.real, z.imag) for z in corners], self.style.shade(colour))

    def disc(self, x: float, y: float, radius: float, colour: Colour) -> None:
        """Fill a round disc; the style moves and scales it."""
        cx, cy, r = self.place_emblem(x, y, radius)
        self.ink.ellipse((cx - r, cy - r, cx + r, cy + r), self.style.shade(colour))

    def place_emblem(self, x: float, y: float, size: float) -> tuple[float, float, float]:
        """Centre and radius in pixels of an emblem, where this artist puts it."""
        cx, cy = self.pixel(x, y)
        style = self.style
        return cx + style.dx * self.unit, cy + style.dy * self.unit, size * style.scale * self.unit

    def paint_emblem(
        self, name: str, x: float, y: float, size: float, colour: Colour, rotation: float = 0.0
    ) -> None:
        """Fill the polygons of a named emblem; rotation in degrees, clockwise."""
        cx, cy, r = self.place_emblem(x, y, size)
        turn = cmath.rect(r, math.radians(rotation + self.style.rotation))
        centre, shade = complex(cx, cy), self.style.shade(colour)
        for polygon in emblem_outlines(name):
            placed = (centre + turn * z for z in polygon)
            self.ink.polygon([(z.real, z.imag) for z in placed], shade)
