"""Short ways to write down a flag: colours in hexadecimal, rows and columns of bands."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rag_vqa.demo.drawing.colours import parse_colour
from rag_vqa.demo.drawing.flag import FlagSpec
from rag_vqa.demo.drawing.pen import Point
from rag_vqa.demo.drawing.shapes import (
    Arms,
    Bands,
    Box,
    Cross,
    Disc,
    Emblem,
    Poly,
    Rect,
    Saltire,
    Scatter,
    Shape,
    Stripe,
    Triangle,
)


def flag(ratio: float, *layers: Shape) -> FlagSpec:
    """A flag of height to width `ratio`, layers bottom to top."""
    return FlagSpec(ratio, layers)


def rows(colours: str, *weights: float) -> Bands:
    """Horizontal bands, top to bottom."""
    return Bands(tuple(map(parse_colour, colours.split())), weights)


def columns(colours: str, *weights: float) -> Bands:
    """Vertical bands, hoist to fly."""
    return Bands(tuple(map(parse_colour, colours.split())), weights, vertical=True)


def rect(x: float, y: float, w: float, h: float, shade: str) -> Rect:
    """An upright rectangle."""
    return Rect(x, y, w, h, parse_colour(shade))


def poly(shade: str, *points: Point) -> Poly:
    """A polygon."""
    return Poly(points, parse_colour(shade))


def hoist(depth: float, shade: str) -> Triangle:
    """A triangle on the hoist."""
    return Triangle(depth, parse_colour(shade))


def cross(thickness: float, shade: str, x: float = 0.5) -> Cross:
    """An upright cross."""
    return Cross(thickness, parse_colour(shade), x)


def rising(thickness: float, shade: str) -> Stripe:
    """A stripe from the lower hoist to the upper fly."""
    return Stripe((0, 1), (1, 0), thickness, parse_colour(shade))


def disc(x: float, y: float, size: float, shade: str) -> Disc:
    """A disc of radius `size`."""
    return Disc(x, y, size, parse_colour(shade))


def emblem(name: str, x: float, y: float, size: float, shade: str, rotation: float = 0.0) -> Emblem:
    """One emblem of radius `size`."""
    return Emblem(name, x, y, size, parse_colour(shade), rotation)


def star(x: float, y: float, size: float, shade: str, rotation: float = 0.0) -> Emblem:
    """A five-pointed star."""
    return Emblem("star", x, y, size, parse_colour(shade), rotation)


def stars(places: Sequence[Point], size: float, shade: str, name: str = "star") -> Scatter:
    """Equal stars in many places."""
    return Scatter(name, tuple(places), size, parse_colour(shade))


def ring(n: int, x: float, y: float, radius: float, ratio: float) -> list[Point]:
    """n places on a circle whose radius is a fraction of the height, the first at the top."""
    turns = [2 * math.pi * i / n for i in range(n)]
    return [(x + radius * ratio * math.sin(t), y - radius * math.cos(t)) for t in turns]


def arms(x: float, y: float, size: float, colours: str, form: str = "shield") -> Arms:
    """A coat of arms, simplified."""
    return Arms(x, y, size, tuple(map(parse_colour, colours.split())), form)


_WHITE, _RED, _BLUE = parse_colour("fff"), parse_colour("c8102e"), parse_colour("012169")
UNION: tuple[Shape, ...] = (
    Bands((_BLUE,)), Saltire(0.2, _WHITE), Saltire(0.075, _RED), Cross(1 / 3, _WHITE),
    Cross(0.2, _RED),
)  # fmt: skip
UNION_CANTON = Box(0, 0, 0.5, 0.5, UNION)
