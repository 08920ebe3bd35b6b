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

from rag_vqa.retriever.index import Keys, Positions, Scores, Tokens, ranking
from rag_vqa.retriever.index.index_files import (
    NOT_CACHED,
    CandidateCache,
    load_rows,
    row_checksums,
    save_rows,
)
from rag_vqa.retriever.index.int8_quantization import Codes, code_dtype, dequantize, quantize
from rag_vqa.retriever.index.kernels import Kernel, select_kernel
from rag_vqa.retriever.index.ranking import scan_codes
from rag_vqa.retriever.index.row_blocks import RowBlock, RowBlocks

# Up to so many rows all means are scanned; beyond, lists are learned and narrow them down.
_LISTED = 2**17
# Rows passed on by means, and by codes: at least, and for each row asked for.
_BY_MEANS, _MEANS_PER_ROW = 1000, 10
_BY_CODES, _CODES_PER_ROW = 150, 2
_ROWS_AT_ONCE = 2**13  # worked on at once, so that mapped rows are not copied whole
LISTS = 4096
PROBED = 32  # lists that are looked into for each mean of a query
LEARNED_FROM = 40 * LISTS  # means; FAISS wants 39 a list
_KMEANS_ROUNDS = 6
Vectors = NDArray[np.float32]
MEANS = 4  # of a row, or as many as it has tokens
_GROUPING_ROUNDS = 3
_GROUPED_ROWS = 2048  # worked on at once, so that memory stays flat


class FaissIndex:
    """See the module. Nothing is learned below 2^17 rows, and nothing ever learned again.

    Args:
        kernel: one of `arithmetic.kernels`; None: the best that runs here.
        derived: a file that `keep` wrote. Rows that it knows are added at once; others are
            worked out as ever.

    Raises:
        Missing, CorruptKnowledgeBase: of the file; see `Index.open`.
    """

    def __init__(self, kernel: str | None = None, derived: Path | None = None) -> None:
        self._rows = RowBlocks(self._make_mean_codes)
        self._kernel = kernel
        self._derived = None if derived is None else CandidateCache.read(derived)
        self._places: NDArray[np.intp] = np.empty(0, np.intp)  # (N,) of rows: where in `_derived`
        self._lists: InvertedLists | None = None

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, tokens: Tokens | None, keys: Keys, codes: Codes | None = None) -> None:
        """Add rows; see `Index.add`."""
        self._rows.add(tokens, keys, codes)
        self._list_new()

    def delete(self, keys: Keys) -> None:
        """Remove rows; a key that is not there is no error."""
        self._rows.delete(keys)

    def search(self, queries: Tokens, k: int, among: Keys | None = None) -> tuple[Keys, Scores]:
        """Keys (Q, k) and scores (Q, k) of the best rows; see `Index.search`."""
        queries = ranking.check_queries(queries, k, self._rows.shape)
        at = self._rows.among(among)
        using = select_kernel(max(1, queries.shape[2]), self._kernel)
        return ranking.pad_results([self._search(using, query, k, at) for query in queries], k)

    def save(self, path: Path) -> None:
        """Write all rows to one file, whole or not at all."""
        more = {} if self._lists is None else {"centres": self._lists.centres}
        save_rows(path, self._rows, more)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read what `save` wrote; see `Index.open`."""
        index = cls()
        centres = load_rows(path, index._rows.add).get("centres")
        if centres is not None:
            index._lists = InvertedLists(np.asarray(centres, np.float32))
            index._list_new()
        return index

    def keep(self, path: Path) -> None:
        """Write what was worked out of the rows: 552 bytes each, of (32, 128), and 8
        more with lists. For `derived`."""
        at, blocks = self._rows.ascending, self._rows.blocks
        checks, coarse = np.empty(0, np.uint64), np.empty(0, code_dtype(1, 1))
        if blocks:
            checks = np.concatenate([row_checksums(block.codes) for block in blocks])[at]
            coarse = np.concatenate([_mean_codes(block) for block in blocks])[at]
        found = CandidateCache(self._rows.keys[at], checks, coarse)
        if self._lists is not None:
            found = replace(found, centres=self._lists.centres, ids=self._lists.ids[at])
        found.write(path)

    def _search(
        self, using: Kernel, query: NDArray[np.float32], k: int, at: Positions | None
    ) -> tuple[Keys, Scores]:
        """Keys and scores of the best rows at those positions for a query (K, D)."""
        places = self._probe_lists(query, at, wanted := max(_BY_MEANS, _MEANS_PER_ROW * k))
        batch = query[None]
        if (len(self._rows) if places is None else len(places)) > wanted:
            ((_, places),) = scan_codes(self._rows, using, batch, places, wanted, _mean_codes)
        if places is None or len(places):
            m = max(_BY_CODES, _CODES_PER_ROW * k)
            ((_, places),) = scan_codes(self._rows, using, batch, places, m)
        scores = ranking.rescore(self._rows, using, query, places)
        keys = self._rows.keys[places]
        order = ranking.top_k_order(scores, keys, k)
        return keys[order], scores[order]

    def _probe_lists(
        self, query: NDArray[np.float32], at: Positions | None, wanted: int
    ) -> Positions | None:
        """Of those positions, those in lists near to the query, if there are enough.

        By how many rows are there to choose from, so that no answer tells what was deleted.
        """
        if self._lists is None or (len(self._rows) if at is None else len(at)) <= _LISTED:
            return at
        alive = np.zeros(len(self._lists), np.bool_)
        alive[slice(None) if at is None else at] = True
        near = self._lists.near(row_means(query[None])[0], alive)
        return near if len(near) >= wanted else at

    def _list_new(self) -> None:
        """Put rows that are in no list into theirs; learn the lists if it is time."""
        if self._lists is None:
            if len(self._rows.keys) <= _LISTED:
                return
            self._lists = InvertedLists(self._choose_centres())
        for block in self._rows.blocks:
            first, end = max(block.start, len(self._lists)), block.start + len(block)
            for start in range(first, end, _ROWS_AT_ONCE):
                part = slice(start, min(start + _ROWS_AT_ONCE, end))
                coarse = _mean_codes(block)[part.start - block.start : part.stop - block.start]
                self._lists.append(self._assign_lists(self._lists, self._places[part], coarse))

    def _choose_centres(self) -> NDArray[np.float32]:
        """Those that were kept, if they were learned from rows like these; or new ones."""
        kept = None if self._derived is None else self._derived.centres
        if kept is not None and 2 * np.count_nonzero(self._places != NOT_CACHED) >= len(
            self._places
        ):
            return kept
        if self._derived is not None:
            self._derived = replace(self._derived, centres=None, ids=None)
        return train_centroids(self._sample_means())

    def _assign_lists(
        self, lists: InvertedLists, places: NDArray[np.intp], coarse: Codes
    ) -> NDArray[np.uint16]:
        """The list of each mean of rows (n)."""
        ids = None if self._derived is None else self._derived.ids
        found = np.empty(coarse["scales"].shape, np.uint16)
        new = places == NOT_CACHED if ids is not None else np.ones(len(places), np.bool_)
        if ids is not None:
            found[~new] = ids[places[~new]]
        if new.any():
            found[new] = lists.of(dequantize(coarse[new]))
        return found

    def _sample_means(self) -> NDArray[np.float32]:
        """Means of rows spread over all blocks (n, D)."""
        rng = np.random.default_rng(0)
        found = []
        for block in self._rows.blocks:
            wanted = LEARNED_FROM // MEANS * len(block) // len(self._rows.keys) + 1
            some = rng.permutation(len(block))[:wanted]
            found.append(
                dequantize(_mean_codes(block)[np.sort(some)]).reshape(-1, self._rows.shape[1])
            )
        return rng.permutation(np.concatenate(found))[:LEARNED_FROM]

    def _make_mean_codes(self, block: RowBlock, keys: Keys) -> Codes:
        """Codes of a block's means: those that were kept, the others worked out."""
        K, D = block.codes.dtype["values"].shape
        coarse = np.empty(len(block), code_dtype(min(MEANS, K), D))
        places = self._find_cached(block, keys, coarse.dtype)
        for start in range(0, len(block), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            new = start + np.flatnonzero(places[part] == NOT_CACHED)
            old = start + np.flatnonzero(places[part] != NOT_CACHED)
            if self._derived is not None and len(old):
                coarse[old] = self._derived.coarse[places[old]]
            if len(new):
                rows = dequantize(block.codes[new]) if block.tokens is None else block.tokens[new]
                coarse[new] = quantize(row_means(rows))
        self._places = np.concatenate([self._places, places])
        return coarse

    def _find_cached(
        self, block: RowBlock, keys: Keys, kind: np.dtype[np.void]
    ) -> NDArray[np.intp]:
        """Where in what was kept a block's rows are."""
        if self._derived is None:
            return np.full(len(block), NOT_CACHED, np.intp)
        if len(self._derived.keys) and self._derived.coarse.dtype != kind:
            warnings.warn("What was kept is of other rows. It is worked out anew.", stacklevel=2)
            self._derived = None
            return np.full(len(block), NOT_CACHED, np.intp)
        return self._derived.find(keys, block.codes)


def _mean_codes(block: RowBlock) -> Codes:
    assert block.coarse is not None  # `_make_mean_codes` makes them of every block
    return block.coarse


class InvertedLists:
    """Centres (M, D), and the rows of each list. Rows are appended, never moved."""

    def __init__(self, centres: Vectors) -> None:
        self.centres = centres
        self._quantizer = _make_quantizer(centres)
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


def train_centroids(sample: Vectors) -> Vectors:
    """Centres (M, D) out of means (n, D)."""
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
    import faiss

    index = faiss.IndexFlatIP(centres.shape[1])
    index.add(centres)
    return faiss.index_cpu_to_all_gpus(index) if faiss.get_num_gpus() else index


def row_means(tokens: Tokens) -> NDArray[np.float32]:
    """(N, K, D) → (N, min(MEANS, K), D), unit length.

    Spherical k-means within each row. It begins at the token that is least like their mean, goes
    on with the one that is least like those begun at, and is the same on every run.

    >>> row_means(np.array([[[2.0, 0.0], [0.0, 1.0]]])).tolist()
    [[[2.0, 0.0], [0.0, 1.0]]]
    """
    N, K, D = tokens.shape
    J = min(MEANS, K)
    found = np.empty((N, J, D), np.float32)
    for start in range(0, N, _GROUPED_ROWS):
        rows = torch.from_numpy(np.asarray(tokens[start : start + _GROUPED_ROWS], np.float32))
        found[start : start + _GROUPED_ROWS] = (rows if J == K else _group_tokens(rows, J)).numpy()
    return found


def _group_tokens(rows: torch.Tensor, J: int) -> torch.Tensor:
    """(N, K, D) → (N, J, D)."""
    every = torch.arange(len(rows))
    likest = torch.einsum("nkd,nd->nk", rows, _normalize(rows.mean(1)))
    chosen: list[torch.Tensor] = []
    for number in range(J):
        token = rows[every, likest.argmin(1)]
        chosen.append(token)
        near = torch.einsum("nkd,nd->nk", rows, token)
        likest = near if number == 0 else torch.maximum(likest, near)
    centres = torch.stack(chosen, 1)
    for _ in range(_GROUPING_ROUNDS):
        nearest = torch.einsum("nkd,njd->nkj", rows, centres).argmax(2)
        member = torch.nn.functional.one_hot(nearest, J).float()  # (N, K, J)
        sums = torch.einsum("nkj,nkd->njd", member, rows)
        # A centre that no token is nearest to stays where it is.
        centres = torch.where(member.sum(1)[..., None] > 0, _normalize(sums), centres)
    return centres


def _normalize(vectors: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(vectors, dim=-1)
