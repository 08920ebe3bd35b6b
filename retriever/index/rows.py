"""Rows of an index in memory: int8 codes, keys and positions, blocks, and what every engine checks.

Knows the format of an int8 row (a quarter of the tokens' size, one scale a token, nothing trained)
and its arithmetic, which row has which key, what is deleted, what must be refused, and how results
are ordered and padded. Keeps blocks of tokens and codes by reference, and joins neighbouring blocks
of one mapped file into one mapping without copying. Does not know scores or files, and needs no
torch.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag_vqa.errors import UsageError
from rag_vqa.retriever.index import NO_KEY, Codes, Keys, Positions, Scores, Tokens

_MAX_CODE = 127  # the range is symmetric: -128 is never used
_ROWS_AT_ONCE = 4096  # so that memory stays flat
# Blocks of up to this many rows are joined, so that many small additions stay quick to search.
JOINED_ROWS = 2048
_CHECKED_ROWS = 4096  # rows checked at once, so that a mapped block is never copied whole
Array = NDArray[Any]
NO_RESULTS: tuple[Keys, Scores] = (np.empty(0, np.int64), np.empty(0, np.float32))


def code_dtype(K: int, D: int) -> np.dtype[np.void]:
    """One row: for each token its values, the worth of one unit (scale), and their sum.

    The sums let a processor multiply unsigned by signed bytes: Σ (q + 128) d = Σ q d + 128 Σ d.
    """
    return np.dtype([("values", "i1", (K, D)), ("scales", "<f2", (K,)), ("sums", "<i4", (K,))])


def quantize(tokens: NDArray[np.floating]) -> Codes:
    """(N, K, D), finite → (N,) codes. Each number is off by at most half of its token's scale.

    >>> codes = quantize(np.array([[[1.0, -0.5]]]))
    >>> codes["values"].tolist(), codes["sums"].tolist()
    ([[[127, -63]]], [[64]])
    """
    N, K, D = tokens.shape
    codes = np.empty(N, code_dtype(K, D))
    for start in range(0, N, _ROWS_AT_ONCE):
        part = np.asarray(tokens[start : start + _ROWS_AT_ONCE], np.float32)
        coded = codes[start : start + _ROWS_AT_ONCE]
        scales = (np.abs(part).max(axis=2) / _MAX_CODE).astype(np.float16)
        # Rounding a scale down would carry the largest value beyond 127; 0 would divide by 0.
        scales = np.maximum(np.nextafter(scales, np.float16(np.inf)), np.finfo(np.float16).tiny)
        values = np.rint(part / scales[..., None].astype(np.float32))
        coded["values"], coded["scales"] = values, scales
        coded["sums"] = values.sum(axis=2)
    return codes


def dequantize(codes: Codes) -> NDArray[np.float32]:
    """(N,) codes → (N, K, D) tokens, to within half a scale."""
    scales = codes["scales"].astype(np.float32)
    tokens: NDArray[np.float32] = codes["values"].astype(np.float32) * scales[..., None]
    return tokens


class KeyTable:
    """Keys by position. A row keeps its position for as long as the index lives.

    Attributes:
        keys: (N,) by position, deleted rows included.
        shape: (K, D) of the rows, (0, 0) before the first.
    """

    def __init__(self) -> None:
        self.keys: Keys = np.empty(0, np.int64)
        self.shape = (0, 0)
        self._alive: NDArray[np.bool_] = np.empty(0, np.bool_)  # by position
        self._by_key: Positions = np.empty(0, np.int64)  # of present rows, by rising key

    def __len__(self) -> int:
        return len(self._by_key)

    @property
    def positions_by_key(self) -> Positions:
        """Positions of present rows, by rising key."""
        return self._by_key

    def append(self, keys: Keys, shape: tuple[int, int]) -> None:
        """Give the next positions to checked rows."""
        self.keys = np.concatenate([self.keys, keys])
        self._alive = np.concatenate([self._alive, np.ones(len(keys), np.bool_)])
        self.shape = shape
        self._sort()

    def delete(self, keys: Keys) -> None:
        """Remove rows; unknown keys are ignored."""
        removed = self.find(keys)
        if len(removed):
            self._alive[removed] = False
            self._sort()

    def find(self, keys: Keys) -> Positions:
        """Ascending positions of the rows of these keys; unknown keys are ignored."""
        if not len(self):
            return np.empty(0, np.int64)
        keys = np.unique(np.asarray(keys, np.int64))
        present = self.keys[self._by_key]
        nearest = np.minimum(np.searchsorted(present, keys), len(present) - 1)
        found: Positions = np.sort(self._by_key[nearest[present[nearest] == keys]])
        return found

    def positions_among(self, keys: Keys | None) -> Positions | None:
        """Ascending positions of the rows to search: of these keys, or of all present rows.

        None means all positions: no keys were given and no row is deleted.
        """
        if keys is not None:
            return self.find(keys)
        return None if len(self) == len(self.keys) else np.flatnonzero(self._alive)

    def check(self, tokens: Tokens | None, keys: Keys, codes: Codes | None) -> None:
        """Raise UsageError for invalid rows; see `Index.add`."""
        check_rows(tokens, keys, codes, self.shape)
        if len(self.find(keys)):
            raise UsageError("Some of these keys are in the index already: delete them first.")

    def _sort(self) -> None:
        present = np.flatnonzero(self._alive)
        keys = self.keys[present]
        is_sorted = bool((keys[:-1] < keys[1:]).all())
        self._by_key = present if is_sorted else present[np.argsort(keys)]


def check_rows(
    tokens: Tokens | None, keys: Keys, codes: Codes | None, shape: tuple[int, int]
) -> tuple[int, int]:
    """(K, D) of rows to be added to an index of `shape`, which is (0, 0) if it is empty.

    Raises:
        UsageError: an invalid shape, value or key.
    """
    if keys.ndim != 1 or len(np.unique(keys)) < len(keys) or (keys < 0).any():
        raise UsageError("Keys must be (N,), distinct and not negative.")
    if tokens is not None:
        if tokens.ndim != 3 or len(tokens) != len(keys) or 0 in tokens.shape[1:]:
            raise UsageError(
                f"Rows are (N, K, D) with keys (N,), not {tokens.shape}, {keys.shape}."
            )
        own: tuple[int, ...] = tokens.shape[1:]
    elif codes is not None:
        own = codes.dtype["values"].shape if codes.dtype.names else ()
    else:
        raise UsageError("Rows need tokens, codes, or both.")
    if len(own) != 2 or shape not in ((0, 0), own):
        raise UsageError(f"Rows of {own} do not fit an index of {shape}.")
    if codes is not None and (codes.dtype != code_dtype(*own) or codes.shape != keys.shape):
        raise UsageError(f"Codes {codes.shape} do not fit {len(keys)} rows of {own}.")
    if tokens is not None and codes is None:
        _check_finite(tokens)
    return own[0], own[1]


def _check_finite(tokens: Tokens) -> None:
    for start in range(0, len(tokens), _CHECKED_ROWS):
        part = tokens[start : start + _CHECKED_ROWS]
        # Compared so that NaN fails too; what fp16 cannot hold would become infinity.
        if not (np.abs(part) <= np.finfo(np.float16).max).all():
            raise UsageError("Rows hold NaN or infinity: the encoder that made them is broken.")


@dataclass(frozen=True, slots=True)
class RowBlock:
    """Rows added together, at positions from `start`: tokens (N, K, D) or None, codes (N,)."""

    start: int
    tokens: NDArray[np.float16] | None
    codes: Codes
    coarse: Codes | None = None  # (N,) codes of fewer tokens, if the engine makes them

    def __len__(self) -> int:
        return len(self.codes)


class RowBlocks(KeyTable):
    """Rows by position and by key; `make_coarse` makes a block's coarse codes."""

    def __init__(self, make_coarse: Callable[[RowBlock, Keys], Codes] | None = None) -> None:
        super().__init__()
        self._make_coarse = make_coarse
        self.blocks: list[RowBlock] = []

    def add(self, tokens: Tokens | None, keys: Keys, codes: Codes | None) -> None:
        """Add a block; see `Index.add`.

        Joins it to the last block if both are small, or neighbours in one mapped file: many blocks
        would be slow to search.
        """
        keys = np.asarray(keys, np.int64)
        self.check(tokens, keys, codes)
        if not len(keys):
            return
        half = None if tokens is None else np.ascontiguousarray(tokens, np.float16)
        if codes is None:
            assert half is not None  # checked: one of the two is given
            codes = quantize(half)
        block = RowBlock(len(self.keys), half, np.ascontiguousarray(codes))
        if self._make_coarse is not None:
            block = replace(block, coarse=self._make_coarse(block, keys))
        if self.blocks and (joined := _join_blocks(self.blocks[-1], block)) is not None:
            self.blocks[-1] = joined
        else:
            self.blocks.append(block)
        self.append(keys, codes.dtype["values"].shape)

    def select(self, positions: Positions | None) -> Iterator[tuple[RowBlock, Positions | None]]:
        """Each block that holds some of these ascending positions, and the rows chosen in it.

        Rows are counted from the block's start. None, given or yielded, means all of them.
        """
        for block in self.blocks:
            if positions is None:
                yield block, None
                continue
            first, last = np.searchsorted(positions, [block.start, block.start + len(block)])
            if last > first:
                yield block, positions[first:last] - block.start


def _join_blocks(last: RowBlock, block: RowBlock) -> RowBlock | None:
    """Both as one block, or None if they differ in kind. Copies them only if they are small."""
    if (last.tokens is None) != (block.tokens is None):
        return None
    small = len(last) + len(block) <= JOINED_ROWS
    codes, tokens, coarse = _join_arrays(last.codes, block.codes, small), None, None
    if last.tokens is not None and block.tokens is not None:
        tokens = _join_arrays(last.tokens, block.tokens, small)
    if codes is None or (tokens is None) != (block.tokens is None):
        return None
    if last.coarse is not None and block.coarse is not None:
        coarse = np.concatenate([last.coarse, block.coarse])
    return RowBlock(last.start, tokens, codes, coarse)


def _join_arrays(last: NDArray[Any], block: NDArray[Any], small: bool) -> NDArray[Any] | None:
    """Both as one array: mapped without a copy, else copied if small, else None."""
    joined = join_mapped(last, block)
    return np.concatenate([last, block]) if joined is None and small else joined


def join_mapped(first: Array, second: Array) -> Array | None:
    """Two arrays that are neighbours in one mapped file as one mapping; None if they are not.

    Also None if the file was removed meanwhile. It relies on the file's bytes never changing.
    """
    left, right = memory_map_of(first), memory_map_of(second)
    if left is None or right is None:
        return None
    if left.filename is None or left.filename != right.filename:
        return None
    if left.offset + left.nbytes != right.offset:
        return None
    try:
        size = left.nbytes + right.nbytes
        mapped = np.memmap(left.filename, np.uint8, "r", left.offset, (size,))
    except (OSError, ValueError):  # the file was removed, or is shorter than it was
        return None
    return mapped.view(np.ndarray).view(first.dtype).reshape(-1, *first.shape[1:])


def memory_map_of(array: Array) -> np.memmap[Any, Any] | None:
    """The mapping whose bytes the array covers completely, None if there is none."""
    base: Any = array
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap) and isinstance(base.base, mmap.mmap):
            return base if base.nbytes == array.nbytes else None
        base = base.base
    return None


def check_queries(queries: Tokens, k: int, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Queries (Q, K, D) as contiguous fp32.

    Args:
        shape: the index's (K, D), (0, 0) if it is empty.

    Raises:
        UsageError: k < 1, another shape, NaN or infinity.
    """
    if k < 1:
        raise UsageError(f"k is {k}: ask for at least 1.")
    queries = np.ascontiguousarray(queries, np.float32)
    if queries.ndim != 3 or (shape != (0, 0) and queries.shape[1:] != shape):
        raise UsageError(f"Queries of shape {queries.shape} cannot search rows of {shape}.")
    if not np.isfinite(queries).all():
        raise UsageError("Queries hold NaN or infinity: the encoder that made them is broken.")
    return queries


def top_k_order(scores: Scores, keys: Keys, k: int) -> NDArray[np.intp]:
    """Indices of the k best, best first: by falling score, then rising key."""
    return np.lexsort((keys, -scores))[:k]


def pad_results(results: list[tuple[Keys, Scores]], k: int) -> tuple[Keys, Scores]:
    """Results of up to k rows for each query → keys (Q, k) and scores (Q, k)."""
    keys = np.full((len(results), k), NO_KEY, np.int64)
    scores = np.full((len(results), k), -np.inf, np.float32)
    for row, (some_keys, some_scores) in enumerate(results):
        keys[row, : len(some_keys)], scores[row, : len(some_keys)] = some_keys, some_scores
    return keys, scores
