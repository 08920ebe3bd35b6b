"""Rows in lists by what their means are near to, so that a query looks into a few lists only.

FAISS learns the lists' centres from a sample, and finds the centre of each mean, on a GPU where
its build has one. It knows means and positions. It does not know codes nor scores.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag_vqa.retriever.index.protocol import Positions

LISTS = 4096
PROBED = 32  # lists that are looked into for each mean of a query
LEARNED_FROM = 40 * LISTS  # means; FAISS wants 39 a list
_ROUNDS = 6
_ROWS = 2**15  # assigned at once

Vectors = NDArray[np.float32]


class Lists:
    """Centres (M, D), and the rows of each list. Rows are appended, never moved."""

    def __init__(self, centres: Vectors) -> None:
        self.centres = centres
        self._quantizer = _quantizer(centres)
        self._ids: list[NDArray[np.uint16]] = []  # (n, J) a block: the list of each mean
        self._order: NDArray[np.int32] = np.empty(0, np.int32)  # positions, list by list
        self._ends: NDArray[np.int64] = np.empty(0, np.int64)  # (M + 1)
        self._sorted = 0  # rows in `_order`

    @classmethod
    def learn(cls, sample: Vectors) -> Lists:
        """Centres out of means (n, D)."""
        import faiss

        D = sample.shape[1]
        kmeans = faiss.Kmeans(
            D,
            min(LISTS, len(sample)),
            niter=_ROUNDS,
            spherical=True,
            seed=0,
            min_points_per_centroid=1,
            gpu=bool(faiss.get_num_gpus()),
        )
        kmeans.train(np.ascontiguousarray(sample))
        return cls(np.asarray(kmeans.centroids, np.float32))

    def __len__(self) -> int:
        return sum(map(len, self._ids))

    def append(self, means: Vectors) -> None:
        """Put the next rows' means (n, J, D) into their lists."""
        N, J, D = means.shape
        for start in range(0, N, _ROWS):
            part = means[start : start + _ROWS]
            _, found = self._quantizer.search(part.reshape(-1, D), 1)
            self._ids.append(found.reshape(len(part), J).astype(np.uint16))

    def restore(self, ids: NDArray[np.uint16]) -> None:
        """Put the next rows into lists that were theirs before (n, J)."""
        self._ids.append(ids)

    @property
    def ids(self) -> NDArray[np.uint16]:
        """(N, J), the list of each mean of each row."""
        return np.concatenate(self._ids)

    def near(self, means: Vectors, alive: NDArray[np.bool_]) -> Positions:
        """Positions, ascending, of rows in the lists nearest to a query's means (J, D), of those
        that are `alive` (N)."""
        self._sort()
        _, lists = self._quantizer.search(means, min(PROBED, len(self.centres)))
        seen = np.zeros(len(alive), np.bool_)
        for number in np.unique(lists):
            seen[self._order[self._ends[number] : self._ends[number + 1]]] = True
        return np.flatnonzero(seen & alive)

    def _sort(self) -> None:
        if self._sorted == len(self):
            return
        ids = self.ids
        flat = ids.reshape(-1)
        self._order = (np.argsort(flat, kind="stable") // ids.shape[1]).astype(np.int32)
        counts = np.bincount(flat, minlength=len(self.centres))
        self._ends = np.concatenate([[0], np.cumsum(counts)])
        self._sorted = len(self)


def _quantizer(centres: Vectors) -> Any:
    import faiss

    index = faiss.IndexFlatIP(centres.shape[1])
    index.add(centres)
    return faiss.index_cpu_to_all_gpus(index) if faiss.get_num_gpus() else index
