"""Verify a knowledge base: recompute everything the last commit wrote, and compare.

Knows what must hold in an undamaged knowledge base. Changes and repairs nothing. SQLite's own
check misses most flipped bits: hence a checksum of each row, and a digest over all rows. What an
index keeps beside the rows is not read: it only serves to find candidates, and is recomputed if
damaged.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rag_vqa.errors import RagVqaError
from rag_vqa.retriever.store.document_content import make_content, read_picture
from rag_vqa.retriever.store.schema import (
    COLUMNS,
    LIST_FORMAT,
    checksum,
    checksum_error,
    combine_digests,
    metadata_rows,
)
from rag_vqa.retriever.store.segments import Keys, read_blocks

if TYPE_CHECKING:
    from rag_vqa.retriever.store.document_store import Store


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing that is not as it was written; `offset` in bytes, if it is known."""

    file: Path
    offset: int | None
    what: str


def verify_store(store: Store) -> list[Damage]:
    """All damage found; empty if the knowledge base is intact."""
    found: list[Damage] = []
    with store.db.snapshot():
        for check in (
            _check_database,
            _check_rows,
            _check_documents,
            _check_keys,
            _check_segments,
            _check_pictures,
        ):
            try:
                found += check(store)
            except RagVqaError as error:  # the check could not read its data at all
                found.append(Damage(store.db.file, None, str(error)))
    return found


def _check_database(store: Store) -> Iterator[Damage]:
    """Run SQLite's own check, and check the manifest's checksum."""
    for (line,) in store.db.rows("PRAGMA integrity_check"):
        if line != "ok":
            yield Damage(store.db.file, None, str(line))
    store.db.check_meta()


def _check_rows(store: Store) -> Iterator[Damage]:
    """Check each row's checksum and types, and the digest over all rows."""
    total = 0
    for table, columns in COLUMNS.items():
        for *values, check in store.db.stream(
            f"SELECT {', '.join(columns)}, checksum FROM {table}"
        ):
            total = combine_digests(total, [checksum(table, values)], [])
            if what := checksum_error(table, values, check):
                yield _database_damage(store, f"row {values[0]!r} of {table} {what}")
    if total != store.db.number("digest", 16):
        yield _database_damage(store, "the rows are not those of the last commit: wrong digest")


def _check_documents(store: Store) -> Iterator[Damage]:
    """Compare bodies with what is derived from them: hashes, and the metadata for `where=`."""
    derived = 0
    listed = store.db.rows("PRAGMA user_version") == [(LIST_FORMAT,)]
    order = "name, place" if listed else "name"
    for row, document in store.all_documents():
        made = make_content(document)
        if (made.hash, made.shape) != store.stored_hashes(document.id):
            yield _database_damage(store, f"document {document.id!r} does not have its hash")
        query = f"SELECT name, value FROM metadata WHERE document = ? ORDER BY {order}"
        # Compared as text: True, 1 and 1.0 are equal in Python, and SQLite has no booleans.
        stored = [(name, repr(value)) for name, value in store.db.rows(query, [row])]
        rows = sorted(metadata_rows(document.metadata), key=itemgetter(0, 1))
        due = [
            (name, repr(int(value) if isinstance(value, bool) else value))
            for name, _, value in rows
        ]
        derived += len(due)
        if stored != due:
            yield _database_damage(
                store, f"the metadata of document {document.id!r} is not its body's"
            )
    if derived != store.db.rows("SELECT count(*) FROM metadata")[0][0]:
        yield _database_damage(store, "there is metadata of no document")


def _check_keys(store: Store) -> Iterator[Damage]:
    """Check that each key has its passage, and each passage its document, unless deleted."""
    found = list(read_blocks(store.db))
    keys, owners = _join_keys([b.keys for b in found]), _join_keys([b.documents for b in found])
    live = ~np.isin(keys, store.deleted_keys())
    if len(store.deleted_keys()) != len(keys) - int(live.sum()):
        yield _database_damage(store, "a deleted key is in no block")
    query = "SELECT key, document FROM passages WHERE typeof(document) = 'integer' ORDER BY key"
    stored = np.array(store.db.rows(query), np.int64).reshape(-1, 2)
    order = np.argsort(keys[live])
    if not np.array_equal(stored, np.stack([keys[live][order], owners[live][order]], 1)):
        yield _database_damage(store, "the passages are not those of the blocks")
    documents = np.array(store.db.rows("SELECT row FROM documents ORDER BY row"), np.int64).ravel()
    if not np.array_equal(np.unique(stored[:, 1]), documents):
        yield _database_damage(store, "a document has no passage, or a passage no document")


def _check_segments(store: Store) -> Iterator[Damage]:
    """Check headers, sizes, and the bytes of each block."""
    ends: dict[int, int] = {}
    for block in read_blocks(store.db):
        if block.first != ends.get(block.segment, 0):
            yield _database_damage(
                store, f"block {block.number} does not begin where its segment ended"
            )
        ends[block.segment] = block.first + len(block)
    if list(ends.items()) != store.db.rows("SELECT number, rows FROM segments ORDER BY number"):
        yield _database_damage(store, "the segments do not end where their blocks do")
    for number, rows in ends.items():
        store.segments.check(number, rows)
    for block in read_blocks(store.db):
        hashes = store.segments.hashes(block.segment, block.first, len(block))
        due = (block.tokens, block.codes)
        for kind, is_, was in zip(("tokens", "codes"), hashes, due, strict=True):
            if is_ != was:
                path = store.segments.path(block.segment, kind)
                what = f"{len(block)} rows from here do not have their checksum"
                yield Damage(path, store.segments.offset(kind, block.first), what)


def _check_pictures(store: Store) -> Iterator[Damage]:
    """Check the bytes of each picture that a document names."""
    for path in sorted({image for _, d in store.all_documents() for image in d.images}, key=str):
        file = Path(str(path))
        _, wrong = read_picture(file)
        if wrong:
            yield Damage(file, 0, wrong)


def _join_keys(parts: list[Keys]) -> Keys:
    return np.concatenate([np.empty(0, np.int64), *parts])


def _database_damage(store: Store, problem: str) -> Damage:
    return Damage(store.db.file, None, problem)
