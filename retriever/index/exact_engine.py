"""The engine "exact": scans all int8 codes on a CPU, then rescores the best rows in fp16.

Knows how many candidates the rounding of codes needs. Does not know documents, passages or where
tokens come from.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from rag_vqa.retriever.index import Codes, Keys, Positions, Scores, Tokens, kernels, rows
from rag_vqa.retriever.index.index_files import load_rows, save_rows
from rag_vqa.retriever.index.kernels import Kernel, ScanResult, scan_codes, select_kernel
from rag_vqa.retriever.index.rows import RowBlocks

_BATCH = 8  # queries that share a scan: more would not stay in the first cache beside a row
# Candidates rescored in fp16: at least, and for each row asked for.
_LEAST, _PER_ROW = 150, 2
_WIDER = 4  # times as many candidates, if their scores show that they were too few


class ExactIndex:
    """Scores every row by int8 codes, and rescores rows that may be among the k best in fp16.

    The rounding of codes changes scores a little; the candidates show by how much. If a row beyond
    the candidates could still be among the k best, the index takes more candidates.

    Args:
        kernel: one of `kernels.available_kernels`; None: the fastest that runs here.

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
        """Remove rows; unknown keys are ignored."""
        self._rows.delete(keys)

    def search(self, queries: Tokens, k: int, among: Keys | None = None) -> tuple[Keys, Scores]:
        """Keys (Q, k) and scores (Q, k) of the best rows; see `Index.search`."""
        queries = rows.check_queries(queries, k, self._rows.shape)
        positions = self._rows.positions_among(among)
        total = len(self._rows) if positions is None else len(positions)
        if not total:
            return rows.pad_results([rows.NO_RESULTS] * len(queries), k)
        kernel = select_kernel(queries.shape[2], self._kernel)
        m = min(total, max(_LEAST, _PER_ROW * k))
        results: list[tuple[Keys, Scores]] = []
        for start in range(0, len(queries), _BATCH):
            batch = queries[start : start + _BATCH]
            scans = scan_codes(self._rows, kernel, batch, positions, m)
            for query, scan in zip(batch, scans, strict=True):
                results.append(self._rescore_until_exact(kernel, query, k, positions, total, scan))
        return rows.pad_results(results, k)

    def save(self, path: Path) -> None:
        """Write all rows to one file, whole or not at all."""
        save_rows(path, self._rows)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read a file that `save` wrote; see `Index.open`."""
        index = cls()
        load_rows(path, index.add)
        return index

    def _rescore_until_exact(
        self,
        kernel: Kernel,
        query: NDArray[np.float32],
        k: int,
        positions: Positions | None,
        total: int,
        scan: ScanResult,
    ) -> tuple[Keys, Scores]:
        """The k best rows of one query, out of as many candidates as exactness needs."""
        while True:
            coarse, candidates = scan
            scores = kernels.rescore(self._rows, kernel, query, candidates)
            keys = self._rows.keys[candidates]
            order = rows.top_k_order(scores, keys, k)
            error = np.abs(scores - coarse).max()
            # No other row scores more than the worst candidate and twice the error seen.
            bound = coarse.min() + 2 * error
            if len(candidates) == total or scores[order[-1]] > bound:
                return keys[order], scores[order]
            m = min(total, len(candidates) * _WIDER)
            (scan,) = scan_codes(self._rows, kernel, query[None], positions, m)
