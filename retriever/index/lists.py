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

Vectors = NDArray[np.float32]


class Lists:
    """Centres (M, D), and the rows of each list. Rows are appended, never moved."""

    def __init__(self, centres: Vectors) -> None:
        self.centres = centres
        self._quantizer = _quantizer(centres)
        self.ids: NDArray[np.uint16] = np.empty((0, 0), np.uint16)  # (N, J), of each mean its list
        self._order: NDArray[np.int32] = np.empty(0, np.int32)  # positions, list by list
        self._ends: NDArray[np.int64] = np.empty(0, np.int64)  # (M + 1)
        self._sorted = 0  # rows in `_order`

    def __len__(self) -> int:
        return len(self.ids)

    def of(self, means: Vectors) -> NDArray[np.uint16]:
        """The lists (n, J) to which means (n, J, D) belong."""
        N, J, D = means.shape
        _, found = self._quantizer.search(np.ascontiguousarray(means.reshape(-1, D)), 1)
        lists: NDArray[np.uint16] = found.reshape(N, J).astype(np.uint16)
        return lists

    def append(self, ids: NDArray[np.uint16]) -> None:
        """Put the next rows into lists (n, J)."""
        self.ids = np.concatenate([self.ids, ids]) if len(self) else ids

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
        flat = self.ids.reshape(-1)
        self._order = (np.argsort(flat, kind="stable") // self.ids.shape[1]).astype(np.int32)
        counts = np.bincount(flat, minlength=len(self.centres))
        self._ends = np.concatenate([[0], np.cumsum(counts)])
        self._sorted = len(self)


def learned(sample: Vectors) -> Vectors:
    """Centres (M, D) out of means (n, D)."""
    import faiss

    kmeans = faiss.Kmeans(
        sample.shape[1],
        min(LISTS, len(sample)),
        niter=_ROUNDS,
        spherical=True,
        seed=0,
        min_points_per_centroid=1,
        gpu=bool(faiss.get_num_gpus()),
    )
    kmeans.train(np.ascontiguousarray(sample))
    return np.asarray(kmeans.centroids, np.float32)


def _quantizer(centres: Vectors) -> Any:
    import faiss

    index = faiss.IndexFlatIP(centres.shape[1])
    index.add(centres)
    return faiss.index_cpu_to_all_gpus(index) if faiss.get_num_gpus() else index
