"""The rows of an index on a CPU: blocks of tokens and codes, kept by reference.

It knows blocks and positions. It does not know scores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rag_vqa.retriever.codes import encode
from rag_vqa.retriever.index.keyed import JOINED, Keyed
from rag_vqa.retriever.index.protocol import Codes, Keys, Positions, Tokens


@dataclass(frozen=True, slots=True)
class Block:
    """Rows added together, of positions from `start`: tokens (N, K, D) or None, codes (N,)."""

    start: int
    tokens: NDArray[np.float16] | None
    codes: Codes
    coarse: Codes | None = None  # (N,) of fewer tokens, where an engine makes them

    def __len__(self) -> int:
        return len(self.codes)


class Rows(Keyed):
    """Rows by position and by key; `coarse` makes a block's coarse codes."""

    def __init__(self, coarse: Callable[[Block, Keys], Codes] | None = None) -> None:
        super().__init__()
        self._coarse = coarse
        self.blocks: list[Block] = []

    def add(self, tokens: Tokens | None, keys: Keys, codes: Codes | None) -> None:
        """Add a block; see `Index.add`. A small one is joined to the last, if that is small."""
        keys = np.asarray(keys, np.int64)
        self.check(tokens, keys, codes)
        if not len(keys):
            return
        half = None if tokens is None else np.ascontiguousarray(tokens, np.float16)
        if codes is None:
            assert half is not None  # checked: one of the two is given
            codes = encode(half)
        block = Block(len(self.keys), half, np.ascontiguousarray(codes))
        if self._coarse is not None:
            block = replace(block, coarse=self._coarse(block, keys))
        if self.blocks and _joins(self.blocks[-1], block):
            block = _join(self.blocks.pop(), block)
        self.blocks.append(block)
        self.append(keys, codes.dtype["values"].shape)

    def parts(self, at: Positions | None) -> Iterator[tuple[Block, Positions | None]]:
        """Blocks with the positions inside them, ascending, out of those given; None for all."""
        for block in self.blocks:
            if at is None:
                yield block, None
                continue
            first, last = np.searchsorted(at, [block.start, block.start + len(block)])
            if last > first:
                yield block, at[first:last] - block.start


def _joins(last: Block, block: Block) -> bool:
    alike = (last.tokens is None) == (block.tokens is None)
    return alike and len(last) + len(block) <= JOINED


def _join(last: Block, block: Block) -> Block:
    tokens = coarse = None
    if last.tokens is not None and block.tokens is not None:
        tokens = np.concatenate([last.tokens, block.tokens])
    if last.coarse is not None and block.coarse is not None:
        coarse = np.concatenate([last.coarse, block.coarse])
    return Block(last.start, tokens, np.concatenate([last.codes, block.codes]), coarse)
