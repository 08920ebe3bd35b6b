"""Scoring on a CPU: compiled kernels (native/) or torch's, scans on all cores, rescoring in fp16.

Knows the formulas, which kernels run here, and warns once if none was compiled. The torch kernel
multiplies whole numbers as floats, which is exact while D ≤ 1024; only its last sum, over a query's
tokens, may round otherwise than the compiled one. Does not know how an engine finds its candidates.
C checks all sizes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from rag_vqa.errors import UsageError
from rag_vqa.retriever.index import Codes, Keys, Positions, Scores, Tokens
from rag_vqa.retriever.index.rows import RowBlock, RowBlocks, dequantize, top_k_order

TORCH_KERNEL = "torch"
_log = logging.getLogger("rag_vqa")
# Similarities that the torch kernel computes at once: 1 MB of fp32, which stays in a core's cache.
_SIMILARITIES_AT_ONCE = 2**18
_PIECE_ROWS = 8192  # rows that a thread scans at once
ScanResult = tuple[Scores, Positions]
ScanPiece = tuple[RowBlock, Positions | None, int]  # a block, rows chosen in it, the first of them


try:
    from rag_vqa.retriever.index import _native
except ImportError:  # nothing was compiled: the extension is optional
    _native = None  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class QuantizedQueries:
    """Queries as whole numbers: `values` (Q, K, D) int8, each worth `scales` (Q, K) fp32."""

    values: NDArray[np.int8]
    scales: NDArray[np.float32]

    @classmethod
    def quantize(cls, queries: NDArray[np.float32]) -> QuantizedQueries:
        """(Q, K, D) → whole numbers, each off by at most half of its token's scale."""
        scales = np.abs(queries).max(axis=2) / np.float32(127)
        scales = np.maximum(scales, np.finfo(np.float32).tiny)
        return cls(np.rint(queries / scales[..., None]).astype(np.int8), scales)


@dataclass(frozen=True, slots=True)
class TopRows:
    """The m best rows so far, in no particular order. A scan updates them in place.

    Attributes:
        scores, positions: (Q, m), of which the first `count` (Q) are filled.
    """

    scores: Scores
    positions: Positions
    count: NDArray[np.int64]

    @classmethod
    def allocate(cls, Q: int, m: int) -> TopRows:
        """Room for m rows of each query, all empty."""
        return cls(np.empty((Q, m), np.float32), np.empty((Q, m), np.int64), np.zeros(Q, np.int64))


class Kernel(Protocol):
    """The arithmetic of engines on a CPU.

    Attributes:
        name: of the kernel.
        releases_gil: whether other threads run meanwhile; else it uses the cores by itself.
    """

    @property
    def name(self) -> str: ...
    @property
    def releases_gil(self) -> bool: ...

    def scan(
        self,
        best: TopRows,
        codes: Codes,
        queries: QuantizedQueries,
        keys: Keys,
        start: int,
        chosen: Positions | None,
    ) -> None:
        """Score rows by their codes, and put the best into `best`.

        Args:
            codes: (N,), of J tokens each: queries may have another number.
            keys: of all positions: of equal scores the lower key is better.
            start: position of the first row.
            chosen: (n,) which rows to score, counted from the first; None for all.
        """

    def rescore(self, tokens: Tokens, query: NDArray[np.float32], chosen: Positions) -> Scores:
        """Scores (n) of the chosen rows of fp16 tokens (N, K, D) with one query (K, D)."""


def select_kernel(D: int, name: str | None = None) -> Kernel:
    """The fastest kernel that runs here for tokens of width D, or the one of that name.

    Raises:
        UsageError: the kernel of that name does not run here.
    """
    available = available_kernels(D)
    selected = name or available[0]
    if selected not in available:
        raise UsageError(
            f"Kernel {selected!r} does not run here; there is: {', '.join(available)}."
        )
    if selected != TORCH_KERNEL:
        return NativeKernel(selected)
    if name is None:
        _warn_not_compiled()
    return TorchKernel()


def available_kernels(D: int) -> tuple[str, ...]:
    """Names of the kernels that run here for tokens of width D, the fastest first."""
    return (TORCH_KERNEL,) if _native is None else (*_native.names(D), TORCH_KERNEL)


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
    releases_gil: bool = True

    def scan(
        self,
        best: TopRows,
        codes: Codes,
        queries: QuantizedQueries,
        keys: Keys,
        start: int,
        chosen: Positions | None,
    ) -> None:
        """See `Kernel.scan`."""
        K, D = queries.values.shape[1:]
        J = codes.dtype["scales"].shape[0]
        _native.scan(
            *(codes, K, J, D, queries.values, queries.scales, keys, start, chosen),
            *(best.scores, best.positions, best.count, self.name),
        )

    def rescore(self, tokens: Tokens, query: NDArray[np.float32], chosen: Positions) -> Scores:
        """See `Kernel.rescore`."""
        scores = np.empty(len(chosen), np.float32)
        K, D = query.shape
        _native.rescore(tokens, K, D, query, chosen, scores, self.name)
        return scores


@dataclass(frozen=True, slots=True)
class TorchKernel:
    """The kernels of native/ by torch and numpy, where nothing was compiled; see `Kernel`."""

    name: str = TORCH_KERNEL
    releases_gil: bool = False

    def scan(
        self,
        best: TopRows,
        codes: Codes,
        queries: QuantizedQueries,
        keys: Keys,
        start: int,
        chosen: Positions | None,
    ) -> None:
        """See `Kernel.scan`."""
        Q, K, _ = queries.values.shape
        J = codes.dtype["scales"].shape[0]
        chosen = np.arange(len(codes)) if chosen is None else chosen
        values = torch.from_numpy(queries.values.astype(np.float32))
        scales = torch.from_numpy(queries.scales)
        step = max(1, _SIMILARITIES_AT_ONCE // (Q * K * J))
        for first in range(0, len(chosen), step):
            piece = chosen[first : first + step]
            rows = codes[piece]
            row_scales = torch.from_numpy(rows["scales"].astype(np.float32))
            row_values = torch.from_numpy(rows["values"].astype(np.float32))
            maxima = _max_similarities(values, row_values, row_scales)  # (n, Q, K)
            scores = (maxima * scales).sum(-1).T.numpy()
            for query in range(Q):
                _offer_rows(best, query, scores[query], piece + start, keys)

    def rescore(self, tokens: Tokens, query: NDArray[np.float32], chosen: Positions) -> Scores:
        """See `Kernel.rescore`."""
        scores = np.empty(len(chosen), np.float32)
        queries = torch.from_numpy(query)[None]
        step = max(1, _SIMILARITIES_AT_ONCE // query.shape[0] ** 2)
        for start in range(0, len(chosen), step):
            rows = torch.from_numpy(tokens[chosen[start : start + step]].astype(np.float32))
            maxima = _max_similarities(queries, rows)  # (n, 1, K)
            scores[start : start + step] = maxima.sum(-1)[:, 0].numpy()
        return scores


def _offer_rows(
    best: TopRows, query: int, scores: Scores, positions: Positions, keys: Keys
) -> None:
    """Merge rows into the best of one query."""
    count = best.count[query]
    scores = np.concatenate([best.scores[query, :count], scores])
    positions = np.concatenate([best.positions[query, :count], positions])
    order = np.lexsort((keys[positions], -scores))[: best.scores.shape[1]]
    best.scores[query, : len(order)] = scores[order]
    best.positions[query, : len(order)] = positions[order]
    best.count[query] = len(order)


def _max_similarities(
    queries: torch.Tensor, rows: torch.Tensor, scales: torch.Tensor | None = None
) -> torch.Tensor:
    """max_j Q_i · D_j, each product times the scale of its j: (Q, K, D), (N, J, D) → (N, Q, K)."""
    (Q, K, D), J = queries.shape, rows.shape[1]
    dots = rows.reshape(-1, D) @ queries.reshape(-1, D).T  # (N·J, Q·K)
    if scales is not None:
        dots = dots * scales.reshape(-1, 1)
    return dots.view(len(rows), J, Q * K).amax(1).view(len(rows), Q, K)


def full_codes(block: RowBlock) -> Codes:
    """The codes of all tokens of each row."""
    return block.codes


def scan_codes(
    rows: RowBlocks,
    kernel: Kernel,
    queries: NDArray[np.float32],
    positions: Positions | None,
    m: int,
    codes_of: Callable[[RowBlock], Codes] = full_codes,
) -> list[ScanResult]:
    """For each query (Q, K, D) the m best rows by codes: their scores and ascending positions.

    Args:
        positions: to choose from, ascending; None for all.
        codes_of: gives the codes of a block to scan.
    """
    quantized = QuantizedQueries.quantize(queries)
    m = min(m, len(rows) if positions is None else len(positions))
    pieces = [
        (block, chosen, first)
        for block, chosen in rows.select(positions)
        for first in range(0, len(block) if chosen is None else len(chosen), _PIECE_ROWS)
    ]

    def scan_pieces(pieces: list[ScanPiece]) -> TopRows:
        best = TopRows.allocate(len(queries), m)
        for block, chosen, first in pieces:
            piece, codes, start = slice(first, first + _PIECE_ROWS), codes_of(block), block.start
            if chosen is None:
                codes, start = codes[piece], start + first
            wanted = None if chosen is None else chosen[piece]
            kernel.scan(best, codes, quantized, rows.keys, start, wanted)
        return best

    threads = min(torch.get_num_threads() if kernel.releases_gil else 1, len(pieces))
    if threads > 1:
        with ThreadPoolExecutor(threads) as pool:
            found = list(pool.map(scan_pieces, [pieces[t::threads] for t in range(threads)]))
    else:
        found = [scan_pieces(pieces)]
    return [_merge_threads(rows, found, query, m) for query in range(len(queries))]


def _merge_threads(
    rows: RowBlocks, thread_results: list[TopRows], query: int, m: int
) -> ScanResult:
    """The m best rows of a query, out of those that each thread found."""
    scores = np.concatenate([best.scores[query, : best.count[query]] for best in thread_results])
    positions = np.concatenate(
        [best.positions[query, : best.count[query]] for best in thread_results]
    )
    if len(scores) > m:
        order = top_k_order(scores, rows.keys[positions], m)
        scores, positions = scores[order], positions[order]
    ascending = np.argsort(positions)
    return scores[ascending], positions[ascending]


def rescore(
    rows: RowBlocks, kernel: Kernel, query: NDArray[np.float32], positions: Positions
) -> Scores:
    """Scores (n) of the rows at ascending positions with a query (K, D).

    Scores their fp16 tokens, or the dequantized codes of rows without tokens.
    """
    found = []
    for block, chosen in rows.select(positions):
        assert chosen is not None
        if block.tokens is None:
            tokens = dequantize(block.codes[chosen]).astype(np.float16)
            chosen = np.arange(len(chosen))
        else:
            tokens = block.tokens
        found.append(kernel.rescore(tokens, query, chosen))
    return np.concatenate(found) if found else np.empty(0, np.float32)
