"""The flags of real countries by ISO 3166 code, and which half of the split each belongs to.

Reads flags.jsonl: a line holds a country's code, the flag's ratio of height to width, and its
layers from bottom to top, each the name of a shape (shapes.py) and the values of its fields in
order; what is left out at the end has the field's default. Coats of arms are simplified.

Training never draws these flags: invented_flags.py refuses a flag that resembles one. Left out are
flags that look like another one (Chad, Monaco, Nicaragua), and those whose emblem cannot be
simplified.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields
from fractions import Fraction
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from rag_vqa.demo.drawing.colours import parse_colour
from rag_vqa.demo.drawing.flag import FlagSpec, flag_signature
from rag_vqa.demo.drawing.shapes import Shape

_SHAPES: dict[str, type[Shape]] = {kind.__name__: kind for kind in get_args(Shape)}


def _read_flags() -> dict[str, FlagSpec]:
    """Every flag of flags.jsonl by its country's code."""
    text = files(__package__).joinpath("flags.jsonl").read_text(encoding="utf-8")
    found = {}
    for row in map(json.loads, text.splitlines()):
        layers = tuple(map(_build_shape, row["layers"]))
        found[row["code"]] = FlagSpec(float(Fraction(row["ratio"])), layers)
    return found


def _build_shape(row: list[Any]) -> Shape:
    """A shape from its name and the values of its fields."""
    name, *values = row
    kind = _SHAPES[name]
    named = zip(fields(kind), values, strict=False)
    return kind(**{field.name: _read_value(field.name, value) for field, value in named})


def _read_value(field: str, value: Any) -> Any:
    """A field's value: colours are hexadecimal, points are lists of two."""
    if field == "colour":
        return parse_colour(value)
    if field == "colours":
        return tuple(map(parse_colour, value.split()))
    if field == "layers":
        return tuple(map(_build_shape, value))
    if isinstance(value, list):
        return tuple(tuple(each) if isinstance(each, list) else each for each in value)
    return value


REAL_FLAGS: Mapping[str, FlagSpec] = MappingProxyType(_read_flags())
_SAME_FLAG_DISTANCE = 0.08  # nearer than this, in the measure of flag_distance, is the same flag
_DEV_BYTES = 102  # of 256: two countries in five. Fixed before training; never to be changed


def split_of(code: str) -> Literal["dev", "test"]:
    """The half a country belongs to, by a hash of its code and of nothing else.

    >>> split_of("FR"), split_of("DE")
    ('dev', 'test')
    """
    return "dev" if hashlib.sha256(code.encode()).digest()[0] < _DEV_BYTES else "test"


@cache
def _real_signatures() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Signatures (N, 1152) of the real flags, and their squared lengths (N,)."""
    rows = np.stack([flag_signature(spec) for spec in REAL_FLAGS.values()])
    return rows, np.square(rows).sum(1)


def resembles_real_flag(spec: FlagSpec) -> bool:
    """True if a flag looks nearly like that of a real country, whatever its shades."""
    rows, lengths = _real_signatures()
    mine = flag_signature(spec)
    nearest = float((lengths - 2 * rows @ mine).min() + mine @ mine)
    return nearest < _SAME_FLAG_DISTANCE * _SAME_FLAG_DISTANCE * mine.size
