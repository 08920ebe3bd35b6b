"""Stored copies: documents of a knowledge base that another document has the content of.

Knows how a document that is new by its id gets the tokens of a stored one whose passages are the
same, and how documents that only changed their id are told from added and deleted ones. Does not
know how documents are read or written. Hashes are kept in SQLite's own temporary file: memory does
not grow with the knowledge base.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from rag_vqa.formats.document import searchable_text
from rag_vqa.retriever.ingest_batch import CopiedRows
from rag_vqa.retriever.store.document_content import picture_name
from rag_vqa.retriever.store.document_store import Store
from rag_vqa.retriever.store.segments import RowReader
from rag_vqa.types import Document, Passage


class StoredCopies:
    """Finds stored documents by the shape of their content; see `make_content`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._shapes: sqlite3.Connection | None = None
        self._rows: RowReader | None = None

    def find(self, shape: bytes) -> str | None:
        """The id of a document that was stored with this shape; None without one."""
        if self._shapes is None:
            self._shapes = sqlite3.connect("")
            self._shapes.execute(
                "CREATE TABLE shapes (shape BLOB PRIMARY KEY, id TEXT) WITHOUT ROWID"
            )
            stored = self._store.db.stream("SELECT shape, id FROM documents ORDER BY row DESC")
            self._shapes.executemany("INSERT OR REPLACE INTO shapes VALUES (?, ?)", stored)
        found = self._shapes.execute("SELECT id FROM shapes WHERE shape = ?", [shape]).fetchone()
        return None if found is None else str(found[0])

    def copy(
        self, identity: str, shape: bytes, document: Document
    ) -> tuple[list[Passage], CopiedRows, int, int] | None:
        """The passages of `document`, which are those of a stored one, with their tokens.

        Returns passages, tokens and codes, and `length` and `cut` of EncodedDocument; None if the
        stored document has changed since it was found.
        """
        stored = self._store.stored_hashes(identity)
        if stored is None or stored[1] != shape:
            return None
        if self._rows is None:
            self._rows = RowReader(self._store.db, self._store.segments)
        query = "SELECT row, tokens, cut FROM documents WHERE id = ?"
        ((row, length, cut),) = self._store.db.rows(query, [identity])
        keyed = self._store.passages_of(row)
        keys = np.array([key for key, _ in keyed], np.int64)
        if not self._rows.has(keys):  # it was stored in this run
            return None
        passages = [replace(passage, document=document.id) for _, passage in keyed]
        return passages, self._rows.rows(keys), length, cut

    def close(self) -> None:
        """Drop the temporary file."""
        if self._shapes is not None:
            self._shapes.close()


def content_key(document: Document) -> bytes:
    """What stays of a document when its file is renamed: its text and its pictures.

    A title may come from the file's name.
    """
    names = [picture_name(image) for image in document.images]
    content = json.dumps([searchable_text(document), names], ensure_ascii=False)
    return hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def match_renamed(added: Mapping[str, bytes], missing: Iterable[Document]) -> list[tuple[str, str]]:
    """Old and new ids of documents that are not in the source under their ids, but under others.

    Args:
        added: id → `content_key` of each document that was added.
        missing: stored documents that are not in the source.
    """
    new_ids: dict[bytes, list[str]] = {}
    for identity, key in reversed([*added.items()]):
        new_ids.setdefault(key, []).append(identity)
    pairs = []
    for document in missing:
        if same := new_ids.get(content_key(document)):
            pairs.append((document.id, same.pop()))
    return pairs
