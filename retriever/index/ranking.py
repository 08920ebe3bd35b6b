"""Ranking: scan int8 codes on all cores, rescore candidates in fp16, order, break ties, pad.

Knows what all engines on a CPU do last, and which queries they refuse. Does not know how an engine
finds its candidates.
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
ScanPiece = tuple[RowBlock, Positions | None, int]  # rows of a block from one on
NO_RESULTS: tuple[Keys, Scores] = (np.empty(0, np.int64), np.empty(0, np.float32))


def full_codes(block: RowBlock) -> Codes:
    """The codes of all tokens of a row."""
    return block.codes


def scan_codes(
    rows: RowBlocks,
    using: Kernel,
    queries: NDArray[np.float32],
    at: Positions | None,
    m: int,
    codes: Callable[[RowBlock], Codes] = full_codes,
) -> list[ScanResult]:
    """For each query (Q, K, D) scores and positions, ascending, of the m best rows by codes.

    Args:
        at: positions to choose from, ascending; None for all.
        codes: which codes of a block are scanned.
    """
    numbers = QuantizedQueries.of(queries)
    m = min(m, len(rows) if at is None else len(at))
    pieces = [
        (block, here, first)
        for block, here in rows.parts(at)
        for first in range(0, len(block) if here is None else len(here), _PIECE_ROWS)
    ]

    def some(pieces: list[ScanPiece]) -> TopRows:
        best = TopRows.none(len(queries), m)
        for block, here, first in pieces:
            part, held, start = slice(first, first + _PIECE_ROWS), codes(block), block.start
            if here is None:
                held, start = held[part], start + first
            chosen = None if here is None else here[part]
            using.scan(best, held, numbers, rows.keys, start, chosen)
        return best

    threads = min(torch.get_num_threads() if using.releases else 1, len(pieces))
    if threads > 1:
        with ThreadPoolExecutor(threads) as pool:
            found = list(pool.map(some, [pieces[t::threads] for t in range(threads)]))
    else:
        found = [some(pieces)]
    return [_merge_threads(rows, found, query, m) for query in range(len(queries))]


def _merge_threads(rows: RowBlocks, found: list[TopRows], query: int, m: int) -> ScanResult:
    """The m best of a query, out of those that each thread found."""
    scores = np.concatenate([best.scores[query, : best.held[query]] for best in found])
    places = np.concatenate([best.places[query, : best.held[query]] for best in found])
    if len(scores) > m:
        chosen = top_k_order(scores, rows.keys[places], m)
        scores, places = scores[chosen], places[chosen]
    ascending = np.argsort(places)
    return scores[ascending], places[ascending]


def check_queries(queries: Tokens, k: int, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Queries (Q, K, D) as fp32 in one piece; `shape` is the index's (K, D), (0, 0) if empty.

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
    rows: RowBlocks, arithmetic: Kernel, query: NDArray[np.float32], at: Positions
) -> Scores:
    """Scores (n) of the rows at positions, ascending, with a query (K, D): of their fp16 tokens,
    or of what their codes stand for where only those are kept."""
    found = []
    for block, here in rows.parts(at):
        assert here is not None
        if block.tokens is None:
            tokens, here = dequantize(block.codes[here]).astype(np.float16), np.arange(len(here))
        else:
            tokens = block.tokens
        found.append(arithmetic.rescore(tokens, query, here))
    return np.concatenate(found) if found else np.empty(0, np.float32)


def top_k_order(scores: Scores, keys: Keys, k: int) -> NDArray[np.intp]:
    """Which k are best, best first: by falling score, then rising key."""
    return np.lexsort((keys, -scores))[:k]


def pad_results(found: list[tuple[Keys, Scores]], k: int) -> tuple[Keys, Scores]:
    """Answers of up to k rows each → keys (Q, k) and scores (Q, k)."""
    keys = np.full((len(found), k), NO_KEY, np.int64)
    scores = np.full((len(found), k), -np.inf, np.float32)
    for row, (some, theirs) in enumerate(found):
        keys[row, : len(some)], scores[row, : len(some)] = some, theirs
    return keys, scores
