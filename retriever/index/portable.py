"""The arithmetic of native/ by torch and numpy, where nothing could be compiled.

It knows the same formulas in blocks. Whole numbers are multiplied as floats, which is exact while
D ≤ 1024; only the last sum, over a query's tokens, may round otherwise than the compiled one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from rag_vqa.retriever.index.arithmetic import PORTABLE, Best, Numbers
from rag_vqa.retriever.index.protocol import Codes, Keys, Positions, Scores, Tokens

# Similarities computed at once: 1 MB of fp32, which stays in a core's cache.
_BLOCK = 2**18


@dataclass(frozen=True, slots=True)
class Portable:
    """See `Arithmetic`."""

    name: str = PORTABLE
    releases: bool = False

    def scan(
        self,
        best: Best,
        codes: Codes,
        numbers: Numbers,
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
        step = max(1, _BLOCK // (Q * K * J))
        for first in range(0, len(at), step):
            here = at[first : first + step]
            rows = codes[here]
            scales = torch.from_numpy(rows["scales"].astype(np.float32))
            values = torch.from_numpy(rows["values"].astype(np.float32))
            scores = (_maxima(queries, values, scales) * worth).sum(-1).T.numpy()
            for query in range(Q):
                _offer(best, query, scores[query], here + start, keys)

    def rescore(self, tokens: Tokens, query: NDArray[np.float32], at: Positions) -> Scores:
        """See `Arithmetic.rescore`."""
        scores = np.empty(len(at), np.float32)
        queries = torch.from_numpy(query)[None]
        step = max(1, _BLOCK // query.shape[0] ** 2)
        for start in range(0, len(at), step):
            rows = torch.from_numpy(tokens[at[start : start + step]].astype(np.float32))
            scores[start : start + step] = _maxima(queries, rows).sum(-1)[:, 0].numpy()
        return scores


def _offer(best: Best, query: int, scores: Scores, places: Positions, keys: Keys) -> None:
    held = best.held[query]
    scores = np.concatenate([best.scores[query, :held], scores])
    places = np.concatenate([best.places[query, :held], places])
    order = np.lexsort((keys[places], -scores))[: best.scores.shape[1]]
    best.scores[query, : len(order)], best.places[query, : len(order)] = (
        scores[order],
        places[order],
    )
    best.held[query] = len(order)


def _maxima(
    queries: torch.Tensor, rows: torch.Tensor, scales: torch.Tensor | None = None
) -> torch.Tensor:
    """max_j Q_i · D_j, each product times the scale of its j: (Q, K, D), (N, J, D) → (N, Q, K)."""
    (Q, K, D), J = queries.shape, rows.shape[1]
    dots = rows.reshape(-1, D) @ queries.reshape(-1, D).T  # (N·J, Q·K)
    if scales is not None:
        dots = dots * scales.reshape(-1, 1)
    return dots.view(len(rows), J, Q * K).amax(1).view(len(rows), Q, K)
