"""The arithmetic of native/, given arrays. It knows dtypes and who allocates; C checks the sizes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rag_vqa.retriever.index import _native
from rag_vqa.retriever.index.arithmetic import Numbers
from rag_vqa.retriever.index.protocol import Codes, Keys, Positions, Scores, Tokens


@dataclass(frozen=True, slots=True)
class Compiled:
    """One kernel of native/; see `Arithmetic`."""

    name: str
    releases: bool = True

    def scan(
        self, codes: Codes, numbers: Numbers, keys: Keys, at: Positions | None, m: int
    ) -> tuple[Scores, Positions]:
        """See `Arithmetic.scan`."""
        (Q, K, D), J = numbers.values.shape, codes.dtype["scales"].shape[0]
        m = min(m, len(codes) if at is None else len(at))
        scores, places = np.empty((Q, m), np.float32), np.empty((Q, m), np.int64)
        if m:
            values, scales = numbers.values, numbers.scales
            _native.scan(codes, K, J, D, values, scales, keys, at, scores, places, self.name)
        return scores, places

    def rescore(self, tokens: Tokens, query: NDArray[np.float32], at: Positions) -> Scores:
        """See `Arithmetic.rescore`."""
        scores = np.empty(len(at), np.float32)
        _native.rescore(tokens, *query.shape, query, at, scores, self.name)
        return scores
