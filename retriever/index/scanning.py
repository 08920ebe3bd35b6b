"""Scans of all blocks of an index by codes, on all cores. It knows pieces and threads, no engine."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray

from rag_vqa.retriever.index import ranking
from rag_vqa.retriever.index.arithmetic import Arithmetic, Numbers
from rag_vqa.retriever.index.protocol import Codes, Positions, Scores
from rag_vqa.retriever.index.rows import Block, Rows

_PIECE = 8192  # rows that a thread scans at once

Found = tuple[Scores, Positions]


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

    def piece(block: Block, here: Positions | None, start: int) -> Found:
        part, held = slice(start, start + _PIECE), codes(block)
        if here is not None:
            scores, places = using.scan(held, numbers, block.keys, here[part], m)
            return scores, places + block.start
        scores, places = using.scan(held[part], numbers, block.keys[part], None, m)
        return scores, places + (block.start + start)

    pieces = [
        (block, here, start)
        for block, here in rows.parts(at)
        for start in range(0, len(block) if here is None else len(here), _PIECE)
    ]
    threads = torch.get_num_threads() if using.releases else 1
    if threads > 1 and len(pieces) > 1:
        with ThreadPoolExecutor(threads) as pool:
            found = list(pool.map(lambda given: piece(*given), pieces))
    else:
        found = [piece(*given) for given in pieces]
    scores = np.concatenate([some for some, _ in found], axis=1)
    places = np.concatenate([some for _, some in found], axis=1)
    return [_best(rows, *row, m) for row in zip(scores, places, strict=True)]


def _best(rows: Rows, scores: Scores, places: Positions, m: int) -> Found:
    if len(scores) > m:
        # Only what may be among the m best is sorted by key: pieces bring many times m.
        least = np.partition(scores, len(scores) - m)[len(scores) - m]
        kept = np.flatnonzero(scores >= least)
        scores, places = scores[kept], places[kept]
        chosen = ranking.best(scores, rows.keys[places], m)
        scores, places = scores[chosen], places[chosen]
    ascending = np.argsort(places)
    return scores[ascending], places[ascending]
