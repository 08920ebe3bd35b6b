"""What every engine of late interaction offers. It knows shapes and order, no arithmetic."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from rag_vqa.retriever.codes import Codes

Keys = NDArray[np.int64]
Scores = NDArray[np.float32]
Tokens = NDArray[np.floating]

NO_KEY = -1  # pads an answer of fewer than k rows, with score -inf


class Index(Protocol):
    """Finds the rows of highest s(Q, D) = Σ_i max_j Q_i · D_j. Keys are given by the caller."""

    def __len__(self) -> int:
        """How many rows it holds."""

    def add(self, tokens: Tokens | None, keys: Keys, codes: Codes | None = None) -> None:
        """Add rows.

        Args:
            tokens: (N, K, D), the K and D of the rows already there. The array may be read-only
                and mapped from a file, and may be kept by reference: its owner leaves it alone.
                None where only codes are kept.
            keys: (N,) distinct, not negative, not in use.
            codes: (N,) rows of `codes.row_type(K, D)`, which `codes.encode` makes of the tokens;
                None for an engine to make what it needs of `tokens`.

        Raises:
            UsageError: a shape, a value or a key that cannot be meant.
        """

    def delete(self, keys: Keys) -> None:
        """Remove rows; a key that is not there is no error."""

    def search(self, queries: Tokens, k: int, among: Keys | None = None) -> tuple[Keys, Scores]:
        """The k best rows of each query, best first, ties to the lower key.

        Args:
            queries: (Q, K, D).
            among: keys to choose from; None for all. Those that are not there are left out.

        Returns:
            keys (Q, k) int64 and scores (Q, k) float32; rows short of k end in NO_KEY and -inf.
        """

    def save(self, path: Path) -> None:
        """Write all rows to one file, whole or not at all."""

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            Missing: no such file.
            CorruptKnowledgeBase: the file is damaged, or of another engine.
        """
