"""The shapes that flags are made of, and how each paints itself.

Coordinates and sizes are those of pen.py. Coats of arms are simplified: colours and place are
right, what is on the shield differs between drawings of one flag. Knows no flag.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from rag_vqa.demo.drawing.colours import Colour
from rag_vqa.demo.drawing.pen import Pen, Point


@dataclass(frozen=True, slots=True)
class Arms:
    """A coat of arms or seal, simplified: right colours and place; the style invents the rest."""

    x: float
    y: float
    size: float
    colours: tuple[Colour, ...]
    form: str = "shield"  # the emblem at its heart

    def paint(self, pen: Pen) -> None:
        """Paint onto the pen's frame."""
        first, *others = self.colours
        second = others[0] if others else first
        dice = random.Random(pen.style.detail)
        name = self.form
        if pen.style.detail and dice.random() < 0.3:
            name = dice.choice(("shield", "eagle", "disc", "square", "star8", "double eagle"))
        if len(others) > 1:
            pen.paint_emblem("wreath", self.x, self.y, self.size, others[-1])
        pen.paint_emblem(name, self.x, self.y, self.size * (0.8 if len(others) > 1 else 1), first)
        pen.paint_emblem("diamond" if name == "shield" else "disc",
                    self.x, self.y, self.size * 0.38, second)  # fmt: skip
        if pen.style.detail:
            self._paint_details(pen, dice)

    def _paint_details(self, pen: Pen, dice: random.Random) -> None:
        """Small marks in the arms' colours, now and then in gold, white, brown or black."""
        extra: tuple[Colour, ...] = ((230, 190, 60), (255, 255, 255), (110, 70, 40), (20, 20, 20))
        for _ in range(dice.randint(2, 10)):
            angle, far = dice.uniform(0, 2 * math.pi), dice.uniform(0.1, 0.9) * self.size
            x = self.x + far * math.cos(angle) * pen.unit / pen.w
            y = self.y + far * math.sin(angle) * pen.unit / pen.h
            colour = dice.choice(self.colours if dice.random() < 0.7 else extra)
            name = dice.choice(("disc", "leaf", "star", "square", "plus"))
            pen.paint_emblem(
                name, x, y, self.size * dice.uniform(0.06, 0.22), colour, dice.uniform(0, 90)
            )


@dataclass(frozen=True, slots=True)
class Bands:
    """The whole frame in bands, top to bottom or, if vertical, left to right."""

    colours: tuple[Colour, ...]
    weights: tuple[float, ...] = ()  # equal when empty
    vertical: bool = False

    def paint(self, pen: Pen) -> None:
        """Paint onto the pen's frame."""
        weights = self.weights or (1.0,) * len(self.colours)
        factors = pen.style.bands
        if factors and len(weights) <= 5:
            weights = tuple(w * factors[i % len(factors)] for i, w in enumerate(weights))
        start, total = 0.0, sum(weights)
        for colour, weight in zip(self.colours, weights, strict=True):
            share = weight / total
            if self.vertical:
                pen.rectangle(start, 0, share, 1, colour)
            else:
                pen.rectangle(0, start, 1, share, colour)
            start += share


@dataclass(frozen=True, slots=True)
class Rect:
    """An upright rectangle, as of quarters."""

    x: float
    y: float
    w: float
    h: float
    colour: Colour

    def paint(self, pen: Pen) -> None:
        """Paint onto the pen's frame."""
        pen.rectangle(self.x, self.y, self.w, self.h, self.colour)


@dataclass(frozen=True, slots=True)
class Poly:
    """Any polygon of the frame: diagonal halves, diamonds, wedges."""

    points: tuple[Point, ...]
    colour: Colour

    def paint(self, pen: Pen) -> None:
        """Paint onto the pen's frame."""
        pen.fill(self.points, self.colour)


@dataclass(frozen=True, slots=True)
class Stripe:
    """A straight stripe between two points, running on to the edges."""

    start: Point
    end: Point
    thickness: float
    colour: Colour

    def paint(self, pen: Pen) -> None:
        """Paint onto the pen's frame."""
        pen.stripe(self.start, self.end, self.thickness * pen.style.thickness, self.colour)


@dataclass(frozen=True, slots=True)
class Cross:
    """An upright cross to the edges; x left of the middle makes it Nordic."""

    thickness: float
    colour: Colour
    x: float = 0.5
    y: float = 0.5

    def paint(self, pen: Pen) -> None:
        """Paint onto the pen's frame."""
        thick = self.thickness * pen.style.thickness * pen.unit
        w, h = thick / pen.w, thick / pen.h
        pen.rectangle(self.x - w / 2, 0, w, 1, self.colour)
        pen.rectangle(0, self.y - h / 2, 1, h, self.colour)


@dataclass(frozen=True, slots=True)
class Saltire:
    """A diagonal cross from corner to corner."""

    thickness: float
    colour: Colour

    def paint(self, pen: Pen) -> None:
        """Paint onto the pen's frame."""
        thick = self.thickness * pen.style.thickness
        pen.stripe((0, 0), (1, 1), thick, self.colour)
        pen.stripe((0, 1), (1, 0), thick, self.colour)


@dataclass(frozen=True, slots=True)
class Triangle:
    """A triangle on the hoist; depth is a fraction of the width."""

    depth: float
    colour: Colour

    def paint(self, pen: Pen) -> None:
        """Paint onto the pen's frame."""
        depth = self.depth * (1 + (pen.style.thickness - 1) / 2)
        pen.fill(((0, -0.01), (depth, 0.5), (0, 1.01)), self.colour)


@dataclass(frozen=True, slots=True)
class Serration:
    """The hoist side up to x in one colour, with teeth that point to the fly."""

    x: float
    teeth: int
    depth: float
    colour: Colour

    def paint(self, pen: Pen) -> None:
        """Paint onto the pen's frame."""
        edge: list[Point] = [(0, 0), (self.x, 0)]
        for i in range(self.teeth):
            edge += [(self.x + self.depth, (i + 0.5) / self.teeth), (self.x, (i + 1) / self.teeth)]
        pen.fill((*edge, (0, 1)), self.colour)


@dataclass(frozen=True, slots=True)
class Border:
    """A frame along all four edges."""

    thickness: float
    colour: Colour

    def paint(self, pen: Pen) -> None:
        """Paint onto the pen's frame."""
        thick = self.thickness * pen.style.thickness * pen.unit
        w, h = thick / pen.w, thick / pen.h
        for box in ((0, 0, 1, h), (0, 1 - h, 1, h), (0, 0, w, 1), (1 - w, 0, w, 1)):
            x, y, width, height = box
            pen.rectangle(x, y, width, height, self.colour)


@dataclass(frozen=True, slots=True)
class Rays:
    """Wedges that spread from a point to the edges; share is the part of the circle covered."""

    x: float
    y: float
    count: int
    colour: Colour
    share: float = 0.5
    turn: float = 0.0

    def paint(self, pen: Pen) -> None:
        """Paint onto the pen's frame."""
        half = math.pi * self.share / self.count
        for i in range(self.count):
            angle = 2 * math.pi * (i + self.turn) / self.count
            ends = ((self.x + 2 * math.sin(a), self.y - 2 * math.cos(a))
                    for a in (angle - half, angle + half))  # fmt: skip
            pen.fill(((self.x, self.y), *ends), self.colour)


@dataclass(frozen=True, slots=True)
class Disc:
    """A round disc."""

    x: float
    y: float
    size: float
    colour: Colour

    def paint(self, pen: Pen) -> None:
        """Paint onto the pen's frame."""
        pen.disc(self.x, self.y, self.size, self.colour)


@dataclass(frozen=True, slots=True)
class Emblem:
    """One emblem of emblems.NAMES; size is its radius, rotation in degrees clockwise."""

    name: str
    x: float
    y: float
    size: float
    colour: Colour
    rotation: float = 0.0

    def paint(self, pen: Pen) -> None:
        """Paint onto the pen's frame."""
        pen.paint_emblem(self.name, self.x, self.y, self.size, self.colour, self.rotation)


@dataclass(frozen=True, slots=True)
class Scatter:
    """The same emblem in many places."""

    name: str
    places: tuple[Point, ...]
    size: float
    colour: Colour
    rotation: float = 0.0

    def paint(self, pen: Pen) -> None:
        """Paint onto the pen's frame."""
        for x, y in self.places:
            pen.paint_emblem(self.name, x, y, self.size, self.colour, self.rotation)


@dataclass(frozen=True, slots=True)
class Weave:
    """A woven ornament: rows of small diamonds in a rectangle."""

    x: float
    y: float
    w: float
    h: float
    rows: int
    columns: int
    colour: Colour

    def paint(self, pen: Pen) -> None:
        """Paint onto the pen's frame."""
        dx, dy = self.w / self.columns, self.h / self.rows
        for row in range(self.rows):
            for column in range(self.columns):
                x, y = self.x + column * dx, self.y + row * dy
                points = (
                    (x + dx / 2, y),
                    (x + dx, y + dy / 2),
                    (x + dx / 2, y + dy),
                    (x, y + dy / 2),
                )
                pen.fill(points, self.colour)


@dataclass(frozen=True, slots=True)
class Box:
    """A canton or quarter: layers of its own, clipped to a rectangle of the frame."""

    x: float
    y: float
    w: float
    h: float
    layers: tuple[Shape, ...]

    def paint(self, pen: Pen) -> None:
        """Paint onto the pen's frame."""
        (a, b), (c, d) = pen.pixel(self.x, self.y), pen.pixel(self.x + self.w, self.y + self.h)
        left, top, w, h = round(a), round(b), max(1, round(c - a)), max(1, round(d - b))
        inside = pen.image.crop((left, top, left + w, top + h))
        inner = Pen(inside, pen.style, 0, 0, w, h)
        for layer in self.layers:
            layer.paint(inner)
        pen.image.paste(inside, (left, top))


Shape = (
    Bands | Rect | Poly | Stripe | Cross | Saltire | Triangle | Serration | Border | Rays | Disc
    | Emblem | Scatter | Arms | Weave | Box
)  # fmt: skip
