"""The engine "faiss": candidates by inverted lists of a row's means, then by codes, then by tokens.

Each stage is dearer and sees fewer rows: lists of FAISS (only where there are very many rows), four
means a row in int8, all tokens in int8, tokens in fp16. The means are those of a row's own groups
of like tokens, so nothing is learned for them: a row of one meaning becomes copies of one mean, a
row of four meanings four. FAISS learns the lists' centres from a sample, on a GPU where its build
has one. Knows how many rows each stage passes on. Does not know files. What is lost is lost in the
first two stages; benchmarks/index.py measures it.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from rag_vqa.retriever.index import Codes, Keys, Positions, Scores, Tokens, kernels, rows
from rag_vqa.retriever.index import rows as index_rows
from rag_vqa.retriever.index.index_files import (
    NOT_CACHED,
    CandidateCache,
    load_rows,
    row_checksums,
    save_rows,
)
from rag_vqa.retriever.index.kernels import Kernel, scan_codes, select_kernel
from rag_vqa.retriever.index.rows import RowBlock, RowBlocks, code_dtype, dequantize, quantize

# With up to this many rows all means are scanned; with more, inverted lists narrow them down.
_LISTED = 2**17
# Rows passed on by means, and by codes: at least, and for each row asked for.
_BY_MEANS, _MEANS_PER_ROW = 1000, 10
_BY_CODES, _CODES_PER_ROW = 150, 2
_ROWS_AT_ONCE = 2**13  # so that mapped rows are not copied whole
LISTS = 4096
PROBED = 32  # lists that are searched for each mean of a query
LEARNED_FROM = 40 * LISTS  # means; FAISS wants 39 a list
_KMEANS_ROUNDS = 6
Vectors = NDArray[np.float32]
MEANS = 4  # of a row, or as many as it has tokens
_GROUPING_ROUNDS = 3
_GROUPED_ROWS = 2048  # at once, so that memory stays flat


class FaissIndex:
    """See the module. Below 2^17 rows nothing is learned, and beyond it is learned only once.

    Args:
        kernel: one of `kernels.available_kernels`; None: the fastest that runs here.
        cache: a file that `save_cache` wrote. Rows found in it are added at once; the means and
            lists of others are computed.

    Raises:
        Missing, CorruptKnowledgeBase: of the cache; see `Index.open`.
    """

    def __init__(self, kernel: str | None = None, cache: Path | None = None) -> None:
        self._rows = RowBlocks(self._make_mean_codes)
        self._kernel = kernel
        self._cache = None if cache is None else CandidateCache.read(cache)
        self._cached: NDArray[np.intp] = np.empty(0, np.intp)  # (N,) each row's place in `_cache`
        self._lists: InvertedLists | None = None

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, tokens: Tokens | None, keys: Keys, codes: Codes | None = None) -> None:
        """Add rows; see `Index.add`."""
        self._rows.add(tokens, keys, codes)
        self._fill_lists()

    def delete(self, keys: Keys) -> None:
        """Remove rows; unknown keys are ignored."""
        self._rows.delete(keys)

    def search(self, queries: Tokens, k: int, among: Keys | None = None) -> tuple[Keys, Scores]:
        """Keys (Q, k) and scores (Q, k) of the best rows; see `Index.search`."""
        queries = rows.check_queries(queries, k, self._rows.shape)
        positions = self._rows.positions_among(among)
        kernel = select_kernel(max(1, queries.shape[2]), self._kernel)
        results = [self._search(kernel, query, k, positions) for query in queries]
        return rows.pad_results(results, k)

    def save(self, path: Path) -> None:
        """Write all rows to one file, whole or not at all."""
        more = {} if self._lists is None else {"centres": self._lists.centres}
        save_rows(path, self._rows, more)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read a file that `save` wrote; see `Index.open`."""
        index = cls()
        centres = load_rows(path, index._rows.add).get("centres")
        if centres is not None:
            index._lists = InvertedLists(np.asarray(centres, np.float32))
            index._fill_lists()
        return index

    def save_cache(self, path: Path) -> None:
        """Write the means and lists of all rows, for `cache`.

        That is 552 bytes a row of (32, 128), and 8 more with lists.
        """
        positions, blocks = self._rows.positions_by_key, self._rows.blocks
        checks, coarse = np.empty(0, np.uint64), np.empty(0, code_dtype(1, 1))
        if blocks:
            checks = np.concatenate([row_checksums(block.codes) for block in blocks])[positions]
            coarse = np.concatenate([_mean_codes(block) for block in blocks])[positions]
        cache = CandidateCache(self._rows.keys[positions], checks, coarse)
        if self._lists is not None:
            ids = self._lists.ids[positions]
            cache = replace(cache, centres=self._lists.centres, ids=ids)
        cache.write(path)

    def _search(
        self, kernel: Kernel, query: NDArray[np.float32], k: int, positions: Positions | None
    ) -> tuple[Keys, Scores]:
        """Keys and scores of the best rows at those positions for a query (K, D)."""
        rows, batch, wanted = self._rows, query[None], max(_BY_MEANS, _MEANS_PER_ROW * k)
        positions = self._probe_lists(query, positions, wanted)
        if (len(rows) if positions is None else len(positions)) > wanted:
            ((_, positions),) = scan_codes(rows, kernel, batch, positions, wanted, _mean_codes)
        if positions is None or len(positions):
            wanted = max(_BY_CODES, _CODES_PER_ROW * k)
            ((_, positions),) = scan_codes(rows, kernel, batch, positions, wanted)
        scores = kernels.rescore(rows, kernel, query, positions)
        keys = rows.keys[positions]
        order = index_rows.top_k_order(scores, keys, k)
        return keys[order], scores[order]

    def _probe_lists(
        self, query: NDArray[np.float32], positions: Positions | None, wanted: int
    ) -> Positions | None:
        """Of those positions, the ones in lists near to the query, if there are enough.

        Whether lists are used depends on the number of present rows alone, so that no answer
        shows what was deleted.
        """
        count = len(self._rows) if positions is None else len(positions)
        if self._lists is None or count <= _LISTED:
            return positions
        alive = np.zeros(len(self._lists), np.bool_)
        alive[slice(None) if positions is None else positions] = True
        near = self._lists.probe(row_means(query[None])[0], alive)
        return near if len(near) >= wanted else positions

    def _fill_lists(self) -> None:
        """Assign new rows to lists; make the lists if there are rows enough."""
        if self._lists is None:
            if len(self._rows.keys) <= _LISTED:
                return
            self._lists = InvertedLists(self._choose_centres())
        for block in self._rows.blocks:
            first, end = max(block.start, len(self._lists)), block.start + len(block)
            for start in range(first, end, _ROWS_AT_ONCE):
                part = slice(start, min(start + _ROWS_AT_ONCE, end))
                coarse = _mean_codes(block)[part.start - block.start : part.stop - block.start]
                self._lists.append(self._assign_lists(self._lists, self._cached[part], coarse))

    def _choose_centres(self) -> NDArray[np.float32]:
        """The cached centres if at least half of the rows are cached, else newly trained ones."""
        centres = None if self._cache is None else self._cache.centres
        known = np.count_nonzero(self._cached != NOT_CACHED)
        if centres is not None and 2 * known >= len(self._cached):
            return centres
        if self._cache is not None:
            self._cache = replace(self._cache, centres=None, ids=None)
        return train_centroids(self._sample_means())

    def _assign_lists(
        self, lists: InvertedLists, cached: NDArray[np.intp], coarse: Codes
    ) -> NDArray[np.uint16]:
        """The list of each mean of rows (n), cached or found anew: (n, J)."""
        ids = None if self._cache is None else self._cache.ids
        assigned = np.empty(coarse["scales"].shape, np.uint16)
        new = cached == NOT_CACHED if ids is not None else np.ones(len(cached), np.bool_)
        if ids is not None:
            assigned[~new] = ids[cached[~new]]
        if new.any():
            assigned[new] = lists.assign(dequantize(coarse[new]))
        return assigned

    def _sample_means(self) -> NDArray[np.float32]:
        """Means of rows spread over all blocks (n, D)."""
        rng, total, D = np.random.default_rng(0), len(self._rows.keys), self._rows.shape[1]
        sample = []
        for block in self._rows.blocks:
            wanted = LEARNED_FROM // MEANS * len(block) // total + 1
            drawn = np.sort(rng.permutation(len(block))[:wanted])
            sample.append(dequantize(_mean_codes(block)[drawn]).reshape(-1, D))
        return rng.permutation(np.concatenate(sample))[:LEARNED_FROM]

    def _make_mean_codes(self, block: RowBlock, keys: Keys) -> Codes:
        """Codes of a block's means, from the cache where it has them."""
        K, D = block.codes.dtype["values"].shape
        coarse = np.empty(len(block), code_dtype(min(MEANS, K), D))
        cached = self._find_cached(block, keys, coarse.dtype)
        for start in range(0, len(block), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            new = start + np.flatnonzero(cached[part] == NOT_CACHED)
            old = start + np.flatnonzero(cached[part] != NOT_CACHED)
            if self._cache is not None and len(old):
                coarse[old] = self._cache.coarse[cached[old]]
            if len(new):
                rows = dequantize(block.codes[new]) if block.tokens is None else block.tokens[new]
                coarse[new] = quantize(row_means(rows))
        self._cached = np.concatenate([self._cached, cached])
        return coarse

    def _find_cached(
        self, block: RowBlock, keys: Keys, dtype: np.dtype[np.void]
    ) -> NDArray[np.intp]:
        """Each row's place in the cache, NOT_CACHED where it has none."""
        if self._cache is not None and len(self._cache.keys) and self._cache.coarse.dtype != dtype:
            warnings.warn(
                "The cache of candidates is of rows of another shape. It is computed anew.",
                stacklevel=2,
            )
            self._cache = None
        if self._cache is None:
            return np.full(len(block), NOT_CACHED, np.intp)
        return self._cache.find(keys, block.codes)


def _mean_codes(block: RowBlock) -> Codes:
    assert block.coarse is not None  # `_make_mean_codes` makes them of every block
    return block.coarse


class InvertedLists:
    """Centres (M, D), and the rows of each list. Rows are appended, never moved.

    Attributes:
        ids: (N, J), the list of each mean of each row.
    """

    def __init__(self, centres: Vectors) -> None:
        self.centres = centres
        self._quantizer = _make_quantizer(centres)
        self.ids: NDArray[np.uint16] = np.empty((0, 0), np.uint16)
        self._order: NDArray[np.int32] = np.empty(0, np.int32)  # positions, list by list
        self._ends: NDArray[np.int64] = np.empty(0, np.int64)  # (M + 1)
        self._sorted = 0  # rows in `_order`

    def __len__(self) -> int:
        return len(self.ids)

    def assign(self, means: Vectors) -> NDArray[np.uint16]:
        """The lists (n, J) to which means (n, J, D) belong."""
        N, J, D = means.shape
        _, nearest = self._quantizer.search(np.ascontiguousarray(means.reshape(-1, D)), 1)
        lists: NDArray[np.uint16] = nearest.reshape(N, J).astype(np.uint16)
        return lists

    def append(self, ids: NDArray[np.uint16]) -> None:
        """Put the next rows into lists (n, J)."""
        self.ids = np.concatenate([self.ids, ids]) if len(self) else ids

    def probe(self, means: Vectors, alive: NDArray[np.bool_]) -> Positions:
        """Ascending positions of the rows in the lists nearest to a query's means (J, D).

        Args:
            alive: (N,), which rows may be returned.
        """
        self._sort()
        _, lists = self._quantizer.search(means, min(PROBED, len(self.centres)))
        near = np.zeros(len(alive), np.bool_)
        for number in np.unique(lists):
            near[self._order[self._ends[number] : self._ends[number + 1]]] = True
        return np.flatnonzero(near & alive)

    def _sort(self) -> None:
        """Bring `_order` and `_ends` up to date with `ids`."""
        if self._sorted == len(self):
            return
        flat = self.ids.reshape(-1)
        self._order = (np.argsort(flat, kind="stable") // self.ids.shape[1]).astype(np.int32)
        counts = np.bincount(flat, minlength=len(self.centres))
        self._ends = np.concatenate([[0], np.cumsum(counts)])
        self._sorted = len(self)


def train_centroids(sample: Vectors) -> Vectors:
    """Centres (M, D) learned by k-means from means (n, D)."""
    import faiss

    kmeans = faiss.Kmeans(
        sample.shape[1],
        min(LISTS, len(sample)),
        niter=_KMEANS_ROUNDS,
        spherical=True,
        seed=0,
        min_points_per_centroid=1,
        gpu=bool(faiss.get_num_gpus()),
    )
    kmeans.train(np.ascontiguousarray(sample))
    return np.asarray(kmeans.centroids, np.float32)


def _make_quantizer(centres: Vectors) -> Any:
    """The FAISS index that finds the nearest centre, on all GPUs where its build has them."""
    import faiss

    index = faiss.IndexFlatIP(centres.shape[1])
    index.add(centres)
    return faiss.index_cpu_to_all_gpus(index) if faiss.get_num_gpus() else index


def row_means(tokens: Tokens) -> NDArray[np.float32]:
    """The means of each row's groups of like tokens: (N, K, D) → (N, min(MEANS, K), D).

    Spherical k-means within each row. Its first centre is the token least like the row's mean, the
    next ones are the tokens least like the centres so far. The result is the same on every run.

    >>> row_means(np.array([[[2.0, 0.0], [0.0, 1.0]]])).tolist()
    [[[2.0, 0.0], [0.0, 1.0]]]
    """
    N, K, D = tokens.shape
    J = min(MEANS, K)
    means = np.empty((N, J, D), np.float32)
    for start in range(0, N, _GROUPED_ROWS):
        rows = torch.from_numpy(np.asarray(tokens[start : start + _GROUPED_ROWS], np.float32))
        means[start : start + _GROUPED_ROWS] = (rows if J == K else _group_tokens(rows, J)).numpy()
    return means


def _group_tokens(rows: torch.Tensor, J: int) -> torch.Tensor:
    """Means (N, J, D) of J groups of the tokens of each row (N, K, D)."""
    every_row = torch.arange(len(rows))
    similarity = torch.einsum("nkd,nd->nk", rows, _normalize(rows.mean(1)))
    chosen: list[torch.Tensor] = []
    for number in range(J):
        token = rows[every_row, similarity.argmin(1)]
        chosen.append(token)
        to_token = torch.einsum("nkd,nd->nk", rows, token)
        similarity = to_token if number == 0 else torch.maximum(similarity, to_token)
    centres = torch.stack(chosen, 1)
    for _ in range(_GROUPING_ROUNDS):
        nearest = torch.einsum("nkd,njd->nkj", rows, centres).argmax(2)
        member = torch.nn.functional.one_hot(nearest, J).float()  # (N, K, J)
        sums = torch.einsum("nkj,nkd->njd", member, rows)
        # A centre that is nearest to no token stays where it is.
        centres = torch.where(member.sum(1)[..., None] > 0, _normalize(sums), centres)
    return centres


def _normalize(vectors: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(vectors, dim=-1)
