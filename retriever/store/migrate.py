"""Format 1 → format 2: tokens leave SQLite for segments, rows get checksums.

It knows the tables of format 1. The old file stays as it is until the new one takes its name, so
that a migration that is cut short is begun again.

Format 1: documents (row, id, body, hash), passages (key, document: its id, position, text, image,
tokens: fp16), metadata (document, name, value), meta (name, value), in kb.sqlite alone.
"""

from __future__ import annotations

import json
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np

from rag_vqa.errors import CorruptKnowledgeBase, Locked
from rag_vqa.retriever.store import files, lock
from rag_vqa.retriever.store.collect import FILE
from rag_vqa.retriever.store.content import UNREADABLE, Encoded, content_of, document_of
from rag_vqa.retriever.store.database import MAGIC
from rag_vqa.retriever.store.manifest import Manifest
from rag_vqa.retriever.store.store import Store
from rag_vqa.types import Passage

_HEADER = struct.Struct(">60xI4xI")  # SQLite's file format, 1.3: user_version, application_id
_BATCH = 256  # documents of one commit


def format_of(file: Path) -> int | None:
    """The format that a file of ours has; None if it is no file of ours."""
    try:
        with file.open("rb") as opened:
            head = opened.read(_HEADER.size)
    except OSError:
        return None
    if len(head) < _HEADER.size:
        return None
    version, magic = _HEADER.unpack(head)
    return int(version) if magic == MAGIC else None


def migrate(folder: Path) -> None:
    """Bring a knowledge base of format 1 to the present one, whole or not at all.

    Raises:
        CorruptKnowledgeBase: its rows cannot be read; it stays as it is.
        Locked: another process is at it.
        RagVqaError: it cannot be written to.
    """
    with lock.writing(folder):
        if format_of(folder / FILE) != 1:  # another process was faster
            return
        for left in folder.glob(f"{FILE}{files.NEW}*"):
            files.remove(left)
        name = f"{FILE}{files.NEW}"
        try:
            with closing(_opened(folder / FILE)) as old:
                Store.create(folder, _manifest(old), name)
                new = Store(folder, name)
                try:
                    _copy(old, new)
                finally:
                    new.db.close()
        except (sqlite3.Error, LookupError, *UNREADABLE) as error:
            raise CorruptKnowledgeBase(
                f"{folder / FILE} is damaged, and cannot be brought to the present format: {error}"
                f". Build it again: rag-vqa kb build SOURCE --out {folder}"
            ) from error
        if (folder / f"{name}-wal").exists():
            raise Locked(f"{folder / name} is open elsewhere. Run this again.")
        files.replace(folder / name, folder / FILE)


def _opened(file: Path) -> sqlite3.Connection:
    """For writing too, so that SQLite may undo what a killed writer left half done."""
    return sqlite3.connect(f"{file.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None)


def _manifest(old: sqlite3.Connection) -> Manifest:
    meta = dict(old.execute("SELECT name, value FROM meta"))
    texts = {name: meta[name] for name in ("source", "revision", "fingerprint", "splitting")}
    options = json.loads(meta["options"])
    return Manifest(**texts, options=options, K=int(meta["K"]), D=int(meta["D"]))


def _copy(old: sqlite3.Connection, new: Store) -> None:
    batch: list[Encoded] = []
    for encoded in _documents(old, new):
        batch.append(encoded)
        if len(batch) == _BATCH:
            new.put(batch)
            batch = []
    if batch:
        new.put(batch)


def _documents(old: sqlite3.Connection, new: Store) -> Iterator[Encoded]:
    K, D = new.manifest.K, new.manifest.D
    query = (
        "SELECT position, text, image, tokens FROM passages WHERE document = ? ORDER BY position"
    )
    for identity, body in old.execute("SELECT id, body FROM documents ORDER BY row"):
        document = document_of(body, new.image)
        rows = old.execute(query, [identity]).fetchall()
        passages = [
            Passage(identity, position, text, None if image is None else new.image(image))
            for position, text, image, _ in rows
        ]
        tokens = np.frombuffer(b"".join(row[3] for row in rows), "<f2").reshape(-1, K, D)
        if len(tokens) != len(passages) or not passages:
            raise ValueError(f"document {identity!r} lacks tokens")
        yield Encoded(document, content_of(document), passages, tokens)
