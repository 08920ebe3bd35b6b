"""What candidates are found by, kept in a file: it takes minutes to make and is small.

It knows rows by key, and a checksum of each: a key may come to mean another row, where an older
copy of a knowledge base was put back. It does not know tokens, and holds nothing that cannot be
made again.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from rag_vqa.errors import CorruptKnowledgeBase
from rag_vqa.retriever.codes import Codes, row_type
from rag_vqa.retriever.index.files import load, save
from rag_vqa.retriever.index.protocol import Keys

NOWHERE = -1
_ROWS = 4096  # of mapped codes, copied at once


@dataclass(frozen=True, slots=True)
class Derived:
    """Of rows (N), keys ascending: `checksums` of their codes, codes of their means, and with
    lists the centres (M, D) and the list of each mean (N, J)."""

    keys: Keys
    checks: NDArray[np.uint64]
    coarse: Codes
    centres: NDArray[np.float32] | None = None
    ids: NDArray[np.uint16] | None = None

    def find(self, keys: Keys, codes: Codes) -> NDArray[np.intp]:
        """Where rows of these keys and codes (n,) lie; NOWHERE if there is none of both."""
        found = np.full(len(keys), NOWHERE, np.intp)
        if not len(self.keys):
            return found
        places = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        alike = np.flatnonzero(self.keys[places] == keys)
        for start in range(0, len(alike), _ROWS):
            some = alike[start : start + _ROWS]
            sound = self.checks[places[some]] == checksums(codes[some])
            found[some[sound]] = places[some[sound]]
        return found

    def write(self, path: Path) -> None:
        """To one file, whole or not at all."""
        J, D = self.coarse.dtype["values"].shape
        arrays: dict[str, NDArray[Any]] = {
            "keys": self.keys,
            "checks": self.checks,
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
            if min(J, D) < 1:
                raise ValueError(f"means of {J} × {D}")
            coarse = arrays["coarse"].reshape(-1).view(row_type(J, D))
            centres, ids = arrays.get("centres"), arrays.get("ids")
            found = cls(arrays["keys"].reshape(-1), arrays["checks"], coarse, centres, ids)
        except (KeyError, ValueError, TypeError, OverflowError, ZeroDivisionError) as error:
            raise CorruptKnowledgeBase(
                f"{path} is damaged, or of another version: {error!r}."
            ) from error
        found._check(path)
        return found

    def _check(self, path: Path) -> None:
        N, (J, D) = len(self.keys), self.coarse.dtype["values"].shape
        lists = self.centres is not None and self.ids is not None
        M = self.centres.size // D if self.centres is not None else 0
        wanted: list[tuple[NDArray[Any] | None, Any, tuple[int, ...]]] = [
            (self.keys, np.int64, (N,)),
            (self.checks, np.uint64, (N,)),
            (self.coarse, self.coarse.dtype, (N,)),
            (self.centres, np.float32, (M, D)),
            (self.ids, np.uint16, (N, J)),
        ]
        for array, kind, shape in wanted[: 5 if lists else 3]:
            if array is None or array.dtype != kind or array.shape != shape:
                raise CorruptKnowledgeBase(f"{path} is damaged: an array is not {shape}.")
        if lists and self.ids is not None and self.ids.size and int(self.ids.max()) >= M:
            raise CorruptKnowledgeBase(f"{path} is damaged: a list has no centre.")


def checksums(codes: Codes) -> NDArray[np.uint64]:
    """64 bits of each row (N,): rows that are not the same differ in them, by all odds.

    Of two quick ones, against mishap and not malice: they are made of all rows at each opening.
    """
    rows = np.ascontiguousarray(codes).view(np.uint8).reshape(len(codes), codes.itemsize)
    made = (zlib.crc32(row.data) << 32 | zlib.adler32(row.data) for row in rows)
    return np.fromiter(made, np.uint64, len(rows))
