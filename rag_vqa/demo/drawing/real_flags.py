"""The flags of real countries by ISO 3166 code, and which half of the split each belongs to.

Training never draws them: invented_flags.py refuses a flag that resembles one. Left out are flags
that cannot be told from one that is in (Chad, Monaco, Nicaragua), and those whose emblem cannot be
simplified.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rag_vqa.demo.drawing.flag import FlagSpec, flag_signature
from rag_vqa.demo.real_africa import AFRICA
from rag_vqa.demo.real_americas import AMERICAS
from rag_vqa.demo.real_asia import ASIA
from rag_vqa.demo.real_europe import EUROPE

REAL_FLAGS: Mapping[str, FlagSpec] = MappingProxyType(
    dict(sorted((AFRICA | AMERICAS | ASIA | EUROPE).items()))
)
_SAME_FLAG_DISTANCE = 0.08  # nearer than this, in the measure of flag.distance, is the same flag
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
    """Whether a flag is nearly that of a real country, shades aside."""
    rows, lengths = _real_signatures()
    mine = flag_signature(spec)
    nearest = float((lengths - 2 * rows @ mine).min() + mine @ mine)
    return nearest < _SAME_FLAG_DISTANCE * _SAME_FLAG_DISTANCE * mine.size
