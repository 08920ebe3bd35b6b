"""What an invented flag is built on: bands, crosses, diagonals, quarters, rays, lozenges.

Each ground gives its layers and the colours, first of all the one in its middle, that an
emblem would stand on.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rag_vqa.demo.palettes import palette
from rag_vqa.demo.shades import Colour
from rag_vqa.demo.shapes import (
    Bands,
    Cross,
    Disc,
    Poly,
    Rays,
    Rect,
    Saltire,
    Serration,
    Shape,
    Stripe,
    Weave,
)

Ground = tuple[list[Shape], list[Colour]]


def bands(rng: np.random.Generator) -> Ground:
    """Two to eleven bands, of which every other colour often repeats."""
    n = int(rng.choice((2, 3, 4, 5, 6, 7, 9, 11), p=(0.2, 0.55, 0.05, 0.1, 0.02, 0.03, 0.03, 0.02)))
    vertical = bool(n <= 4 and rng.random() < 0.33)
    colours = palette(rng, 4)
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


def plain(rng: np.random.Generator) -> Ground:
    """One colour; something must lie upon it."""
    field = palette(rng, 1)
    return [Bands((field[0],))], field


def _cross(rng: np.random.Generator) -> Ground:
    field, inner, outer = palette(rng, 3)
    thick = float(rng.uniform(0.12, 0.3))
    x = float(rng.choice((0.36, 0.36, 0.5)))
    layers: list[Shape] = [Bands((field,))]
    if x == 0.5 and rng.random() < 0.4:
        other = palette(rng, 1, inner)[0]
        layers += [Rect(0.5, 0, 0.5, 0.5, other), Rect(0, 0.5, 0.5, 0.5, other)]
    if rng.random() < 0.5:
        layers.append(Cross(thick * 1.8, outer, x))
    saltire = rng.random() < 0.2
    layers.append(Saltire(thick * 0.8, inner) if saltire else Cross(thick, inner, x))
    return layers, [inner, field]


def _diagonal(rng: np.random.Generator) -> Ground:
    upper, lower, middle, edge = palette(rng, 4)
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


def _quarters(rng: np.random.Generator) -> Ground:
    a, b, c, d = palette(rng, 4)
    if rng.random() < 0.5:
        c, d = b, a
    return [Bands((a,)), Rect(0.5, 0, 0.5, 0.5, b), Rect(0, 0.5, 0.5, 0.5, c),
            Rect(0.5, 0.5, 0.5, 0.5, d)], [a, b]  # fmt: skip


def _mixed(rng: np.random.Generator) -> Ground:
    """A hoist band beside horizontal bands, as Benin, Belarus, Oman."""
    layers, colours = bands(rng)
    hoist = palette(rng, 1, colours[0])[0]
    part = float(rng.uniform(0.12, 0.42))
    if rng.random() < 0.25:
        layers.append(
            Serration(part, int(rng.integers(3, 10)), float(rng.uniform(0.08, 0.16)), hoist)
        )
    else:
        layers.append(Rect(0, 0, part, 1, hoist))
        if rng.random() < 0.4:
            ink, rows = palette(rng, 1, hoist)[0], int(rng.integers(4, 9))
            layers.append(Weave(part * 0.15, 0.03, part * 0.7, 0.94, rows, 2, ink))
    return layers, [hoist, *colours]


def _radiant(rng: np.random.Generator) -> Ground:
    field, ray, third, fourth = palette(rng, 4)
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


def _lozenge(rng: np.random.Generator) -> Ground:
    field, inner, side = palette(rng, 3)
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
    bands, plain, _cross, _diagonal, _quarters, _mixed, _radiant, _lozenge,
)  # fmt: skip
GROUND_ODDS = (0.54, 0.17, 0.06, 0.065, 0.03, 0.075, 0.03, 0.03)
