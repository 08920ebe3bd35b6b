"""Which arithmetic runs here: the compiled one, or torch's where there is no compiled one.

It knows the choice and says it once. The arithmetic itself is in native/ and portable.py.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rag_vqa.errors import UsageError
from rag_vqa.retriever.index.protocol import Codes, Keys, Positions, Scores, Tokens

PORTABLE = "torch"
_log = logging.getLogger("rag_vqa")


@dataclass(frozen=True, slots=True)
class Numbers:
    """Queries as whole numbers: `values` (Q, K, D) int8, each worth `scales` (Q, K) fp32."""

    values: NDArray[np.int8]
    scales: NDArray[np.float32]

    @classmethod
    def of(cls, queries: NDArray[np.float32]) -> Numbers:
        """(Q, K, D) → numbers, each off by half of its token's scale at most."""
        scales = np.abs(queries).max(axis=2) / np.float32(127)
        scales = np.maximum(scales, np.finfo(np.float32).tiny)
        return cls(np.rint(queries / scales[..., None]).astype(np.int8), scales)


@dataclass(frozen=True, slots=True)
class Best:
    """The m best rows so far: of each query `held` (Q), their scores and places (Q, m) first.

    A scan adds to it in place. They are in no order that means anything.
    """

    scores: Scores
    places: Positions
    held: NDArray[np.int64]

    @classmethod
    def none(cls, Q: int, m: int) -> Best:
        """Room for m rows of each query."""
        return cls(np.empty((Q, m), np.float32), np.empty((Q, m), np.int64), np.zeros(Q, np.int64))


class Arithmetic(Protocol):
    """What engines on a CPU are made of.

    Attributes:
        name: of the kernel.
        releases: whether other threads run meanwhile; else it uses the cores by itself.
    """

    @property
    def name(self) -> str: ...
    @property
    def releases(self) -> bool: ...

    def scan(
        self,
        best: Best,
        codes: Codes,
        numbers: Numbers,
        keys: Keys,
        start: int,
        at: Positions | None,
    ) -> None:
        """Offer rows to the best, by the scores of codes.

        Args:
            codes: (N,), of J tokens each: queries may have another number.
            keys: of all positions: of equal scores the lower key is better.
            start: position of the first row.
            at: (n,) which rows, counted from the first; None for all.
        """

    def rescore(self, tokens: Tokens, query: NDArray[np.float32], at: Positions) -> Scores:
        """Scores (n) of rows of fp16 tokens (N, K, D) with one query (K, D)."""


def arithmetic(D: int, kernel: str | None = None) -> Arithmetic:
    """The best that runs here for tokens of width D; or the one named.

    Raises:
        UsageError: the kernel named does not run here.
    """
    found = kernels(D)
    name = kernel or found[0]
    if name not in found:
        raise UsageError(f"Kernel {name!r} does not run here; there is: {', '.join(found)}.")
    if name == PORTABLE:
        from rag_vqa.retriever.index.portable import Portable

        if kernel is None:
            _announce()
        return Portable()
    from rag_vqa.retriever.index.compiled import Compiled

    return Compiled(name)


def kernels(D: int) -> tuple[str, ...]:
    """Those that run here for tokens of width D, the best first."""
    try:
        from rag_vqa.retriever.index import _native
    except ImportError:
        return (PORTABLE,)
    return (*_native.names(D), PORTABLE)


@cache
def _announce() -> None:
    _log.warning(
        "Search runs without its compiled kernel, several times slower: it was not built, as "
        "there was no C compiler. Install one (Debian: apt install gcc python3-dev), then: "
        "python -m pip install --force-reinstall --no-deps rag-vqa"
    )
