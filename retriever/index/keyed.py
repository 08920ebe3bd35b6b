"""Which row has which key: positions in the order of adding, what is deleted, what is refused.

It knows keys and shapes. It does not hold rows nor know scores.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rag_vqa.errors import UsageError
from rag_vqa.retriever.codes import Codes, row_type
from rag_vqa.retriever.index.protocol import Keys, Positions, Tokens

# Rows of blocks that are joined, so that many small additions stay quick to search.
JOINED = 2048
_CHECKED = 4096  # rows looked at at once: a mapped block is never copied whole


class Keyed:
    """Keys by position. A row has one position for as long as the index lives.

    Attributes:
        keys: (N,) by position, of deleted rows too.
        shape: (K, D) of the rows, (0, 0) before the first.
    """

    def __init__(self) -> None:
        self.keys: Keys = np.empty(0, np.int64)
        self.shape = (0, 0)
        self._alive: NDArray[np.bool_] = np.empty(0, np.bool_)  # by position
        self._order: Positions = np.empty(0, np.int64)  # of rows that are there, keys ascending

    def __len__(self) -> int:
        return len(self._order)

    @property
    def ascending(self) -> Positions:
        """Positions of rows that are there, by rising key."""
        return self._order

    def append(self, keys: Keys, shape: tuple[int, int]) -> None:
        """Give the next positions to rows that were checked."""
        self.keys = np.concatenate([self.keys, keys])
        self._alive = np.concatenate([self._alive, np.ones(len(keys), np.bool_)])
        self.shape = shape
        self._sort()

    def delete(self, keys: Keys) -> None:
        """Take rows away; a key that is not there is no error."""
        gone = self.find(keys)
        if len(gone):
            self._alive[gone] = False
            self._sort()

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

    def check(self, tokens: Tokens | None, keys: Keys, codes: Codes | None) -> None:
        """Refuse rows that cannot be meant; see `Index.add`."""
        check_rows(tokens, keys, codes, self.shape)
        if len(self.find(keys)):
            raise UsageError("Some of these keys are in the index already: delete them first.")

    def _sort(self) -> None:
        there = np.flatnonzero(self._alive)
        keys = self.keys[there]
        ascends = bool((keys[:-1] < keys[1:]).all())
        self._order = there if ascends else there[np.argsort(keys)]


def check_rows(
    tokens: Tokens | None, keys: Keys, codes: Codes | None, shape: tuple[int, int]
) -> tuple[int, int]:
    """(K, D) of rows to be added to an index of `shape`, (0, 0) if it is empty.

    Raises:
        UsageError: a shape, a value or a key that cannot be meant.
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
    if codes is not None and (codes.dtype != row_type(*own) or codes.shape != keys.shape):
        raise UsageError(f"Codes {codes.shape} do not fit {len(keys)} rows of {own}.")
    if tokens is not None and codes is None:
        _check_finite(tokens)
    return own[0], own[1]


def _check_finite(tokens: Tokens) -> None:
    for start in range(0, len(tokens), _CHECKED):
        part = tokens[start : start + _CHECKED]
        # Compared so that NaN fails too; what fp16 cannot hold would become infinity.
        if not (np.abs(part) <= np.finfo(np.float16).max).all():
            raise UsageError("Rows hold NaN or infinity: the encoder that made them is broken.")
