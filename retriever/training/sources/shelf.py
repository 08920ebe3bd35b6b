"""Records on disk, fetched by their place or by their id: JSON lines with two small tables.

It knows bytes, places and ids. It does not know what a record means. Nothing is held in memory:
the tables are mapped (8 bytes a record for its place, 16 for its id), and a record is one read.
"""

from __future__ import annotations

import hashlib
import json
import os
import weakref
from array import array
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag_vqa.errors import BadInput, RagVqaError
from rag_vqa.formats.document import shown
from rag_vqa.retriever.training.batch import number

Record = Mapping[str, Any]


class Shelf:
    """Reads what `write` wrote; travels to other processes as a path."""

    def __init__(self, path: Path) -> None:
        """Raises RagVqaError: it is damaged."""
        self.path = path
        self._file: int | None = None  # opened where it is read: it does not travel
        tables = [path.with_suffix(f".{name}.npy") for name in ("ends", "numbers", "places")]
        try:
            self._ends, self._numbers, self._places = (
                np.load(table, mmap_mode="r", allow_pickle=False) for table in tables
            )
            size = path.stat().st_size
        except (OSError, ValueError, EOFError) as error:
            raise RagVqaError(f"{path} is damaged ({error}): delete {path.parent}.") from error
        if size != self._ends[-1] or len(self._numbers) != len(self._places):
            raise RagVqaError(f"{path} is damaged (its size is wrong): delete {path.parent}.")

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __reduce__(self) -> tuple[type[Shelf], tuple[Path]]:
        return Shelf, (self.path,)

    def at(self, place: int) -> Record:
        """The record of a place, 0 … len - 1."""
        if self._file is None:
            self._file = os.open(self.path, os.O_RDONLY)
            weakref.finalize(self, os.close, self._file)
        start, end = int(self._ends[place]), int(self._ends[place + 1])
        record: Record = json.loads(os.pread(self._file, end - start, start))
        return record

    def find(self, identity: str) -> Record | None:
        """The record of an id, None if there is none."""
        wanted = number(identity)
        for at in range(int(np.searchsorted(self._numbers, wanted)), len(self._numbers)):
            if self._numbers[at] != wanted:
                break
            record = self.at(int(self._places[at]))
            if record["id"] == identity:
                return record
        return None

    def among(self, numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of the numbers of ids are those of a record here."""
        if not len(self):
            return np.zeros(len(numbers), np.bool_)
        at = np.searchsorted(self._numbers, numbers).clip(max=len(self) - 1)
        found: NDArray[np.bool_] = self._numbers[at] == numbers
        return found


def write(path: Path, records: Iterable[Record], origin: Path | None = None) -> Shelf:
    """Write records, each with its own text "id", into new files; one that comes twice is one.

    Raises:
        BadInput: two records of one id that differ; it names `origin`, where they come from.
    """
    ends, numbers, size = array("q", [0]), array("q"), 0
    with path.open("wb") as file:
        for record in records:
            line = json.dumps(record, ensure_ascii=False).encode() + b"\n"
            size += file.write(line)
            ends.append(size)
            numbers.append(number(record["id"]))
        file.flush()
        os.fsync(file.fileno())
    unsorted = np.frombuffer(numbers, np.int64) if numbers else np.empty(0, np.int64)
    order = np.argsort(unsorted, kind="stable")
    _save(path, "ends", np.frombuffer(ends, np.int64))
    _save(path, "numbers", unsorted[order])
    _save(path, "places", order.astype(np.int64))
    shelf = Shelf(path)
    twice = np.flatnonzero(np.diff(unsorted[order]) == 0)
    for at in twice.tolist():
        first, second = (shelf.at(int(order[row])) for row in (at, at + 1))
        if first["id"] == second["id"] and first != second:
            raise BadInput(
                f"{origin or path}: two of the id {shown(first['id'])} differ: keep one."
            )
    return shelf


def digest_of(shelf: Shelf) -> str:
    """SHA-256 of all records in their order, in hex."""
    with shelf.path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _save(path: Path, name: str, table: NDArray[np.int64]) -> None:
    np.save(path.with_suffix(f".{name}.npy"), table, allow_pickle=False)
