"""Store: documents and passages as rows, their tokens in segments, their pictures by content.

Knows what one commit writes, how it is read again, and what a killed writer leaves behind. Does
not know encoders, splitting or scores. Compacting and copying: maintenance.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from rag_vqa.errors import CorruptKnowledgeBase, Missing, UsageError
from rag_vqa.retriever.index.rows import quantize
from rag_vqa.retriever.store import document_content, kb_manifest, metadata_table, segments
from rag_vqa.retriever.store.database import DATABASE_FILE, Database
from rag_vqa.retriever.store.document_content import (
    PARSE_ERRORS,
    DocumentPassages,
    EncodedDocument,
    Pictures,
    decode_document,
    picture_name,
)
from rag_vqa.retriever.store.kb_manifest import Manifest
from rag_vqa.retriever.store.schema import Commit, checksum_error
from rag_vqa.retriever.store.segments import (
    SEGMENT_ROWS,
    Block,
    Keys,
    Segments,
    Tokens,
    record_block,
)
from rag_vqa.storage import atomic, lock
from rag_vqa.types import Document, Passage

_DOCUMENTS_AT_ONCE = 400  # read in one query
_DOCUMENT_COLUMNS = "row, id, body, hash, shape, tokens, cut, checksum"
_PASSAGE_COLUMNS = "key, document, position, text, image, checksum"


class Store:
    """The files of an open knowledge base. Writers take `hold_writer_lock`, readers no lock."""

    def __init__(self, folder: Path, file: str = DATABASE_FILE) -> None:
        self.folder = folder
        if not (folder / file).is_file():
            what = "is no knowledge base: kb.sqlite is not in it" if folder.exists() else ""
            raise Missing(
                f"{folder} {what or 'does not exist'}. "
                f"Build one: rag-vqa kb build SOURCE --out {folder}"
            )
        self.db = Database(folder / file)
        self._collected = False
        try:
            self.manifest = kb_manifest.read_manifest(self.db)
            kept = self.manifest.keep_tokens
            self.segments = Segments(folder, self.manifest.K, self.manifest.D, kept)
            self.pictures = Pictures(folder)
            self._check_segments()
        except Exception:
            self.db.close()
            raise

    @classmethod
    def create(cls, folder: Path, manifest: Manifest, file: str = DATABASE_FILE) -> None:
        """Write an empty store. The caller checks what is in the folder, and holds the lock."""
        for inner in (
            Pictures(folder).folder,
            Segments(folder, manifest.K, manifest.D, True).folder,
        ):
            atomic.make_folder(inner)
        atomic.sync_folder(folder)
        Database.create(folder / file, kb_manifest.manifest_rows(manifest))

    @contextmanager
    def hold_writer_lock(self) -> Iterator[None]:
        """Be the only writer. The first time, remove what killed writers left."""
        with lock.hold_lock(self.folder):
            for folder in (self.pictures.folder, self.segments.folder):
                atomic.make_folder(folder)  # some ways to copy a folder lose empty ones
            if not self._collected:
                remove_leftovers(self)
                self._collected = True
            yield

    def count(self) -> tuple[int, int]:
        """How many documents and passages there are."""
        tables = ("documents", "passages")
        documents, passages = (self.db.rows(f"SELECT count(*) FROM {t}")[0][0] for t in tables)
        return documents, passages

    def stored_hashes(self, identity: str) -> tuple[bytes, bytes] | None:
        """`Content.hash` and `.shape` of the stored document with that id; None without one."""
        found = self.db.rows("SELECT hash, shape FROM documents WHERE id = ?", [identity])
        return found[0] if found else None

    def put(self, batch: Sequence[EncodedDocument]) -> None:
        """Write documents in one commit; each replaces one of the same id with its passages."""
        if not batch:
            return
        if any(new.document.images for new in batch):
            self.pictures.sync()
        with self.db.commit() as commit:
            owners: list[int] = []
            key = first = commit.next_key("passages")
            for new in batch:
                row = self._put_document(commit, new)
                for passage in new.passages or ():
                    name = picture_name(passage.image)
                    commit.insert("passages", key, row, passage.position, passage.text, name)
                    owners.append(row)
                    key += 1
            if owners:
                keys = np.arange(first, key, dtype=np.int64)
                self._append(commit, batch, keys, np.array(owners, np.int64))

    def delete(self, ids: Sequence[str]) -> int:
        """Delete documents in one commit; returns how many. Compacting frees their bytes."""
        query = "SELECT row FROM documents WHERE id IN ({})"
        rows = [row for (row,) in self.db.rows_for(query, list(dict.fromkeys(ids)))]
        if rows:
            with self.db.commit() as commit:
                for row in rows:
                    self._drop_passages(commit, row)
                    commit.db.execute("DELETE FROM metadata WHERE document = ?", [row])
                    commit.remove("documents", "row", row)
        return len(rows)

    def documents(self, rows: Sequence[int]) -> dict[int, Document]:
        """The documents that exist among these rows, by row."""
        query = f"SELECT {_DOCUMENT_COLUMNS} FROM documents WHERE row IN ({{}})"
        return {values[0]: self._document(values) for values in self.db.rows_for(query, rows)}

    def document(self, identity: str) -> tuple[int, Document] | None:
        """The row and the document with that id; None without one."""
        found = self.db.rows(f"SELECT {_DOCUMENT_COLUMNS} FROM documents WHERE id = ?", [identity])
        return (found[0][0], self._document(found[0])) if found else None

    def all_documents(self, after: int = 0) -> Iterator[tuple[int, Document]]:
        """Rows and documents after row `after`, in the order in which they were first added."""
        query = f"SELECT {_DOCUMENT_COLUMNS} FROM documents WHERE row > ? ORDER BY row LIMIT ?"
        while chunk := self.db.rows(query, [after, _DOCUMENTS_AT_ONCE]):
            yield from ((values[0], self._document(values)) for values in chunk)
            after = chunk[-1][0]

    def sample_texts(self, most: int) -> list[str]:
        """Texts of at most that many documents, evenly spaced over all rows."""
        ((first, last),) = self.db.rows("SELECT min(row), max(row) FROM documents")
        if first is None:
            return []
        step = -(-(last - first + 1) // most)
        query = "SELECT min(row) FROM documents WHERE row >= ?"
        found = {self.db.rows(query, [row])[0][0] for row in range(first, last + 1, step)}
        return [document.text for document in self.documents(sorted(found)).values()]

    def ids(self, rows: Sequence[int]) -> dict[int, str]:
        """Document ids by row, for rows that passages name."""
        query = "SELECT row, id FROM documents WHERE typeof(id) = 'text' AND row IN ({})"
        found = dict(self.db.rows_for(query, rows))
        if len(found) < len(set(rows)):
            raise self.db.corruption_error("a passage belongs to no document")
        return found

    def passages(self, keys: Sequence[int]) -> dict[int, tuple[int, Passage]]:
        """By key of a row of tokens: the row of its document, and the passage."""
        query = f"SELECT {_PASSAGE_COLUMNS} FROM passages WHERE key IN ({{}})"
        found = [self._sound_passage(values) for values in self.db.rows_for(query, keys)]
        if len(found) < len(set(keys)):
            raise self.db.corruption_error("a row of tokens has no passage")
        ids = self.ids(sorted({values[1] for values in found}))
        return {values[0]: (values[1], self._passage(values, ids)) for values in found}

    def passages_of(self, row: int) -> list[tuple[int, Passage]]:
        """Keys and passages of one document, in order."""
        query = f"SELECT {_PASSAGE_COLUMNS} FROM passages WHERE document = ? ORDER BY position"
        ids = self.ids([row])
        found = [self._sound_passage(values) for values in self.db.rows(query, [row])]
        return [(values[0], self._passage(values, ids)) for values in found]

    def passage_texts(self, keys: Sequence[int]) -> Iterator[tuple[int, str]]:
        """Keys and texts of the passages that exist among these keys."""
        query = f"SELECT {_PASSAGE_COLUMNS} FROM passages WHERE key IN ({{}})"
        for values in self.db.rows_for(query, keys):
            key, _, _, text, _ = self._sound_passage(values)
            yield key, text

    def deleted_keys(self, after: int = -1) -> Keys:
        """Keys (n,) that commits after `after` deleted, and no compaction removed since."""
        query = "SELECT key, commits, checksum FROM gone WHERE commits > ? ORDER BY key"
        keys = []
        for key, commits, check in self.db.stream(query, [after]):
            if what := checksum_error("gone", (key, commits), check):
                raise self.db.corruption_error(f"row {key!r} of gone {what}")
            keys.append(key)
        return np.array(keys, np.int64)

    def segment_rows(self) -> Iterator[tuple[int, int]]:
        """Numbers of the segments, and how many committed rows each has."""
        for *values, check in self.db.rows("SELECT number, rows, checksum FROM segments"):
            if what := checksum_error("segments", values, check):
                raise self.db.corruption_error(f"row {values[0]!r} of segments {what}")
            yield values[0], values[1]

    def metadata_names(self) -> list[str]:
        """All names that metadata of any document uses."""
        return metadata_table.metadata_names(self.db)

    def _put_document(self, commit: Commit, new: EncodedDocument) -> int:
        """Write the row of a document, or replace it; keeps its passages if they did not change."""
        row, made, lengths = self._row(commit, new.document.id), new.content, (new.length, new.cut)
        if row is None:
            row = commit.next_key("documents")
        else:
            if new.passages is not None:
                self._drop_passages(commit, row)
            else:
                query = "SELECT tokens, cut FROM documents WHERE row = ?"
                lengths = commit.db.execute(query, [row]).fetchone()
            commit.remove("documents", "row", row)
        commit.insert("documents", row, new.document.id, made.body, made.hash, made.shape, *lengths)
        commit.write_metadata(row, new.document.metadata)
        return row

    def _append(
        self, commit: Commit, batch: Sequence[EncodedDocument], keys: Keys, documents: Keys
    ) -> None:
        fresh = [new for new in batch if new.passages]
        tokens = None
        if self.manifest.keep_tokens:
            tokens = np.concatenate([_require_tokens(new.tokens) for new in fresh]).astype(
                "<f2", copy=False
            )
        codes = np.concatenate(
            [
                quantize(_require_tokens(new.tokens)) if new.codes is None else new.codes
                for new in fresh
            ]
        )
        segment, first = self.open_segment(commit)
        hashes = self.segments.append(segment, first, tokens, codes)
        number = commit.next_key("blocks")
        record_block(commit, Block(number, segment, first, keys, documents, *hashes))

    def open_segment(self, commit: Commit) -> tuple[int, int]:
        """The segment that takes further rows, started if needed, and its committed rows."""
        query = "SELECT number, rows FROM segments ORDER BY number DESC LIMIT 1"
        last = commit.db.execute(query).fetchone()
        if last is not None and last[1] < SEGMENT_ROWS:
            return int(last[0]), int(last[1])
        number = commit.next_key("segments")
        self.segments.start(number)
        commit.insert("segments", number, 0)
        return number, 0

    def _row(self, commit: Commit, identity: str) -> int | None:
        found = commit.db.execute("SELECT row FROM documents WHERE id = ?", [identity]).fetchone()
        return None if found is None else int(found[0])

    def _drop_passages(self, commit: Commit, row: int) -> None:
        keys = commit.db.execute("SELECT key FROM passages WHERE document = ?", [row]).fetchall()
        commit.remove("passages", "document", row)
        for (key,) in keys:
            commit.insert("gone", key, commit.number)

    def _check_segments(self) -> None:
        while True:  # a compaction may remove segments just listed: then list them again
            generation = self.db.number("generation")
            try:
                for number, rows in self.segment_rows():
                    self.segments.check(number, rows)
                return
            except CorruptKnowledgeBase:
                if self.db.number("generation") == generation:
                    raise

    def _document(self, values: Sequence[Any]) -> Document:
        *covered, check = values
        if what := checksum_error("documents", covered, check):
            raise self.db.corruption_error(f"document {values[1]!r} {what}")
        try:
            return decode_document(values[2], self.image_path)
        except PARSE_ERRORS as error:
            raise self.db.corruption_error(
                f"document {values[1]!r} cannot be read: {error}"
            ) from error

    def _sound_passage(self, values: Sequence[Any]) -> Sequence[Any]:
        *covered, check = values
        if what := checksum_error("passages", covered, check):
            raise self.db.corruption_error(f"passage {values[0]!r} {what}")
        return covered

    def _passage(self, values: Sequence[Any], ids: Mapping[int, str]) -> Passage:
        _, row, position, text, image = values
        picture = None if image is None else self.image_path(image)
        return Passage(ids[row], position, text, picture)

    def image_path(self, name: object) -> Path:
        """Path of the stored picture with that name."""
        path = self.pictures.path_of_name(name)
        if path is None:
            raise self.db.corruption_error(f"{name!r} is not the name of a stored image")
        return path


def _require_tokens(tokens: Tokens | None) -> Tokens:
    if tokens is None:
        raise UsageError("Passages come with tokens, or with codes where only those are kept.")
    return tokens


def create_store(folder: Path, manifest: Manifest) -> None:
    """Write an empty store, unless another process has just created one there.

    Raises:
        UsageError: the folder holds other files, or is no folder.
    """
    if folder.exists() and (not folder.is_dir() or has_foreign_files(folder)):
        raise UsageError(f"{folder} holds other files: give another name with --out.")
    atomic.make_folder(folder)
    with lock.hold_lock(folder):
        if not (folder / DATABASE_FILE).exists():
            Store.create(folder, manifest)


def has_foreign_files(folder: Path) -> bool:
    """Whether a folder without a knowledge base holds more than killed writers leave."""
    ours = (document_content.IMAGES_FOLDER, segments.SEGMENTS_FOLDER)
    return any(
        entry.name not in ours and not entry.name.startswith((DATABASE_FILE, lock.LOCK_FILE))
        for entry in folder.iterdir()
    )


def remove_leftovers(store: Store) -> None:
    """Remove segments without a committed row, and incomplete files.

    Keeps pictures that no document names: a killed build resumes with them.
    """
    used = {number for (number,) in store.db.rows("SELECT number FROM segments")}
    for path in store.segments.files():
        if int(path.stem) not in used:
            atomic.remove_file(path)
    for path in store.pictures.partial_files():
        atomic.remove_file(path)
    for path in store.folder.glob(f"{store.db.file.name}{atomic.PARTIAL_SUFFIX}*"):
        atomic.remove_file(path)


def read_document_passages(store: Store, identity: str) -> DocumentPassages | None:
    """The document with that id and its passages; None without one."""
    with store.db.snapshot():
        found = store.document(identity)
        if found is None:
            return None
        row, document = found
        return DocumentPassages(document, tuple(passage for _, passage in store.passages_of(row)))
