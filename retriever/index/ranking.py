"""Ranking: scan int8 codes on all cores, rescore candidates in fp16, order, break ties, pad.

Knows the last steps that all engines on a CPU share, and which queries they refuse. Does not know
how an engine finds its candidates.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray

from rag_vqa.errors import UsageError
from rag_vqa.retriever.index import NO_KEY, Keys, Positions, Scores, Tokens
from rag_vqa.retriever.index.int8_quantization import Codes, dequantize
from rag_vqa.retriever.index.kernels import Kernel, QuantizedQueries, TopRows
from rag_vqa.retriever.index.row_blocks import RowBlock, RowBlocks

_PIECE_ROWS = 8192  # rows that a thread scans at once
ScanResult = tuple[Scores, Positions]
ScanPiece = tuple[RowBlock, Positions | None, int]  # a block, rows chosen in it, the first of them
NO_RESULTS: tuple[Keys, Scores] = (np.empty(0, np.int64), np.empty(0, np.float32))


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


def _merge_threads(rows: RowBlocks, found: list[TopRows], query: int, m: int) -> ScanResult:
    """The m best rows of a query, out of those that each thread found."""
    scores = np.concatenate([best.scores[query, : best.count[query]] for best in found])
    positions = np.concatenate([best.positions[query, : best.count[query]] for best in found])
    if len(scores) > m:
        order = top_k_order(scores, rows.keys[positions], m)
        scores, positions = scores[order], positions[order]
    ascending = np.argsort(positions)
    return scores[ascending], positions[ascending]


def check_queries(queries: Tokens, k: int, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Queries (Q, K, D) as contiguous fp32.

    Args:
        shape: the index's (K, D), (0, 0) if it is empty.

    Raises:
        UsageError: k < 1, another shape, NaN or infinity.
    """
    if k < 1:
        raise UsageError(f"k is {k}: ask for at least 1.")
    queries = np.ascontiguousarray(queries, np.float32)
    if queries.ndim != 3 or (shape != (0, 0) and queries.shape[1:] != shape):
        raise UsageError(f"Queries of shape {queries.shape} cannot search rows of {shape}.")
    if not np.isfinite(queries).all():
        raise UsageError("Queries hold NaN or infinity: the encoder that made them is broken.")
    return queries


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


def top_k_order(scores: Scores, keys: Keys, k: int) -> NDArray[np.intp]:
    """Indices of the k best, best first: by falling score, then rising key."""
    return np.lexsort((keys, -scores))[:k]


def pad_results(results: list[tuple[Keys, Scores]], k: int) -> tuple[Keys, Scores]:
    """Results of up to k rows for each query → keys (Q, k) and scores (Q, k)."""
    keys = np.full((len(results), k), NO_KEY, np.int64)
    scores = np.full((len(results), k), -np.inf, np.float32)
    for row, (some_keys, some_scores) in enumerate(results):
        keys[row, : len(some_keys)], scores[row, : len(some_keys)] = some_keys, some_scores
    return keys, scores
