"""A packed folder as a source of training pairs, each epoch in another order.

Knows places, epochs and ids. Does not know file formats (source_packing.py), and opens no picture.
Every draw is a function of the seed and the place. The order takes no memory: a Feistel network is
a bijection of 2^(2b) numbers whatever its round function is; numbers beyond the size are sent
through again until one is below it (cycle walking: Black and Rogaway, CT-RSA 2002).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np

from rag_vqa.errors import BadInput, RagVqaError
from rag_vqa.retriever.training.record_store import RecordStore, StoredRecord, record_picture
from rag_vqa.retriever.training.source_packing import (
    DOCUMENTS_FILE,
    PACKED_FILE,
    REJECTS_FILE,
    ROWS_FILE,
)
from rag_vqa.retriever.training.training_pairs import Item, Pair
from rag_vqa.retriever.training.training_settings import OnBad

_MAX_DRAWS = 100  # per negative, until a document is found that is not right
FEISTEL_ROUNDS = 6


class PackedSource:
    """The rows of a packed folder, each epoch in another order. A `PairSource`.

    Attributes:
        counts: rows, documents, refused, … when they were packed; `folder/rejects.jsonl` has the
            reasons.
        digest: of all rows and documents, and of the paths of their pictures: a resumed run needs
            the same.
        instructions: one is drawn for each pair. Empty: the row's own, or else `instruction`.
        hard: negatives per pair.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        instructions: Sequence[str] = (),
        instruction: str = "",
        hard: int = 0,
        on_bad: OnBad = "stop",
    ) -> None:
        self.folder, self._name = folder, name
        self.instructions, self.instruction = tuple(instructions), instruction
        self.hard, self.on_bad = hard, on_bad
        self._rows = RecordStore(folder / ROWS_FILE)
        self._documents = RecordStore(folder / DOCUMENTS_FILE)
        try:
            packed = json.loads((folder / PACKED_FILE).read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise RagVqaError(f"{folder} is damaged ({error}): delete it.") from error
        self.counts: Mapping[str, int] = packed["counts"]
        self.digest: str = packed["digest"]
        if hard and len(self._documents) < 2:
            raise BadInput(f"{name}: hard is {hard}, but there is only one document.")

    @property
    def name(self) -> str:
        return self._name

    def __len__(self) -> int:
        """Rows per epoch."""
        return len(self._rows)

    @property
    def summary(self) -> str:
        """A line for the user: how much the source has, and what was left out."""
        parts = [f"{self.counts.get(what, 0):,} {what}" for what in ("rows", "documents")]
        refused = self.counts.get("refused", 0)
        omitted = [f"{refused:,} refused, see {self.folder / REJECTS_FILE}"] if refused else []
        for what, count in self.counts.items():
            if what.startswith("negatives") and count:
                omitted.append(f"{count:,} {what}")
        return f"{self._name}: {', '.join(parts)}" + (
            f"; left out: {', '.join(omitted)}" if omitted else ""
        )

    def draw(self, seed: int, rows: Sequence[int]) -> list[Pair]:
        """The pairs at these places; an epoch is a permutation of the rows."""
        return [self._pair(seed, place) for place in rows]

    def _pair(self, seed: int, place: int) -> Pair:
        epoch, at = divmod(place, len(self))
        row = self._rows.read_at(permute(at, len(self), permutation_key(seed, epoch)))
        random = np.random.default_rng([seed, place])
        right = row["right"]
        chosen = right[int(random.integers(row["there"]))]
        instruction: str | None = row["instruction"]
        if choices := self.instructions:
            instruction = choices[int(random.integers(len(choices)))]
        elif instruction is None:
            instruction = self.instruction
        return Pair(
            query=Item(f"{instruction} {row['text']}".strip(), record_picture(row)),
            passage=self._item(self._documents.find(chosen), chosen),
            positives=(chosen, *(one for one in right if one != chosen)),
            negatives=self._negatives(row, random) if self.hard else (),
            name=f"{self._name}:{row['id']}",
        )

    def _negatives(self, row: StoredRecord, random: np.random.Generator) -> tuple[Item, ...]:
        """`hard` of the row's own in random order, then any documents that are not right."""
        listed = row["negatives"]
        order = random.permutation(len(listed))[: self.hard]
        chosen = {listed[at]: self._documents.find(listed[at]) for at in order.tolist()}
        for _ in range(_MAX_DRAWS * self.hard):
            if len(chosen) == self.hard:
                break
            other = self._documents.read_at(int(random.integers(len(self._documents))))
            if other["id"] not in row["right"]:
                chosen.setdefault(other["id"], other)
        if len(chosen) < self.hard:
            raise BadInput(
                f"{self._name}:{row['id']}: hard is {self.hard}, but only {len(chosen)} documents "
                "were found that are not right: use a smaller number."
            )
        return tuple(self._item(record, identity) for identity, record in chosen.items())

    def _item(self, record: StoredRecord | None, identity: str) -> Item:
        if record is None:
            raise BadInput(
                f"{self._name}: document {identity!r} is missing. Pack again: rm -r {self.folder}"
            )
        return Item(record["text"], record_picture(record), identity)


def permute(place: int, size: int, key: bytes) -> int:
    """The number at `place` in the permutation of 0 … size - 1 that `key` determines.

    >>> sorted(permute(place, 7, b"epoch 3") for place in range(7))
    [0, 1, 2, 3, 4, 5, 6]
    """
    bits = max(1, ((size - 1).bit_length() + 1) // 2)
    mask = (1 << bits) - 1
    while True:
        left, right = place >> bits, place & mask
        for turn in range(FEISTEL_ROUNDS):
            message = b"%d %d" % (turn, right)
            mixed = int.from_bytes(blake2b(message, digest_size=8, key=key).digest(), "big")
            left, right = right, left ^ (mixed & mask)
        place = left << bits | right
        if place < size:
            return place


def permutation_key(*parts: object) -> bytes:
    """A key that differs if any part differs."""
    return blake2b(repr(parts).encode(), digest_size=16).digest()
