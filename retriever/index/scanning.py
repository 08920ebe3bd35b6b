"""Scans of all blocks of an index by codes, on all cores.

It knows pieces and threads. It does not know engines.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray

from rag_vqa.retriever.index import ranking
from rag_vqa.retriever.index.arithmetic import Arithmetic, Best, Numbers
from rag_vqa.retriever.index.protocol import Codes, Positions, Scores
from rag_vqa.retriever.index.rows import Block, Rows

_PIECE = 8192  # rows that a thread scans at once

Found = tuple[Scores, Positions]
Piece = tuple[Block, Positions | None, int]  # rows of a block from one on


def full(block: Block) -> Codes:
    """The codes of all tokens of a row."""
    return block.codes


def scan(
    rows: Rows,
    using: Arithmetic,
    queries: NDArray[np.float32],
    at: Positions | None,
    m: int,
    codes: Callable[[Block], Codes] = full,
) -> list[Found]:
    """For each query (Q, K, D) scores and positions, ascending, of the m best rows by codes.

    Args:
        at: positions to choose from, ascending; None for all.
        codes: which codes of a block are scanned.
    """
    numbers = Numbers.of(queries)
    m = min(m, len(rows) if at is None else len(at))
    pieces = [
        (block, here, first)
        for block, here in rows.parts(at)
        for first in range(0, len(block) if here is None else len(here), _PIECE)
    ]

    def some(pieces: list[Piece]) -> Best:
        best = Best.none(len(queries), m)
        for block, here, first in pieces:
            part, held, start = slice(first, first + _PIECE), codes(block), block.start
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
    return [_together(rows, found, query, m) for query in range(len(queries))]


def _together(rows: Rows, found: list[Best], query: int, m: int) -> Found:
    """The m best of a query, out of those that each thread found."""
    scores = np.concatenate([best.scores[query, : best.held[query]] for best in found])
    places = np.concatenate([best.places[query, : best.held[query]] for best in found])
    if len(scores) > m:
        chosen = ranking.best(scores, rows.keys[places], m)
        scores, places = scores[chosen], places[chosen]
    ascending = np.argsort(places)
    return scores[ascending], places[ascending]
