"""Record store: JSON lines on disk, fetched by place or by id, and the records of documents in it.

Knows bytes, places, ids, and what is kept of a document to train on. Holds nothing in memory: two
tables are mapped (8 bytes a record for its place, 16 for its id), and a record is one read. Opens
no picture.
"""

from __future__ import annotations

import hashlib
import json
import os
import weakref
from array import array
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag_vqa.errors import BadInput, RagVqaError
from rag_vqa.formats.document import Record
from rag_vqa.formatting import quote_value
from rag_vqa.retriever.passages import whole_document_passage
from rag_vqa.retriever.training.training_pairs import id_number
from rag_vqa.types import Document, ImageSource

StoredRecord = Mapping[str, Any]


class RecordStore:
    """Reads the files that `write_records` wrote. Pickled as a path, for other processes."""

    def __init__(self, path: Path) -> None:
        """Raises RagVqaError: the files are damaged."""
        self.path = path
        self._file: int | None = None  # opened in the process that reads
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

    def __reduce__(self) -> tuple[type[RecordStore], tuple[Path]]:
        return RecordStore, (self.path,)

    def read_at(self, place: int) -> StoredRecord:
        """The record at a place, 0 … len - 1."""
        if self._file is None:
            self._file = os.open(self.path, os.O_RDONLY)
            weakref.finalize(self, os.close, self._file)
        start, end = int(self._ends[place]), int(self._ends[place + 1])
        record: StoredRecord = json.loads(os.pread(self._file, end - start, start))
        return record

    def find(self, identity: str) -> StoredRecord | None:
        """The record with that id; None without one."""
        wanted = id_number(identity)
        for at in range(int(np.searchsorted(self._numbers, wanted)), len(self._numbers)):
            if self._numbers[at] != wanted:
                break
            record = self.read_at(int(self._places[at]))
            if record["id"] == identity:
                return record
        return None

    def contains(self, numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of these id numbers belong to a record."""
        if not len(self):
            return np.zeros(len(numbers), np.bool_)
        at = np.searchsorted(self._numbers, numbers).clip(max=len(self) - 1)
        found: NDArray[np.bool_] = self._numbers[at] == numbers
        return found


def write_records(
    path: Path, records: Iterable[StoredRecord], origin: Path | None = None
) -> RecordStore:
    """Write records to new files; each has a string "id", and equal records may repeat.

    Raises:
        BadInput: two different records have one id; the message names `origin`, their source.
    """
    ends, numbers, size = array("q", [0]), array("q"), 0
    with path.open("wb") as file:
        for record in records:
            line = json.dumps(record, ensure_ascii=False).encode() + b"\n"
            size += file.write(line)
            ends.append(size)
            numbers.append(id_number(record["id"]))
        file.flush()
        os.fsync(file.fileno())
    unsorted = np.frombuffer(numbers, np.int64) if numbers else np.empty(0, np.int64)
    order = np.argsort(unsorted, kind="stable")
    _save_table(path, "ends", np.frombuffer(ends, np.int64))
    _save_table(path, "numbers", unsorted[order])
    _save_table(path, "places", order.astype(np.int64))
    store = RecordStore(path)
    twice = np.flatnonzero(np.diff(unsorted[order]) == 0)
    for at in twice.tolist():
        first, second = (store.read_at(int(order[row])) for row in (at, at + 1))
        if first["id"] == second["id"] and first != second:
            raise BadInput(
                f"{origin or path}: two different records have the id "
                f"{quote_value(first['id'])}: keep one."
            )
    return store


def digest_records(store: RecordStore) -> str:
    """SHA-256 of all records in order, in hex."""
    with store.path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _save_table(path: Path, name: str, table: NDArray[np.int64]) -> None:
    np.save(path.with_suffix(f".{name}.npy"), table, allow_pickle=False)


def inline_record(document: Document, root: Path) -> Record:
    """A passage that a row brings, with its pictures in the folder `root`."""
    fields = {name: getattr(document, name) for name in Document.__dataclass_fields__}
    fields["images"] = tuple(root / str(image) for image in document.images)
    return Record(**fields, line=None, folder=root)


def check_picture_path(path: Path, root: Path) -> None:
    """Raises BadInput if the picture does not exist, or lies outside of `root`."""
    if not path.is_file():
        raise BadInput(f"its picture {path} does not exist.")
    if not Path(os.path.realpath(path)).is_relative_to(root):
        raise BadInput(f"its picture {path} lies outside {root}: copy it into that folder.")


def passage_record(document: Document) -> dict[str, Any]:
    """A document as one passage, with the bytes or the path of its picture."""
    one = whole_document_passage(document)
    return {"id": document.id, "text": one.text, **_image_fields(one.image)}


def _image_fields(image: ImageSource | None) -> dict[str, str]:
    if image is None:
        return {}
    if isinstance(image, bytes):
        return {"bytes": b64encode(image).decode()}
    if isinstance(image, str | Path):
        return {"image": str(image)}
    raise RagVqaError("A decoded picture cannot be packed: give a path or bytes.")


def record_picture(record: StoredRecord) -> ImageSource | None:
    """The path or the bytes of a record's picture; None without one."""
    return b64decode(record["bytes"]) if "bytes" in record else record.get("image")
