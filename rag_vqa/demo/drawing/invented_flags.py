"""Invents flags without end, with the layouts and colours of real ones, none equal to a real one.

Knows the ground of a flag (bands, crosses, diagonals, quarters, rays, lozenges) and the emblems
that lie upon it. mutated_flags.py makes hard negatives out of a flag.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rag_vqa.demo.drawing.colours import Colour, choose_name, random_palette
from rag_vqa.demo.drawing.flag import FlagSpec
from rag_vqa.demo.drawing.real_flags import resembles_real_flag
from rag_vqa.demo.drawing.shapes import (
    Arms,
    Bands,
    Border,
    Box,
    Cross,
    Disc,
    Emblem,
    Poly,
    Rays,
    Rect,
    Saltire,
    Scatter,
    Serration,
    Shape,
    Stripe,
    Triangle,
    Weave,
)

__all__ = ["invent_flag", "random_emblem", "resembles_real_flag"]
Ground = tuple[list[Shape], list[Colour]]
GROUND_ODDS = (0.54, 0.17, 0.06, 0.065, 0.03, 0.075, 0.03, 0.03)
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


def banded_ground(rng: np.random.Generator) -> Ground:
    """Two to eleven bands, of which every other colour often repeats."""
    n = int(rng.choice((2, 3, 4, 5, 6, 7, 9, 11), p=(0.2, 0.55, 0.05, 0.1, 0.02, 0.03, 0.03, 0.02)))
    vertical = bool(n <= 4 and rng.random() < 0.33)
    colours = random_palette(rng, 4)
    kind = rng.random()
    if n == 3 and kind < 0.25:
        row = [colours[0], colours[1], colours[0]]
    elif n == 5 and kind < 0.8:
        row = [colours[0], colours[1], colours[2], colours[1], colours[0]]
        if kind < 0.3:
            row[4], row[3] = colours[3], colours[1]
    elif n >= 5:
        row = [colours[i % (2 if kind < 0.8 else 3)] for i in range(n)]
    else:
        row = colours[:n]
    weights: tuple[float, ...] = ()
    if n == 3 and rng.random() < 0.3:
        middle = float(rng.choice((0.5, 1.5, 2.0, 3.0)))
        weights = ((1, middle, 1), (2, 1, 1), (1, 1, 2), (1, middle, 1))[int(rng.integers(4))]
    elif n == 5 and rng.random() < 0.6:
        weights = ((1, 1, 2, 1, 1), (6, 1, 6, 1, 6), (3, 1, 6, 1, 3))[int(rng.integers(3))]
    return [Bands(tuple(row), weights, vertical)], [row[n // 2], *row]


def plain_ground(rng: np.random.Generator) -> Ground:
    """One colour; something must lie upon it."""
    field = random_palette(rng, 1)
    return [Bands((field[0],))], field


def _cross_ground(rng: np.random.Generator) -> Ground:
    field, inner, outer = random_palette(rng, 3)
    thick = float(rng.uniform(0.12, 0.3))
    x = float(rng.choice((0.36, 0.36, 0.5)))
    layers: list[Shape] = [Bands((field,))]
    if x == 0.5 and rng.random() < 0.4:
        other = random_palette(rng, 1, inner)[0]
        layers += [Rect(0.5, 0, 0.5, 0.5, other), Rect(0, 0.5, 0.5, 0.5, other)]
    if rng.random() < 0.5:
        layers.append(Cross(thick * 1.8, outer, x))
    saltire = rng.random() < 0.2
    layers.append(Saltire(thick * 0.8, inner) if saltire else Cross(thick, inner, x))
    return layers, [inner, field]


def _diagonal_ground(rng: np.random.Generator) -> Ground:
    upper, lower, middle, edge = random_palette(rng, 4)
    rises = rng.random() < 0.7
    a, b = ((0.0, 1.0), (1.0, 0.0)) if rises else ((0.0, 0.0), (1.0, 1.0))
    layers: list[Shape] = [Bands((upper if rng.random() < 0.7 else lower,))]
    layers.append(Poly((a, b, (1.0, 1.0) if rises else (0.0, 1.0)), lower))
    thick = float(rng.uniform(0.12, 0.35))
    if rng.random() < 0.8:
        if rng.random() < 0.6:
            layers.append(Stripe(a, b, thick * 1.4, edge))
        layers.append(Stripe(a, b, thick, middle))
        return layers, [middle, upper]
    return layers, [upper, lower]


def _quartered_ground(rng: np.random.Generator) -> Ground:
    a, b, c, d = random_palette(rng, 4)
    if rng.random() < 0.5:
        c, d = b, a
    return [Bands((a,)), Rect(0.5, 0, 0.5, 0.5, b), Rect(0, 0.5, 0.5, 0.5, c),
            Rect(0.5, 0.5, 0.5, 0.5, d)], [a, b]  # fmt: skip


def _hoist_band_ground(rng: np.random.Generator) -> Ground:
    """A hoist band beside horizontal bands, as Benin, Belarus, Oman."""
    layers, colours = banded_ground(rng)
    hoist = random_palette(rng, 1, colours[0])[0]
    part = float(rng.uniform(0.12, 0.42))
    if rng.random() < 0.25:
        layers.append(
            Serration(part, int(rng.integers(3, 10)), float(rng.uniform(0.08, 0.16)), hoist)
        )
    else:
        layers.append(Rect(0, 0, part, 1, hoist))
        if rng.random() < 0.4:
            ink, rows = random_palette(rng, 1, hoist)[0], int(rng.integers(4, 9))
            layers.append(Weave(part * 0.15, 0.03, part * 0.7, 0.94, rows, 2, ink))
    return layers, [hoist, *colours]


def _radiant_ground(rng: np.random.Generator) -> Ground:
    field, ray, third, fourth = random_palette(rng, 4)
    if rng.random() < 0.5:
        layers: list[Shape] = [
            Bands((field,)),
            Rays(0.5, 0.5, int(rng.choice((4, 8, 12))), ray, 0.4),
        ]
        return [*layers, Disc(0.5, 0.5, float(rng.uniform(0.12, 0.25)), ray)], [ray, field]
    a, b = sorted(rng.uniform(0.15, 0.95, 2).tolist())
    return [Bands((field,)), Poly(((0, 1), (a, 0), (1, 0), (1, b)), ray),
            Poly(((0, 1), (1, b * 0.4), (1, 1)), third),
            Poly(((0, 1), (1, 0.4 + b * 0.5), (1, 1)), fourth)], [ray, third]  # fmt: skip


def _lozenge_ground(rng: np.random.Generator) -> Ground:
    field, inner, side = random_palette(rng, 3)
    w, h = rng.uniform(0.3, 0.45, 2)
    layers: list[Shape] = [Bands((field,))]
    if rng.random() < 0.4:
        layers += [
            Poly(((0, 0), (0.5, 0.5), (0, 1)), side),
            Poly(((1, 0), (0.5, 0.5), (1, 1)), side),
        ]
    layers.append(Poly(((0.5, 0.5 - h), (0.5 + w, 0.5), (0.5, 0.5 + h), (0.5 - w, 0.5)), inner))
    return layers, [inner, field]


GROUNDS: tuple[Callable[[np.random.Generator], Ground], ...] = (
    banded_ground,
    plain_ground,
    _cross_ground,
    _diagonal_ground,
    _quartered_ground,
    _hoist_band_ground,
    _radiant_ground,
    _lozenge_ground,
)


def _union_layers(rng: np.random.Generator, field: Colour) -> tuple[Shape, ...]:
    """A canton of crosses on crosses."""
    pale, warm = random_palette(rng, 2, field)
    return (Bands((field,)), Saltire(0.2, pale), Saltire(0.08, warm), Cross(0.33, pale),
            Cross(0.2, warm))  # fmt: skip


def _random_canton(rng: np.random.Generator, beside: Colour) -> list[Shape]:
    field = random_palette(rng, 1, beside)[0]
    ink = random_palette(rng, 1, field)[0]
    w, h = float(rng.uniform(0.33, 0.5)), float(rng.choice((0.5, 0.5, 0.54, 0.67, 0.33)))
    kind = rng.random()
    if kind < 0.2:
        inner: tuple[Shape, ...] = _union_layers(rng, field)
    elif kind < 0.4:
        columns, rows = int(rng.integers(2, 7)), int(rng.integers(2, 6))
        places = tuple(((i + 0.5) / columns, (j + 0.5) / rows)
                       for i in range(columns) for j in range(rows))  # fmt: skip
        inner = (Bands((field,)), Scatter("star", places, 0.35 / max(rows, columns), ink))
    elif kind < 0.5:
        inner = (Bands((field,)), Cross(0.22, ink))
    else:
        inner = (Bands((field,)), *random_emblem(rng, field, 0.5, 0.5, 0.32))
    return [Box(0, 0, w, h, inner)]


def random_emblem(
    rng: np.random.Generator, on: Colour, x: float, y: float, size: float
) -> list[Shape]:
    """One emblem, or a group that belongs together, on a colour."""
    ink, second, third = random_palette(rng, 3, on)
    kind = rng.random()
    if kind < 0.22:
        return [
            Arms(
                x,
                y,
                size,
                tuple(random_palette(rng, int(rng.integers(2, 4)), on)),
                choose_name(rng, _HEARTS),
            )
        ]
    if kind < 0.34:  # crescent and star
        moon = choose_name(rng, ("crescent", "thick crescent", "thin crescent"))
        star = choose_name(rng, ("star", "star", "star8", "star12"))
        inside = float(rng.uniform(0.15, 0.9))
        return [Emblem(moon, x, y, size, ink, float(rng.choice((0, 0, 0, -45, -90, 180)))),
                Emblem(star, x + size * inside * 0.7, y, size * 0.45, ink)]  # fmt: skip
    if kind < 0.44:  # something on a disc
        return [Disc(x, y, size, ink), Emblem(choose_name(rng, _CHARGES), x, y, size * 0.7, second)]
    if kind < 0.50:  # sun or wheel with a ring
        return [
            Emblem(choose_name(rng, ("sun", "sun12", "sun32", "star24")), x, y, size, ink),
            Disc(x, y, size * 0.5, second),
            Disc(x, y, size * 0.4, third),
        ]
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
        return [
            Scatter(choose_name(rng, ("star", "star", "diamond", "star4")), places, step * 0.4, ink)
        ]
    charge = Emblem(
        choose_name(rng, _CHARGES), x, y, size, ink, float(rng.choice((0, 0, 0, 0, 30, -20)))
    )
    if rng.random() < 0.2:  # fimbriated
        return [Emblem(charge.name, x, y, size * 1.22, second, charge.rotation), charge]
    return [charge]


def _random_overlay(rng: np.random.Generator, under: list[Colour]) -> list[Shape]:
    """What lies upon the ground, if anything: about two flags in five are bare bands."""
    kind = rng.random()
    if kind < 0.17:
        first, second = random_palette(rng, 2, under[0])
        depth = float(rng.choice((0.3, 0.35, 0.4, 0.45, 0.5, 0.9)))
        layers: list[Shape] = [Triangle(depth, first)]
        if rng.random() < 0.25:
            layers = [Triangle(depth * 1.2, second), Triangle(depth, first)]
        if rng.random() < 0.45:
            layers += random_emblem(rng, first, depth * 0.36, 0.5, float(rng.uniform(0.08, 0.16)))
        return layers
    if kind < 0.31:
        layers = _random_canton(rng, under[-1])
        if rng.random() < 0.3:
            layers += random_emblem(rng, under[0], 0.75, 0.5, float(rng.uniform(0.12, 0.3)))
        return layers
    if kind < 0.37:
        return [Border(float(rng.uniform(0.05, 0.14)), random_palette(rng, 1, under[0])[0])]
    size = float(rng.uniform(0.10, 0.36))
    if kind < 0.72:
        return random_emblem(rng, under[0], 0.5, 0.5, size)
    if kind < 0.90:
        x, y = float(rng.uniform(0.14, 0.42)), float(rng.choice((0.25, 0.3, 0.5, 0.5)))
        return random_emblem(rng, under[0], x, y, min(size, 0.24))
    layers = random_emblem(rng, under[0], 0.25, float(rng.uniform(0.25, 0.75)), size * 0.7)
    return layers + random_emblem(rng, under[0], 0.75, float(rng.uniform(0.25, 0.75)), size * 0.7)


def invent_flag(rng: np.random.Generator) -> FlagSpec:
    """A flag of no country, in the grammar and colours of real ones."""
    while True:
        ground = GROUNDS[int(rng.choice(len(GROUNDS), p=GROUND_ODDS))]
        layers, under = ground(rng)
        bare = 0.45 if ground is banded_ground else 0.0 if ground is plain_ground else 0.5
        if rng.random() >= bare:
            layers += _random_overlay(rng, under)
        spec = FlagSpec(float(rng.choice(_RATIOS, p=_RATIO_ODDS)), tuple(layers))
        if not resembles_real_flag(spec):
            return spec
