"""Blocks: which rows of which segment a commit wrote, and whose they are.

It knows how blocks are recorded and read. It does not know files (segments.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rag_vqa.retriever.store.commit import Commit
from rag_vqa.retriever.store.database import Database
from rag_vqa.retriever.store.tables import COLUMNS, fault

Keys = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Block:
    """Rows `first` … of a segment: their keys (n,), the rows of their documents (n,), and the
    hashes of their bytes."""

    number: int
    segment: int
    first: int
    keys: Keys
    documents: Keys
    tokens: bytes | None
    codes: bytes

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True, slots=True)
class Run:
    """Blocks that follow each other in one segment, so that they are mapped as one."""

    segment: int
    first: int
    keys: Keys
    documents: Keys


def record(commit: Commit, block: Block) -> None:
    """Write a block that ends its segment, and where the segment now ends."""
    keys, documents = (a.astype("<i8").tobytes() for a in (block.keys, block.documents))
    commit.insert(
        "blocks", block.number, block.segment, block.first, len(block), keys, documents,
        block.tokens, block.codes,
    )  # fmt: skip
    commit.remove("segments", "number", block.segment)
    commit.insert("segments", block.segment, block.first + len(block))


def blocks(db: Database, after: int = 0) -> Iterator[Block]:
    """All blocks numbered beyond `after`, in the order of their writing.

    Raises:
        CorruptKnowledgeBase: one that is not as it was written.
    """
    query = (
        f"SELECT {', '.join(COLUMNS['blocks'])}, checksum FROM blocks "
        "WHERE number > ? ORDER BY number"
    )
    last = -1
    for *values, check in db.stream(query, [after]):
        number, segment, first, rows, keys, documents, tokens, codes = values
        if what := fault("blocks", values, check):  # its parts fit each other, as written
            raise db.corrupt(f"row {number!r} of blocks {what}")
        if not len(keys) == len(documents) == 8 * rows > 0:
            raise db.corrupt(f"block {number} is not of {rows} rows")
        own, whose = (np.frombuffer(part, "<i8").astype(np.int64) for part in (keys, documents))
        if (own <= np.concatenate([[last], own[:-1]])).any():  # a search looks them up by order
            raise db.corrupt(f"the keys of block {number} do not ascend")
        last = int(own[-1])
        yield Block(number, segment, first, own, whose, tokens, codes)


def runs(found: Iterable[Block]) -> Iterator[Run]:
    """Blocks joined where one goes on where the one before ended."""
    together: list[Block] = []
    for block in found:
        last = together[-1] if together else None
        if last and (block.segment, block.first) != (last.segment, last.first + len(last)):
            yield _joined(together)
            together = []
        together.append(block)
    if together:
        yield _joined(together)


def _joined(together: Sequence[Block]) -> Run:
    keys = np.concatenate([block.keys for block in together])
    documents = np.concatenate([block.documents for block in together])
    return Run(together[0].segment, together[0].first, keys, documents)
