"""The rows of an index: blocks of tokens and codes, their keys, and which are deleted.

It knows positions: a row has one for as long as the index lives, blocks in the order of their
adding. It refuses what cannot be meant. It does not know scores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rag_vqa.errors import UsageError
from rag_vqa.retriever.codes import encode, row_type
from rag_vqa.retriever.index.protocol import Codes, Keys, Positions, Tokens

_CHECKED = 4096  # rows looked at at once: a mapped block is never copied whole
_SMALL = 2048  # rows of blocks that are joined, so that many small additions stay quick to search


@dataclass(frozen=True, slots=True)
class Block:
    """Rows added together: tokens (N, K, D) fp16 or None, codes (N,), keys (N,); see `Rows`."""

    start: int  # position of its first row
    tokens: NDArray[np.float16] | None
    codes: Codes
    keys: Keys
    coarse: Codes | None = None  # (N,) of fewer tokens, where an engine makes them

    def __len__(self) -> int:
        return len(self.keys)


class Rows:
    """Rows by position and by key. `shape` is (K, D), (0, 0) before the first row.

    `coarse` makes a block's coarse codes out of its keys, and its tokens or codes.
    """

    def __init__(self, coarse: Callable[[Block], Codes] | None = None) -> None:
        self._coarse = coarse
        self.blocks: list[Block] = []
        self.shape = (0, 0)
        self.keys: Keys = np.empty(0, np.int64)  # by position, of deleted rows too
        self._alive: NDArray[np.bool_] = np.empty(0, np.bool_)  # by position
        self._order: Positions = np.empty(0, np.int64)  # of rows that are there, keys ascending

    def __len__(self) -> int:
        return len(self._order)

    def add(self, tokens: Tokens | None, keys: Keys, codes: Codes | None) -> None:
        """Add a block; see `Index.add`. A small one is joined to the last, if that is small."""
        keys = np.asarray(keys, np.int64)
        self._check(tokens, keys, codes)
        if not len(keys):
            return
        half = None if tokens is None else np.ascontiguousarray(tokens, np.float16)
        if codes is None:
            assert half is not None  # checked: one of the two is given
            codes = encode(half)
        block = Block(len(self.keys), half, np.ascontiguousarray(codes), keys.copy())
        if self._coarse is not None:
            block = replace(block, coarse=self._coarse(block))
        last = self.blocks[-1] if self.blocks else None
        if last is not None and _joins(last, block):
            self.blocks[-1] = _join(last, block)
        else:
            self.blocks.append(block)
        self.shape = block.codes.dtype["values"].shape
        self.keys = np.concatenate([self.keys, keys])
        self._alive = np.concatenate([self._alive, np.ones(len(keys), np.bool_)])
        self._sort()

    def delete(self, keys: Keys) -> Positions:
        """Take rows away; the positions of those that were there."""
        gone = self.find(keys)
        if len(gone):
            self._alive[gone] = False
            self._sort()
        return gone

    def find(self, keys: Keys) -> Positions:
        """Positions, ascending, of those keys that are there."""
        if not len(self):
            return np.empty(0, np.int64)
        keys = np.unique(np.asarray(keys, np.int64))
        mine = self.keys[self._order]
        places = np.minimum(np.searchsorted(mine, keys), len(mine) - 1)
        found: Positions = np.sort(self._order[places[mine[places] == keys]])
        return found

    def among(self, keys: Keys | None) -> Positions | None:
        """Positions, ascending, to choose from; None for all where none is deleted."""
        if keys is not None:
            return self.find(keys)
        return None if len(self) == len(self.keys) else np.flatnonzero(self._alive)

    def parts(self, at: Positions | None) -> Iterator[tuple[Block, Positions | None]]:
        """Blocks with the positions inside them, ascending, out of those given; None for all."""
        for block in self.blocks:
            if at is None:
                yield block, None
                continue
            first, last = np.searchsorted(at, [block.start, block.start + len(block)])
            if last > first:
                yield block, at[first:last] - block.start

    def _sort(self) -> None:
        there = np.flatnonzero(self._alive)
        keys = self.keys[there]
        ascends = bool((keys[:-1] < keys[1:]).all())
        self._order = there if ascends else there[np.argsort(keys)]

    def _check(self, tokens: Tokens | None, keys: Keys, codes: Codes | None) -> None:
        if keys.ndim != 1:
            raise UsageError(f"Keys are (N,), not {keys.shape}.")
        if tokens is None and codes is None:
            raise UsageError("Rows need tokens, codes, or both.")
        if tokens is not None:
            self._check_tokens(tokens, keys, read=codes is None)
        if codes is not None:
            K, D = self.shape if tokens is None else tokens.shape[1:]
            K, D = (K, D) if (K, D) != (0, 0) else codes.dtype["values"].shape
            if codes.dtype != row_type(K, D) or codes.shape != keys.shape:
                raise UsageError(f"Codes {codes.shape} do not fit {len(keys)} rows of ({K}, {D}).")
        if len(np.unique(keys)) < len(keys) or (keys < 0).any() or len(self.find(keys)):
            raise UsageError("Keys must be distinct, not negative, and not in the index already.")

    def _check_tokens(self, tokens: Tokens, keys: Keys, read: bool) -> None:
        if tokens.ndim != 3 or tokens.shape[0] != len(keys) or 0 in tokens.shape[1:]:
            raise UsageError(f"Rows are (N, K, D) with keys (N,), not {tokens.shape}, {keys.shape}.")
        if self.shape != (0, 0) and tokens.shape[1:] != self.shape:
            raise UsageError(f"Rows of {tokens.shape[1:]} do not fit an index of {self.shape}.")
        for start in range(0, len(tokens) if read else 0, _CHECKED):
            part = tokens[start : start + _CHECKED]
            # Compared so that NaN fails too; what fp16 cannot hold would become infinity.
            if not (np.abs(part) <= np.finfo(np.float16).max).all():
                raise UsageError("Rows hold NaN or infinity: the encoder that made them is broken.")


def _joins(last: Block, block: Block) -> bool:
    alike = (last.tokens is None) == (block.tokens is None)
    return alike and len(last) + len(block) <= _SMALL


def _join(last: Block, block: Block) -> Block:
    tokens = None
    if last.tokens is not None and block.tokens is not None:
        tokens = np.concatenate([last.tokens, block.tokens])
    codes = np.concatenate([last.codes, block.codes])
    keys, coarse = np.concatenate([last.keys, block.keys]), None
    if last.coarse is not None and block.coarse is not None:
        coarse = np.concatenate([last.coarse, block.coarse])
    return Block(last.start, tokens, codes, keys, coarse)
