"""Migration from format 1 to format 2: tokens leave SQLite for segments, rows get checksums.

Knows the tables of format 1. The old file stays unchanged until the new one takes its name, so an
interrupted migration starts again.

Format 1: documents (row, id, body, hash), passages (key, document: its id, position, text, image,
tokens: fp16), metadata (document, name, value), meta (name, value), in kb.sqlite alone.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np

from rag_vqa.errors import CorruptKnowledgeBase, Locked
from rag_vqa.retriever.store.database import DATABASE_FILE
from rag_vqa.retriever.store.document_content import (
    PARSE_ERRORS,
    EncodedDocument,
    decode_document,
    make_content,
)
from rag_vqa.retriever.store.document_store import Store
from rag_vqa.retriever.store.kb_manifest import Manifest
from rag_vqa.storage import atomic, lock
from rag_vqa.types import Passage

_BATCH_DOCUMENTS = 256  # in one commit


def migrate(folder: Path) -> None:
    """Migrate a knowledge base of format 1 to format 2, completely or not at all.

    Raises:
        CorruptKnowledgeBase: its rows cannot be read; it stays unchanged.
        Locked: another process is writing it.
        RagVqaError: it cannot be written to.
    """
    with lock.hold_lock(folder):
        for leftover in folder.glob(f"{DATABASE_FILE}{atomic.PARTIAL_SUFFIX}*"):
            atomic.remove_file(leftover)
        name = f"{DATABASE_FILE}{atomic.PARTIAL_SUFFIX}"
        try:
            with closing(_connect_old(folder / DATABASE_FILE)) as old:
                if old.execute("PRAGMA user_version").fetchone() != (1,):
                    return  # another process was faster
                Store.create(folder, _read_old_manifest(old), name)
                new = Store(folder, name)
                try:
                    _copy_documents(old, new)
                finally:
                    new.db.close()
        except (sqlite3.Error, LookupError, *PARSE_ERRORS) as error:
            raise CorruptKnowledgeBase(
                f"{folder / DATABASE_FILE} is damaged, and cannot be brought to the "
                f"present format: {error}"
                f". Build it again: rag-vqa kb build SOURCE --out {folder}"
            ) from error
        if (folder / f"{name}-wal").exists():
            raise Locked(f"{folder / name} is open elsewhere. Run this again.")
        atomic.replace_file(folder / name, folder / DATABASE_FILE)


def _connect_old(file: Path) -> sqlite3.Connection:
    """Opened for writing, so that SQLite can undo an unfinished commit of a killed writer."""
    return sqlite3.connect(f"{file.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None)


def _read_old_manifest(old: sqlite3.Connection) -> Manifest:
    meta = dict(old.execute("SELECT name, value FROM meta"))
    texts = {name: meta[name] for name in ("source", "revision", "fingerprint", "splitting")}
    options = json.loads(meta["options"])
    return Manifest(**texts, options=options, K=int(meta["K"]), D=int(meta["D"]))


def _copy_documents(old: sqlite3.Connection, new: Store) -> None:
    batch: list[EncodedDocument] = []
    for encoded in _read_old_documents(old, new):
        batch.append(encoded)
        if len(batch) == _BATCH_DOCUMENTS:
            new.put(batch)
            batch = []
    if batch:
        new.put(batch)


def _read_old_documents(old: sqlite3.Connection, new: Store) -> Iterator[EncodedDocument]:
    K, D = new.manifest.K, new.manifest.D
    query = (
        "SELECT position, text, image, tokens FROM passages WHERE document = ? ORDER BY position"
    )
    for identity, body in old.execute("SELECT id, body FROM documents ORDER BY row"):
        document = decode_document(body, new.image_path)
        rows = old.execute(query, [identity]).fetchall()
        passages = [
            Passage(identity, position, text, None if image is None else new.image_path(image))
            for position, text, image, _ in rows
        ]
        tokens = np.frombuffer(b"".join(row[3] for row in rows), "<f2").reshape(-1, K, D)
        if len(tokens) != len(passages) or not passages:
            raise ValueError(f"document {identity!r} lacks tokens")
        yield EncodedDocument(document, make_content(document), passages, tokens)
