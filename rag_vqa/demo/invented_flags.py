"""Endless invented flags of the same grammar and colours as real ones, and none that is real.

Knows emblems and what lies upon a ground; grounds.py knows grounds, mutated_flags.py makes hard
negatives out of a flag.
"""

from __future__ import annotations

import numpy as np

from rag_vqa.demo.coats import Arms
from rag_vqa.demo.flag import FlagSpec
from rag_vqa.demo.grounds import GROUND_ODDS, GROUNDS, bands, plain
from rag_vqa.demo.palettes import choose, palette
from rag_vqa.demo.real_flags import resembles_real
from rag_vqa.demo.shades import Colour
from rag_vqa.demo.shapes import (
    Bands,
    Border,
    Box,
    Cross,
    Disc,
    Emblem,
    Saltire,
    Scatter,
    Shape,
    Triangle,
)

__all__ = ["charge", "invent", "resembles_real"]

_RATIOS = (2 / 3, 0.5, 0.6, 0.625, 0.75, 0.7, 10 / 19, 1.0)
_RATIO_ODDS = (0.46, 0.28, 0.10, 0.05, 0.03, 0.03, 0.03, 0.02)
_CHARGES = (
    "star", "star", "star", "disc", "crescent", "thick crescent", "thin crescent", "sun", "sun8",
    "sun12", "sun32", "star6", "star7", "star8", "star12", "star14", "star24", "star4", "plus",
    "wheel", "gear", "maple", "cedar", "tree", "eagle", "double eagle", "bird", "lion", "dragon",
    "trident", "crown", "diamond", "square", "ring", "thin ring", "triangle", "open triangle",
    "wreath", "script", "sword", "leaf", "shield", "yin",
)  # fmt: skip
_HEARTS = ("shield", "shield", "shield", "eagle", "double eagle", "disc", "sun", "tree", "lion",
           "crown", "bird", "square")  # fmt: skip


def _union(rng: np.random.Generator, field: Colour) -> tuple[Shape, ...]:
    """A canton of crosses on crosses."""
    pale, warm = palette(rng, 2, field)
    return (Bands((field,)), Saltire(0.2, pale), Saltire(0.08, warm), Cross(0.33, pale),
            Cross(0.2, warm))  # fmt: skip


def _canton(rng: np.random.Generator, beside: Colour) -> list[Shape]:
    field = palette(rng, 1, beside)[0]
    ink = palette(rng, 1, field)[0]
    w, h = float(rng.uniform(0.33, 0.5)), float(rng.choice((0.5, 0.5, 0.54, 0.67, 0.33)))
    kind = rng.random()
    if kind < 0.2:
        inner: tuple[Shape, ...] = _union(rng, field)
    elif kind < 0.4:
        columns, rows = int(rng.integers(2, 7)), int(rng.integers(2, 6))
        places = tuple(((i + 0.5) / columns, (j + 0.5) / rows)
                       for i in range(columns) for j in range(rows))  # fmt: skip
        inner = (Bands((field,)), Scatter("star", places, 0.35 / max(rows, columns), ink))
    elif kind < 0.5:
        inner = (Bands((field,)), Cross(0.22, ink))
    else:
        inner = (Bands((field,)), *charge(rng, field, 0.5, 0.5, 0.32))
    return [Box(0, 0, w, h, inner)]


def charge(rng: np.random.Generator, on: Colour, x: float, y: float, size: float) -> list[Shape]:
    """One emblem, or a group that belongs together, on a colour."""
    ink, second, third = palette(rng, 3, on)
    kind = rng.random()
    if kind < 0.22:
        return [
            Arms(x, y, size, tuple(palette(rng, int(rng.integers(2, 4)), on)), choose(rng, _HEARTS))
        ]
    if kind < 0.34:  # crescent and star
        moon = choose(rng, ("crescent", "thick crescent", "thin crescent"))
        star = choose(rng, ("star", "star", "star8", "star12"))
        inside = float(rng.uniform(0.15, 0.9))
        return [Emblem(moon, x, y, size, ink, float(rng.choice((0, 0, 0, -45, -90, 180)))),
                Emblem(star, x + size * inside * 0.7, y, size * 0.45, ink)]  # fmt: skip
    if kind < 0.44:  # something on a disc
        return [Disc(x, y, size, ink), Emblem(choose(rng, _CHARGES), x, y, size * 0.7, second)]
    if kind < 0.50:  # sun or wheel with a ring
        return [Emblem(choose(rng, ("sun", "sun12", "sun32", "star24")), x, y, size, ink),
                Disc(x, y, size * 0.5, second), Disc(x, y, size * 0.4, third)]  # fmt: skip
    if kind < 0.58:  # ring of stars
        n = int(rng.integers(4, 13))
        turns = 2 * np.pi * np.arange(n) / n
        places = tuple(zip((x + size * 0.6 * np.sin(turns)).tolist(),
                           (y - size * np.cos(turns)).tolist(), strict=True))  # fmt: skip
        return [Scatter("star", places, size * 0.2, ink)]
    if kind < 0.66:  # row, column or arc of stars
        n = int(rng.integers(2, 6))
        step = size * 1.6 / n
        dx, dy = ((0.7 * step, 0.0), (0.0, step), (0.5 * step, 0.5 * step))[int(rng.integers(3))]
        places = tuple((x + dx * (i - (n - 1) / 2), y + dy * (i - (n - 1) / 2)) for i in range(n))
        return [Scatter(choose(rng, ("star", "star", "diamond", "star4")), places, step * 0.4, ink)]
    charge = Emblem(
        choose(rng, _CHARGES), x, y, size, ink, float(rng.choice((0, 0, 0, 0, 30, -20)))
    )
    if rng.random() < 0.2:  # fimbriated
        return [Emblem(charge.name, x, y, size * 1.22, second, charge.rotation), charge]
    return [charge]


def _overlay(rng: np.random.Generator, under: list[Colour]) -> list[Shape]:
    """What lies upon the ground, if anything: about two flags in five are bare bands."""
    kind = rng.random()
    if kind < 0.17:
        first, second = palette(rng, 2, under[0])
        depth = float(rng.choice((0.3, 0.35, 0.4, 0.45, 0.5, 0.9)))
        layers: list[Shape] = [Triangle(depth, first)]
        if rng.random() < 0.25:
            layers = [Triangle(depth * 1.2, second), Triangle(depth, first)]
        if rng.random() < 0.45:
            layers += charge(rng, first, depth * 0.36, 0.5, float(rng.uniform(0.08, 0.16)))
        return layers
    if kind < 0.31:
        layers = _canton(rng, under[-1])
        if rng.random() < 0.3:
            layers += charge(rng, under[0], 0.75, 0.5, float(rng.uniform(0.12, 0.3)))
        return layers
    if kind < 0.37:
        return [Border(float(rng.uniform(0.05, 0.14)), palette(rng, 1, under[0])[0])]
    size = float(rng.uniform(0.10, 0.36))
    if kind < 0.72:
        return charge(rng, under[0], 0.5, 0.5, size)
    if kind < 0.90:
        x, y = float(rng.uniform(0.14, 0.42)), float(rng.choice((0.25, 0.3, 0.5, 0.5)))
        return charge(rng, under[0], x, y, min(size, 0.24))
    layers = charge(rng, under[0], 0.25, float(rng.uniform(0.25, 0.75)), size * 0.7)
    return layers + charge(rng, under[0], 0.75, float(rng.uniform(0.25, 0.75)), size * 0.7)


def invent(rng: np.random.Generator) -> FlagSpec:
    """A flag of no country, in the grammar and colours of real ones."""
    while True:
        ground = GROUNDS[int(rng.choice(len(GROUNDS), p=GROUND_ODDS))]
        layers, under = ground(rng)
        bare = 0.45 if ground is bands else 0.0 if ground is plain else 0.5
        if rng.random() >= bare:
            layers += _overlay(rng, under)
        spec = FlagSpec(float(rng.choice(_RATIOS, p=_RATIO_ODDS)), tuple(layers))
        if not resembles_real(spec):
            return spec
