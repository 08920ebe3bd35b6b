"""The engine "exact": scans all int8 codes on a CPU, then rescores the best rows in fp16.

Knows how many candidates the rounding of codes needs. Does not know documents, passages or where
tokens come from.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from rag_vqa.retriever.index import Keys, Positions, Scores, Tokens, ranking
from rag_vqa.retriever.index.index_files import load_rows, save_rows
from rag_vqa.retriever.index.int8_quantization import Codes
from rag_vqa.retriever.index.kernels import Kernel, select_kernel
from rag_vqa.retriever.index.ranking import ScanResult, scan_codes
from rag_vqa.retriever.index.row_blocks import RowBlocks

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
        self._rows = RowBlocks()
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
        queries = ranking.check_queries(queries, k, self._rows.shape)
        at = self._rows.among(among)
        total = len(self._rows) if at is None else len(at)
        if not total:
            return ranking.pad_results([ranking.NO_RESULTS] * len(queries), k)
        using = select_kernel(queries.shape[2], self._kernel)
        found: list[tuple[Keys, Scores]] = []
        for start in range(0, len(queries), _TOGETHER):
            batch = queries[start : start + _TOGETHER]
            m = min(total, max(_LEAST, _PER_ROW * k))
            scanned = scan_codes(self._rows, using, batch, at, m)
            for query, first in zip(batch, scanned, strict=True):
                found.append(self._rescore_until_exact(using, query, k, at, total, first))
        return ranking.pad_results(found, k)

    def save(self, path: Path) -> None:
        """Write all rows to one file, whole or not at all."""
        save_rows(path, self._rows)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read what `save` wrote; see `Index.open`."""
        index = cls()
        load_rows(path, index.add)
        return index

    def _rescore_until_exact(
        self,
        using: Kernel,
        query: NDArray[np.float32],
        k: int,
        at: Positions | None,
        total: int,
        scanned: ScanResult,
    ) -> tuple[Keys, Scores]:
        """The k best of one query, out of as many candidates as it takes."""
        while True:
            coarse, places = scanned
            scores = ranking.rescore(self._rows, using, query, places)
            keys = self._rows.keys[places]
            order = ranking.top_k_order(scores, keys, k)
            error = np.abs(scores - coarse).max()
            # What was left out has at most this: the worst candidate's, and twice the error seen.
            most = coarse.min() + 2 * error
            if len(places) == total or scores[order[-1]] > most:
                return keys[order], scores[order]
            m = min(total, len(places) * _WIDER)
            (scanned,) = scan_codes(self._rows, using, query[None], at, m)
