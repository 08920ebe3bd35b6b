"""What every engine of late interaction offers. It knows shapes and order, no arithmetic."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from rag_vqa.retriever.codes import Codes

__all__ = ["NO_KEY", "Codes", "Index", "Keys", "Positions", "Scores", "Tokens"]

Keys = NDArray[np.int64]
Positions = NDArray[np.int64]  # where a row lies, as against its key
Scores = NDArray[np.float32]
Tokens = NDArray[np.floating]

NO_KEY = -1  # pads an answer of fewer than k rows, with score -inf


class Index(Protocol):
    """Finds the rows of highest s(Q, D) = Σ_i max_j Q_i · D_j. Keys are given by the caller."""

    def __len__(self) -> int:
        """How many rows it holds."""

    def add(self, tokens: Tokens | None, keys: Keys, codes: Codes | None = None) -> None:
        """Add rows, a block at a time; blocks of some 2^15 rows are searched best.

        Arrays that are fp16 tokens or codes and lie in one piece are kept by reference, never
        copied whole: they may be mapped from read-only files, and must not change afterwards. The
        engines "triton" and "qdrant" hold rows elsewhere, and refer to nothing.

        Args:
            tokens: (N, K, D), the K and D of the rows already there. None: only codes are kept,
                and the scores of these rows are those of the tokens that the codes stand for.
            keys: (N,) distinct, not negative, not in use.
            codes: (N,) the same rows as `codes.encode` makes them; None: made here. With them
                tokens are taken to be finite, and none is read before it is searched for.

        Raises:
            UsageError: a shape, a value or a key that cannot be meant.
        """

    def delete(self, keys: Keys) -> None:
        """Remove rows; a key that is not there is no error. It may be added again later.

        An engine that keeps arrays by reference holds on to them until it is made anew.
        """

    def search(self, queries: Tokens, k: int, among: Keys | None = None) -> tuple[Keys, Scores]:
        """The k best rows of each query, best first, ties to the lower key.

        Args:
            queries: (Q, K, D).
            among: keys to choose from; None for all. Those that are not there are left out.

        Returns:
            keys (Q, k) int64 and scores (Q, k) float32; rows short of k end in NO_KEY and -inf.
            Scores are those of fp16 tokens, whatever an engine finds its candidates by.
        """

    def save(self, path: Path) -> None:
        """Write all rows to one file, whole or not at all.

        Takes the memory of a copy: a knowledge base keeps rows in files of its own instead.
        """

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read what `save` wrote; the same searches have the same results.

        Raises:
            Missing: no such file.
            CorruptKnowledgeBase: the file is damaged, or of another engine.
        """
