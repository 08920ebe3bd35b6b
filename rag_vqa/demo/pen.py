"""A pen that paints polygons, stripes, discs and emblems as one artist would.

Knows geometry: x and y are fractions of the frame's width and height, sizes and thicknesses
fractions of its shorter side, so that discs stay round in every ratio. Knows no flag.
"""

from __future__ import annotations

import cmath
import math

from PIL import Image, ImageDraw

from rag_vqa.demo.emblems import outlines
from rag_vqa.demo.shades import Colour, Style

Point = tuple[float, float]


class Pen:
    """Paints into one rectangle of a picture, as one artist would."""

    def __init__(
        self, image: Image.Image, style: Style, left: float, top: float, w: float, h: float
    ) -> None:
        self.image, self.style = image, style
        self.left, self.top, self.w, self.h = left, top, w, h
        self.unit = min(w, h)
        self.ink = ImageDraw.Draw(image)

    def at(self, x: float, y: float) -> Point:
        """Pixels of a point given in fractions."""
        return self.left + x * self.w, self.top + y * self.h

    def fill(self, points: tuple[Point, ...], colour: Colour) -> None:
        """Fill a polygon given in fractions."""
        self.ink.polygon([self.at(x, y) for x, y in points], self.style.shade(colour))

    def rectangle(self, x: float, y: float, w: float, h: float, colour: Colour) -> None:
        """Fill an upright rectangle given in fractions."""
        (a, b), (c, d) = self.at(x, y), self.at(x + w, y + h)
        # PIL includes the last pixel.
        box = round(a), round(b), max(round(a), round(c) - 1), max(round(b), round(d) - 1)
        self.ink.rectangle(box, self.style.shade(colour))

    def stripe(self, start: Point, end: Point, thickness: float, colour: Colour) -> None:
        """Fill a straight stripe that runs on beyond both its ends."""
        a, b = complex(*self.at(*start)), complex(*self.at(*end))
        along = (b - a) / abs(b - a)
        side = 1j * along * thickness * self.unit / 2
        a, b = a - along * self.unit, b + along * self.unit
        corners = (a + side, b + side, b - side, a - side)
        self.ink.polygon([(z.real, z.imag) for z in corners], self.style.shade(colour))

    def disc(self, x: float, y: float, radius: float, colour: Colour) -> None:
        """Fill a round disc; the style moves and scales it."""
        cx, cy, r = self.emblem(x, y, radius)
        self.ink.ellipse((cx - r, cy - r, cx + r, cy + r), self.style.shade(colour))

    def emblem(self, x: float, y: float, size: float) -> tuple[float, float, float]:
        """Centre and radius in pixels of an emblem, where this artist puts it."""
        cx, cy = self.at(x, y)
        style = self.style
        return cx + style.dx * self.unit, cy + style.dy * self.unit, size * style.scale * self.unit

    def outline(
        self, name: str, x: float, y: float, size: float, colour: Colour, rotation: float = 0.0
    ) -> None:
        """Fill an emblem's polygons; rotation in degrees, clockwise."""
        cx, cy, r = self.emblem(x, y, size)
        turn = cmath.rect(r, math.radians(rotation + self.style.rotation))
        centre, shade = complex(cx, cy), self.style.shade(colour)
        for polygon in outlines(name):
            placed = (centre + turn * z for z in polygon)
            self.ink.polygon([(z.real, z.imag) for z in placed], shade)
