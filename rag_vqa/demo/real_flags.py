"""The flags of real countries by ISO 3166 code, and which half of the split each belongs to.

Training never draws them: invented_flags.py refuses what resembles one. Left out are flags that
cannot be told from one that is in (Chad, Monaco, Nicaragua), and those whose emblem cannot be
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

from rag_vqa.demo.flag import FlagSpec, signature
from rag_vqa.demo.real_africa import AFRICA
from rag_vqa.demo.real_americas import AMERICAS
from rag_vqa.demo.real_asia import ASIA
from rag_vqa.demo.real_europe import EUROPE

REAL: Mapping[str, FlagSpec] = MappingProxyType(
    dict(sorted((AFRICA | AMERICAS | ASIA | EUROPE).items()))
)
_NEAR = 0.08  # nearer than this, in the measure of flag.distance, is the same flag
_DEV_BYTES = 102  # of 256: two countries in five. Fixed before training; never to be changed


def split(code: str) -> Literal["dev", "test"]:
    """The half a country belongs to, by a hash of its code and of nothing else.

    >>> split("FR"), split("DE")
    ('dev', 'test')
    """
    return "dev" if hashlib.sha256(code.encode()).digest()[0] < _DEV_BYTES else "test"


@cache
def _real_signatures() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Signatures (N, 1152) of the real flags, and their squared lengths (N,)."""
    rows = np.stack([signature(spec) for spec in REAL.values()])
    return rows, np.square(rows).sum(1)


def resembles_real(spec: FlagSpec) -> bool:
    """Whether a flag is nearly that of a real country, shades aside."""
    rows, lengths = _real_signatures()
    mine = signature(spec)
    nearest = float((lengths - 2 * rows @ mine).min() + mine @ mine)
    return nearest < _NEAR * _NEAR * mine.size
