"""The arithmetic of native/, given arrays.

It knows dtypes and who allocates. It does not know sizes: C checks them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rag_vqa.retriever.index import _native
from rag_vqa.retriever.index.arithmetic import Best, Numbers
from rag_vqa.retriever.index.protocol import Codes, Keys, Positions, Scores, Tokens


@dataclass(frozen=True, slots=True)
class Compiled:
    """One kernel of native/; see `Arithmetic`."""

    name: str
    releases: bool = True

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
