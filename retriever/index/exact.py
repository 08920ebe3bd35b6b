"""Exact late interaction on a CPU: all codes are scanned, the best are scored again in fp16.

It knows how many candidates the codes' rounding needs. It does not know documents, passages or
where tokens come from.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from rag_vqa.retriever.index import ranking
from rag_vqa.retriever.index.arithmetic import Arithmetic, arithmetic
from rag_vqa.retriever.index.files import load_rows, save_rows
from rag_vqa.retriever.index.protocol import Codes, Keys, Positions, Scores, Tokens
from rag_vqa.retriever.index.rows import Rows
from rag_vqa.retriever.index.scanning import Found, scan

_TOGETHER = 8  # queries that share a pass: more would not stay in the first cache beside a row
# Candidates scored again in fp16, at least; and for each row asked for.
_LEAST, _PER_ROW = 150, 2
_WIDER = 4  # times the candidates, where their scores say that they were too few


class ExactIndex:
    """Every row is scored, by int8 codes; rows that may be among the k best again, in fp16.

    The codes' scores are off by little, and by how much is seen on the candidates: where a row
    that was left out could still belong to the k best, the candidates are made more. `kernel`
    names one of `arithmetic.kernels`, None the best that runs here.

    >>> index = ExactIndex()
    >>> index.add(np.eye(2, dtype=np.float32)[:, None], np.array([7, 9]))
    >>> index.search(np.array([[[0.0, 1.0]]], np.float32), 1)[0].tolist()
    [[9]]
    """

    def __init__(self, kernel: str | None = None) -> None:
        self._rows = Rows()
        self._kernel = kernel

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, tokens: Tokens | None, keys: Keys, codes: Codes | None = None) -> None:
        """Add rows; see `Index.add`."""
        self._rows.add(tokens, keys, codes)

    def delete(self, keys: Keys) -> None:
        """Remove rows; a key that is not there is no error."""
        self._rows.delete(keys)

    def search(self, queries: Tokens, k: int, among: Keys | None = None) -> tuple[Keys, Scores]:
        """Keys (Q, k) and scores (Q, k) of the best rows; see `Index.search`."""
        queries = ranking.checked(queries, k, self._rows.shape)
        at = self._rows.among(among)
        total = len(self._rows) if at is None else len(at)
        if not total:
            return ranking.padded([ranking.NOTHING] * len(queries), k)
        using = arithmetic(queries.shape[2], self._kernel)
        found: list[tuple[Keys, Scores]] = []
        for start in range(0, len(queries), _TOGETHER):
            batch = queries[start : start + _TOGETHER]
            m = min(total, max(_LEAST, _PER_ROW * k))
            scanned = scan(self._rows, using, batch, at, m)
            for query, first in zip(batch, scanned, strict=True):
                found.append(self._settle(using, query, k, at, total, first))
        return ranking.padded(found, k)

    def save(self, path: Path) -> None:
        """Write all rows to one file, whole or not at all."""
        save_rows(path, self._rows)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read what `save` wrote; see `Index.open`."""
        index = cls()
        load_rows(path, index.add)
        return index

    def _settle(
        self,
        using: Arithmetic,
        query: NDArray[np.float32],
        k: int,
        at: Positions | None,
        total: int,
        scanned: Found,
    ) -> tuple[Keys, Scores]:
        """The k best of one query, out of as many candidates as it takes."""
        while True:
            coarse, places = scanned
            scores = ranking.rescore(self._rows, using, query, places)
            keys = self._rows.keys[places]
            order = ranking.best(scores, keys, k)
            error = np.abs(scores - coarse).max()
            # What was left out has at most this: the worst candidate's, and twice the error seen.
            most = coarse.min() + 2 * error
            if len(places) == total or scores[order[-1]] > most:
                return keys[order], scores[order]
            m = min(total, len(places) * _WIDER)
            (scanned,) = scan(self._rows, using, query[None], at, m)
