"""Hard negatives: a flag that differs from another in one respect and belongs to no country.

Knows how shapes can be changed. invented_flags.py knows what flags look like.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from rag_vqa.demo.drawing.colours import Colour, choose_name, random_palette
from rag_vqa.demo.drawing.flag import FlagSpec, flag_distance
from rag_vqa.demo.drawing.invented_flags import random_emblem
from rag_vqa.demo.drawing.real_flags import resembles_real_flag
from rag_vqa.demo.drawing.shapes import Arms, Bands, Box, Disc, Emblem, Scatter, Shape

__all__ = ["is_same_flag", "mutate_flag"]

_VISIBLE = 0.06  # in the measure of flag.distance: a star of a tenth of the height is about this
_FORMS = ("star", "disc", "crescent", "sun", "plus", "diamond", "eagle", "tree", "triangle",
          "ring", "star7", "bird", "shield")  # fmt: skip


def is_same_flag(a: FlagSpec, b: FlagSpec) -> bool:
    """True if two flags look nearly alike, whatever their shades."""
    return flag_distance(a, b) < _VISIBLE


def _colours(shapes: tuple[Shape, ...]) -> list[Colour]:
    """The colours of shapes, each once, in order of appearance."""
    found: dict[Colour, None] = {}
    for shape in shapes:
        if isinstance(shape, Box):
            found |= dict.fromkeys(_colours(shape.layers))
        elif isinstance(shape, Bands | Arms):
            found |= dict.fromkeys(shape.colours)
        else:
            found[shape.colour] = None
    return list(found)


def _recolour_shape(shape: Shape, change: dict[Colour, Colour]) -> Shape:
    if isinstance(shape, Box):
        return replace(
            shape, layers=tuple(_recolour_shape(layer, change) for layer in shape.layers)
        )
    if isinstance(shape, Bands | Arms):
        return replace(shape, colours=tuple(change.get(c, c) for c in shape.colours))
    return replace(shape, colour=change.get(shape.colour, shape.colour))


def _recolour_flag(spec: FlagSpec, rng: np.random.Generator) -> FlagSpec:
    """One colour becomes another, everywhere or in one layer only."""
    at = int(rng.integers(len(spec.layers))) if rng.random() < 0.4 else None
    shapes = spec.layers if at is None else spec.layers[at : at + 1]
    present = _colours(shapes)
    old = present[int(rng.integers(len(present)))]
    change = {old: random_palette(rng, 1, old)[0]}
    layers = tuple(
        _recolour_shape(s, change) if at is None or i == at else s
        for i, s in enumerate(spec.layers)
    )
    return replace(spec, layers=layers)


def _swap_colours(spec: FlagSpec, rng: np.random.Generator) -> FlagSpec:
    """Two colours change places."""
    present = _colours(spec.layers)
    if len(present) < 2:
        return spec
    i, j = rng.choice(len(present), 2, replace=False)
    change = {present[i]: present[j], present[j]: present[i]}
    return replace(spec, layers=tuple(_recolour_shape(s, change) for s in spec.layers))


def _change_bands(spec: FlagSpec, rng: np.random.Generator) -> FlagSpec:
    """Bands change order, direction, widths or number."""
    ground = spec.layers[0]
    if not isinstance(ground, Bands) or len(ground.colours) < 2:
        return spec
    n = len(ground.colours)
    kind = rng.random()
    if kind < 0.4:
        order = rng.permutation(n).tolist()
        ground = replace(ground, colours=tuple(ground.colours[i] for i in order))
    elif kind < 0.7 and n <= 5:
        ground = replace(ground, vertical=not ground.vertical)
    elif kind < 0.85:
        at = int(rng.integers(n))
        ground = replace(ground, weights=tuple(2.0 if i == at else 1.0 for i in range(n)))
    else:
        extra = random_palette(rng, 1, ground.colours[-1])[0]
        ground = replace(ground, colours=(*ground.colours, extra), weights=())
    return replace(spec, layers=(ground, *spec.layers[1:]))


def _change_emblem(spec: FlagSpec, rng: np.random.Generator) -> FlagSpec:
    """An emblem moves, grows, shrinks or becomes another."""
    places = [i for i, s in enumerate(spec.layers) if isinstance(s, Disc | Emblem | Arms | Scatter)]
    if not places:
        return spec
    at = places[int(rng.integers(len(places)))]
    shape = spec.layers[at]
    kind = rng.random()
    if isinstance(shape, Scatter):
        fewer = tuple(p for p in shape.places if rng.random() < 0.6) or shape.places[:1]
        new: Shape = (
            replace(shape, places=fewer)
            if kind < 0.5
            else replace(shape, name=choose_name(rng, _FORMS))
        )
    elif not isinstance(shape, Disc | Emblem | Arms):
        return spec
    elif kind < 0.4:
        x, y = (float(v) for v in rng.uniform(0.2, 0.8, 2))
        new = replace(shape, x=x, y=y)
    elif kind < 0.6:
        new = replace(shape, size=shape.size * float(rng.choice((0.55, 1.6))))
    else:
        ink = shape.colours[0] if isinstance(shape, Arms) else shape.colour
        new = Emblem(choose_name(rng, _FORMS), shape.x, shape.y, shape.size, ink)
    return replace(spec, layers=(*spec.layers[:at], new, *spec.layers[at + 1 :]))


def _add_emblem(spec: FlagSpec, rng: np.random.Generator) -> FlagSpec:
    """An emblem is added in the middle, at the hoist or in the canton."""
    on = _colours(spec.layers)[0]
    x, y = ((0.5, 0.5), (0.25, 0.5), (0.2, 0.25), (0.75, 0.5))[int(rng.integers(4))]
    added = random_emblem(rng, on, x, y, float(rng.uniform(0.12, 0.26)))
    return replace(spec, layers=(*spec.layers, *added))


def _remove_layer(spec: FlagSpec, rng: np.random.Generator) -> FlagSpec:
    """A layer above the ground is left out."""
    if len(spec.layers) < 3:
        return spec
    at = int(rng.integers(1, len(spec.layers)))
    return replace(spec, layers=(*spec.layers[:at], *spec.layers[at + 1 :]))


def _mirror_flag(spec: FlagSpec, _: np.random.Generator) -> FlagSpec:
    """Hoist and fly change places."""
    return replace(spec, mirrored=not spec.mirrored)


_WAYS: tuple[Callable[[FlagSpec, np.random.Generator], FlagSpec], ...] = (
    _recolour_flag,
    _swap_colours,
    _change_bands,
    _change_emblem,
    _add_emblem,
    _remove_layer,
    _mirror_flag,
)
_ODDS = (0.34, 0.16, 0.18, 0.16, 0.07, 0.04, 0.05)


def mutate_flag(spec: FlagSpec, rng: np.random.Generator) -> FlagSpec:
    """A hard negative of a flag: one change, visible, and no flag of a real country."""
    while True:
        other = _WAYS[int(rng.choice(len(_WAYS), p=_ODDS))](spec, rng)
        if other is not spec and not is_same_flag(spec, other) and not resembles_real_flag(other):
            return other
