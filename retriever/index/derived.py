"""What candidates are found by, kept in a file: it takes minutes to make and is small.

It knows rows by key: keys are never reused for other rows, so what is found under a key is that
row's. It does not know tokens, and holds nothing that cannot be made again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from rag_vqa.errors import CorruptKnowledgeBase
from rag_vqa.retriever.codes import Codes, row_type
from rag_vqa.retriever.index.files import load, save
from rag_vqa.retriever.index.protocol import Keys


@dataclass(frozen=True, slots=True)
class Derived:
    """Of rows (N), keys ascending: codes of their means, and with lists the centres (M, D) and
    the list of each mean (N, J)."""

    keys: Keys
    coarse: Codes
    centres: NDArray[np.float32] | None = None
    ids: NDArray[np.uint16] | None = None

    def take(self, keys: Keys) -> NDArray[np.intp] | None:
        """Where these keys lie, in their order; None if any is not there."""
        if not len(self.keys):
            return None
        places = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return places if (self.keys[places] == keys).all() else None

    def write(self, path: Path) -> None:
        """To one file, whole or not at all."""
        J, D = self.coarse.dtype["values"].shape
        arrays: dict[str, NDArray[Any]] = {
            "keys": self.keys,
            "coarse": np.ascontiguousarray(self.coarse).view(np.uint8),
            "shape": np.array([J, D], np.int64),
        }
        if self.centres is not None and self.ids is not None:
            arrays |= {"centres": self.centres, "ids": self.ids}
        save(path, arrays)

    @classmethod
    def read(cls, path: Path) -> Self:
        """What `write` wrote.

        Raises:
            Missing, CorruptKnowledgeBase: see `Index.open`.
        """
        arrays = load(path)
        try:
            J, D = (int(size) for size in arrays["shape"])
            keys = arrays["keys"]
            coarse = arrays["coarse"].reshape(-1).view(row_type(J, D))
            found = cls(keys, coarse, arrays.get("centres"), arrays.get("ids"))
        except (KeyError, ValueError) as error:
            raise CorruptKnowledgeBase(f"{path} is damaged: {error}") from error
        found._check(path)
        return found

    def _check(self, path: Path) -> None:
        N, (J, D) = len(self.keys), self.coarse.dtype["values"].shape
        lists = self.centres is not None and self.ids is not None
        M = len(self.centres) if self.centres is not None else 0
        wanted: list[tuple[NDArray[Any] | None, Any, tuple[int, ...]]] = [
            (self.keys, np.int64, (N,)),
            (self.coarse, self.coarse.dtype, (N,)),
            (self.centres, np.float32, (M, D)),
            (self.ids, np.uint16, (N, J)),
        ]
        for array, kind, shape in wanted[: 4 if lists else 2]:
            if array is None or array.dtype != kind or array.shape != shape:
                raise CorruptKnowledgeBase(f"{path} is damaged: an array is not {shape}.")
        if lists and self.ids is not None and self.ids.size and int(self.ids.max()) >= M:
            raise CorruptKnowledgeBase(f"{path} is damaged: a list has no centre.")
