"""From candidates to an answer: their true scores, order, ties, and the padding of short answers.

It knows what all engines on a CPU do last, and what they refuse. It does not know how candidates
are found.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rag_vqa.errors import UsageError
from rag_vqa.retriever.codes import decode
from rag_vqa.retriever.index.arithmetic import Arithmetic
from rag_vqa.retriever.index.protocol import NO_KEY, Keys, Positions, Scores, Tokens
from rag_vqa.retriever.index.rows import Rows

NOTHING: tuple[Keys, Scores] = (np.empty(0, np.int64), np.empty(0, np.float32))


def checked(queries: Tokens, k: int, shape: tuple[int, int]) -> NDArray[np.float32]:
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
    rows: Rows, arithmetic: Arithmetic, query: NDArray[np.float32], at: Positions
) -> Scores:
    """Scores (n) of the rows at positions, ascending, with a query (K, D): of their fp16 tokens,
    or of what their codes stand for where only those are kept."""
    found = []
    for block, here in rows.parts(at):
        assert here is not None
        if block.tokens is None:
            tokens, here = decode(block.codes[here]).astype(np.float16), np.arange(len(here))
        else:
            tokens = block.tokens
        found.append(arithmetic.rescore(tokens, query, here))
    return np.concatenate(found) if found else np.empty(0, np.float32)


def best(scores: Scores, keys: Keys, k: int) -> NDArray[np.intp]:
    """Which k are best, best first: by falling score, then rising key."""
    return np.lexsort((keys, -scores))[:k]


def padded(found: list[tuple[Keys, Scores]], k: int) -> tuple[Keys, Scores]:
    """Answers of up to k rows each → keys (Q, k) and scores (Q, k)."""
    keys = np.full((len(found), k), NO_KEY, np.int64)
    scores = np.full((len(found), k), -np.inf, np.float32)
    for row, (some, theirs) in enumerate(found):
        keys[row, : len(some)], scores[row, : len(some)] = some, theirs
    return keys, scores
