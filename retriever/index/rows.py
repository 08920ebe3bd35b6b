"""The rows of an index on a CPU: blocks of tokens and codes, kept by reference.

It knows blocks and positions. It does not know scores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag_vqa.retriever.codes import encode
from rag_vqa.retriever.index.keyed import JOINED, Keyed
from rag_vqa.retriever.index.mapped import together
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
        """Add a block; see `Index.add`. It is joined to the last where both are mapped and lie
        side by side, or are small: many blocks would be slow to search."""
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
        if self.blocks and (joined := _joined(self.blocks[-1], block)) is not None:
            self.blocks[-1] = joined
        else:
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


def _joined(last: Block, block: Block) -> Block | None:
    """Both as one block, if they are alike; a copy only if they are small."""
    if (last.tokens is None) != (block.tokens is None):
        return None
    small = len(last) + len(block) <= JOINED
    codes, tokens, coarse = _one(last.codes, block.codes, small), None, None
    if last.tokens is not None and block.tokens is not None:
        tokens = _one(last.tokens, block.tokens, small)
    if codes is None or (tokens is None) != (block.tokens is None):
        return None
    if last.coarse is not None and block.coarse is not None:
        coarse = np.concatenate([last.coarse, block.coarse])
    return Block(last.start, tokens, codes, coarse)


def _one(last: NDArray[Any], block: NDArray[Any], small: bool) -> NDArray[Any] | None:
    joined = together(last, block)
    return np.concatenate([last, block]) if joined is None and small else joined
