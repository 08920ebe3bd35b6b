"""Scoring kernels: late interaction on a CPU, compiled (native/) or by torch.

Knows the formulas, which kernels run here, and warns once if none was compiled. The torch kernel
multiplies whole numbers as floats, which is exact while D ≤ 1024; only its last sum, over a query's
tokens, may round otherwise than the compiled one. Does not know engines. C checks all sizes.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from rag_vqa.errors import UsageError
from rag_vqa.retriever.index import Keys, Positions, Scores, Tokens, _native
from rag_vqa.retriever.index.int8_quantization import Codes

TORCH_KERNEL = "torch"
_log = logging.getLogger("rag_vqa")
# Similarities computed at once: 1 MB of fp32, which stays in a core's cache.
_SIMILARITIES_AT_ONCE = 2**18


@dataclass(frozen=True, slots=True)
class QuantizedQueries:
    """Queries as whole numbers: `values` (Q, K, D) int8, each worth `scales` (Q, K) fp32."""

    values: NDArray[np.int8]
    scales: NDArray[np.float32]

    @classmethod
    def of(cls, queries: NDArray[np.float32]) -> QuantizedQueries:
        """(Q, K, D) → numbers, each off by half of its token's scale at most."""
        scales = np.abs(queries).max(axis=2) / np.float32(127)
        scales = np.maximum(scales, np.finfo(np.float32).tiny)
        return cls(np.rint(queries / scales[..., None]).astype(np.int8), scales)


@dataclass(frozen=True, slots=True)
class TopRows:
    """The m best rows so far: of each query `held` (Q), their scores and places (Q, m) first.

    A scan adds to it in place. They are in no order that means anything.
    """

    scores: Scores
    places: Positions
    held: NDArray[np.int64]

    @classmethod
    def none(cls, Q: int, m: int) -> TopRows:
        """Room for m rows of each query."""
        return cls(np.empty((Q, m), np.float32), np.empty((Q, m), np.int64), np.zeros(Q, np.int64))


class Kernel(Protocol):
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
        best: TopRows,
        codes: Codes,
        numbers: QuantizedQueries,
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


def select_kernel(D: int, kernel: str | None = None) -> Kernel:
    """The best that runs here for tokens of width D; or the one named.

    Raises:
        UsageError: the kernel named does not run here.
    """
    found = available_kernels(D)
    name = kernel or found[0]
    if name not in found:
        raise UsageError(f"Kernel {name!r} does not run here; there is: {', '.join(found)}.")
    if name == TORCH_KERNEL:
        if kernel is None:
            _warn_not_compiled()
        return TorchKernel()

    return NativeKernel(name)


def available_kernels(D: int) -> tuple[str, ...]:
    """Those that run here for tokens of width D, the best first."""
    try:
        from rag_vqa.retriever.index import _native
    except ImportError:
        return (TORCH_KERNEL,)
    return (*_native.names(D), TORCH_KERNEL)


@cache
def _warn_not_compiled() -> None:
    _log.warning(
        "Search runs without its compiled kernel, several times slower: it was not built, as "
        "there was no C compiler. Install one (Debian: apt install gcc python3-dev), then: "
        "python -m pip install --force-reinstall --no-deps rag-vqa"
    )


@dataclass(frozen=True, slots=True)
class NativeKernel:
    """One kernel of native/; see `Kernel`."""

    name: str
    releases: bool = True

    def scan(
        self,
        best: TopRows,
        codes: Codes,
        numbers: QuantizedQueries,
        keys: Keys,
        start: int,
        at: Positions | None,
    ) -> None:
        """See `Arithmetic.scan`."""
        K, D = numbers.values.shape[1:]
        J = codes.dtype["scales"].shape[0]
        _native.scan(
            *(codes, K, J, D, numbers.values, numbers.scales, keys, start, at),
            *(best.scores, best.places, best.held, self.name),
        )

    def rescore(self, tokens: Tokens, query: NDArray[np.float32], at: Positions) -> Scores:
        """See `Arithmetic.rescore`."""
        scores = np.empty(len(at), np.float32)
        K, D = query.shape
        _native.rescore(tokens, K, D, query, at, scores, self.name)
        return scores


@dataclass(frozen=True, slots=True)
class TorchKernel:
    """See `Kernel`."""

    name: str = TORCH_KERNEL
    releases: bool = False

    def scan(
        self,
        best: TopRows,
        codes: Codes,
        numbers: QuantizedQueries,
        keys: Keys,
        start: int,
        at: Positions | None,
    ) -> None:
        """See `Arithmetic.scan`."""
        Q, K, _ = numbers.values.shape
        J = codes.dtype["scales"].shape[0]
        at = np.arange(len(codes)) if at is None else at
        queries = torch.from_numpy(numbers.values.astype(np.float32))
        worth = torch.from_numpy(numbers.scales)
        step = max(1, _SIMILARITIES_AT_ONCE // (Q * K * J))
        for first in range(0, len(at), step):
            here = at[first : first + step]
            rows = codes[here]
            scales = torch.from_numpy(rows["scales"].astype(np.float32))
            values = torch.from_numpy(rows["values"].astype(np.float32))
            scores = (_max_similarities(queries, values, scales) * worth).sum(-1).T.numpy()
            for query in range(Q):
                _offer_rows(best, query, scores[query], here + start, keys)

    def rescore(self, tokens: Tokens, query: NDArray[np.float32], at: Positions) -> Scores:
        """See `Arithmetic.rescore`."""
        scores = np.empty(len(at), np.float32)
        queries = torch.from_numpy(query)[None]
        step = max(1, _SIMILARITIES_AT_ONCE // query.shape[0] ** 2)
        for start in range(0, len(at), step):
            rows = torch.from_numpy(tokens[at[start : start + step]].astype(np.float32))
            scores[start : start + step] = _max_similarities(queries, rows).sum(-1)[:, 0].numpy()
        return scores


def _offer_rows(best: TopRows, query: int, scores: Scores, places: Positions, keys: Keys) -> None:
    held = best.held[query]
    scores = np.concatenate([best.scores[query, :held], scores])
    places = np.concatenate([best.places[query, :held], places])
    order = np.lexsort((keys[places], -scores))[: best.scores.shape[1]]
    best.scores[query, : len(order)], best.places[query, : len(order)] = (
        scores[order],
        places[order],
    )
    best.held[query] = len(order)


def _max_similarities(
    queries: torch.Tensor, rows: torch.Tensor, scales: torch.Tensor | None = None
) -> torch.Tensor:
    """max_j Q_i · D_j, each product times the scale of its j: (Q, K, D), (N, J, D) → (N, Q, K)."""
    (Q, K, D), J = queries.shape, rows.shape[1]
    dots = rows.reshape(-1, D) @ queries.reshape(-1, D).T  # (N·J, Q·K)
    if scales is not None:
        dots = dots * scales.reshape(-1, 1)
    return dots.view(len(rows), J, Q * K).amax(1).view(len(rows), Q, K)
