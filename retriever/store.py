"""Documents, passages and tokens of a knowledge base as rows, pictures beside them by content.

It knows the tables and what a sound row is. It does not know encoders, splitting or scores.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag_vqa.errors import BadInput, Missing, UsageError
from rag_vqa.formats.document import from_mapping
from rag_vqa.images import content_hash
from rag_vqa.retriever.database import Database
from rag_vqa.retriever.encoding import OPTIONS
from rag_vqa.types import Document, ImageSource, Passage, Scalar

FILE = "kb.sqlite"
IMAGES = "images"
_CHUNK = 400
_HASH = re.compile(r"[0-9a-f]{64}")
_TEXTS = ("id", "text", "title", "section", "parent", "url")

# A key names one row of tokens for ever: AUTOINCREMENT never gives it again. `value` has no type:
# SQLite then compares numbers with numbers and text with text.
_SCHEMA = """
CREATE TABLE documents (
    row INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
    body TEXT NOT NULL, hash TEXT NOT NULL);
CREATE TABLE passages (
    key INTEGER PRIMARY KEY AUTOINCREMENT, document TEXT NOT NULL, position INTEGER NOT NULL,
    text TEXT NOT NULL, image TEXT, tokens BLOB NOT NULL, UNIQUE (document, position));
CREATE TABLE metadata (
    document TEXT NOT NULL, name TEXT NOT NULL, value, PRIMARY KEY (document, name)) WITHOUT ROWID;
CREATE INDEX metadata_values ON metadata (name, value);
"""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What made the tokens: the retriever's document side, by name and by fingerprint.

    `options` is what loading it takes beyond its name, see TokenEncoder.
    """

    source: str
    revision: str
    options: Mapping[str, str | bool]
    fingerprint: str
    splitting: str
    K: int
    D: int


@dataclass(frozen=True, slots=True)
class Encoded:
    """A document whose pictures are kept in the store, its passages (n), and tokens (n, K, D)."""

    document: Document
    passages: Sequence[Passage]
    tokens: NDArray[np.float16]


def digest(document: Document) -> str:
    """Hash of all that a document whose pictures are kept says."""
    return hashlib.sha256(_body(document).encode()).hexdigest()


class Store:
    """The rows and pictures under one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        file = folder / FILE
        if not file.is_file():
            what = "is no knowledge base: kb.sqlite is not in it" if folder.exists() else ""
            raise Missing(
                f"{folder} {what or 'does not exist'}. "
                f"Build one: rag-vqa kb build SOURCE --out {folder}"
            )
        self.db = Database(file)
        try:
            self.manifest = self._manifest()
        except Exception:
            self.db.close()
            raise

    @classmethod
    def create(cls, folder: Path, manifest: Manifest) -> Store:
        """Write an empty store; what is there is left to the caller to check."""
        (folder / IMAGES).mkdir(parents=True, exist_ok=True)
        meta = {name: str(value) for name, value in asdict(manifest).items()}
        meta["options"] = json.dumps(dict(manifest.options), sort_keys=True)
        Database.create(folder / FILE, _SCHEMA, meta).close()
        return cls(folder)

    def count(self) -> tuple[int, int]:
        """Documents and passages."""
        tables = ("documents", "passages")
        documents, passages = (self.db.rows(f"SELECT count(*) FROM {t}")[0][0] for t in tables)
        return documents, passages

    def digest_of(self, identity: str) -> str | None:
        """`digest` of the document that is stored, None if there is none of that id."""
        found = self.db.rows("SELECT hash FROM documents WHERE id = ?", [identity])
        return found[0][0] if found else None

    def put(self, batch: Sequence[Encoded]) -> None:
        """Write documents in one commit; one of the same id is replaced with all its passages."""
        with self.db.commit() as db:
            for new in batch:
                identity = new.document.id
                db.execute("DELETE FROM passages WHERE document = ?", [identity])
                db.execute("DELETE FROM metadata WHERE document = ?", [identity])
                db.execute(
                    "INSERT INTO documents (id, body, hash) VALUES (?, ?, ?) ON CONFLICT (id) "
                    "DO UPDATE SET body = excluded.body, hash = excluded.hash",
                    [identity, _body(new.document), digest(new.document)],
                )
                db.executemany(
                    "INSERT INTO passages (document, position, text, image, tokens) "
                    "VALUES (?, ?, ?, ?, ?)",
                    [
                        (identity, p.position, p.text, _name(p.image), t.astype("<f2").tobytes())
                        for p, t in zip(new.passages, new.tokens, strict=True)
                    ],
                )
                rows = [(identity, name, value) for name, value in new.document.metadata.items()]
                db.executemany("INSERT INTO metadata VALUES (?, ?, ?)", rows)

    def delete(self, ids: Sequence[str]) -> int:
        """Remove documents in one commit; how many there were. Pictures stay."""
        gone = 0
        with self.db.commit() as db:
            for identity in ids:
                gone += db.execute("DELETE FROM documents WHERE id = ?", [identity]).rowcount
                db.execute("DELETE FROM passages WHERE document = ?", [identity])
                db.execute("DELETE FROM metadata WHERE document = ?", [identity])
        return gone

    def documents(self, ids: Sequence[str]) -> dict[str, Document]:
        """Those of the documents that are there, by id."""
        found = self.db.rows_in("SELECT id, body FROM documents WHERE id IN ({})", ids)
        return {identity: self._document(identity, body) for identity, body in found}

    def all_documents(self) -> Iterator[Document]:
        """Every document in the order of its first adding, a chunk at a time."""
        last = 0
        query = "SELECT row, id, body FROM documents WHERE row > ? ORDER BY row LIMIT ?"
        while chunk := self.db.rows(query, [last, _CHUNK]):
            yield from (self._document(identity, body) for _, identity, body in chunk)
            last = chunk[-1][0]

    def owners(self) -> dict[int, str]:
        """The id of the document of each key, keys ascending."""
        return dict(self.db.rows("SELECT key, document FROM passages ORDER BY key"))

    def passages(self, keys: Sequence[int]) -> dict[int, Passage]:
        """Passages by key."""
        query = "SELECT key, document, position, text, image FROM passages WHERE key IN ({})"
        return {
            key: Passage(document, position, text, None if image is None else self._image(image))
            for key, document, position, text, image in self.db.rows_in(query, keys)
        }

    def tokens(self, after: int) -> tuple[NDArray[np.int64], NDArray[np.float16]]:
        """Keys (N,) beyond `after`, ascending, and their tokens (N, K, D). Within a snapshot."""
        shape = (self.manifest.K, self.manifest.D)
        total = self.db.rows("SELECT count(*) FROM passages WHERE key > ?", [after])[0][0]
        keys, tokens = np.empty(total, np.int64), np.empty((total, *shape), np.float16)
        query = "SELECT key, tokens FROM passages WHERE key > ? ORDER BY key LIMIT ?"
        for place, (key, blob) in enumerate(self.db.stream(query, [after, total])):
            if not isinstance(blob, bytes) or len(blob) != 2 * shape[0] * shape[1]:
                raise self.db.corrupt(f"the tokens of passage {key} are not of size {shape}")
            keys[place], tokens[place] = key, np.frombuffer(blob, "<f2").reshape(shape)
        if not np.isfinite(tokens).all():
            raise self.db.corrupt("its tokens hold NaN or infinity")
        return keys, tokens

    def metadata_names(self) -> list[str]:
        """All names that any document's metadata has."""
        rows = self.db.rows("SELECT DISTINCT name FROM metadata ORDER BY name")
        return [name for (name,) in rows]

    def keys_where(self, name: str, values: Sequence[Scalar]) -> NDArray[np.int64]:
        """Keys, ascending, of passages whose document has one of the values under that name."""
        query = (
            "SELECT key FROM metadata JOIN passages USING (document) "
            "WHERE metadata.name = ? AND metadata.value IS ?"
        )
        found = [key for value in values for (key,) in self.db.rows(query, [name, value])]
        return np.unique(np.array(found, np.int64))

    def image_path(self, data: bytes) -> Path:
        """Where `keep_image` puts a picture: under the hash of its bytes."""
        return self._image(content_hash(data))

    def keep_image(self, data: bytes) -> Path:
        """Store a picture, whole or not at all."""
        path = self.image_path(data)
        if not path.exists():
            new = path.with_name(f"{path.name}.{os.getpid()}.new")
            with new.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            new.replace(path)
        return path

    def _manifest(self) -> Manifest:
        names = ("source", "revision", "fingerprint", "splitting")
        try:
            K, D = int(self.db.meta("K")), int(self.db.meta("D"))
        except ValueError as error:
            raise self.db.corrupt("K and D are no numbers") from error
        if not (0 < K < 2**16 and 0 < D < 2**16):
            raise self.db.corrupt(f"K = {K} and D = {D} cannot be")
        texts = {name: self.db.meta(name) for name in names}
        return Manifest(**texts, options=self._options(), K=K, D=D)

    def _options(self) -> dict[str, str | bool]:
        try:
            options = json.loads(self.db.meta("options"))
        except (ValueError, RecursionError) as error:
            raise self.db.corrupt("the retriever's options cannot be read") from error
        # They become arguments of a call: nothing else may.
        if not isinstance(options, dict) or not all(
            name in OPTIONS and isinstance(value, str | bool) for name, value in options.items()
        ):
            raise self.db.corrupt("the retriever's options are none that there are")
        return options

    def _document(self, identity: str, body: str) -> Document:
        try:
            document = from_mapping(json.loads(body))
        except (ValueError, TypeError, RecursionError, BadInput) as error:
            raise self.db.corrupt(f"document {identity!r} cannot be read: {error}") from error
        return replace(document, images=tuple(self._image(name) for name in document.images))

    def _image(self, name: object) -> Path:
        if not isinstance(name, str) or not _HASH.fullmatch(name):  # else it could be any path
            raise self.db.corrupt(f"{name!r} is not the name of a stored image")
        return self.folder / IMAGES / name


def _body(document: Document) -> str:
    record: dict[str, Any] = {name: getattr(document, name) for name in _TEXTS}
    record |= {"images": [_name(i) for i in document.images], "metadata": dict(document.metadata)}
    return json.dumps(record, sort_keys=True, ensure_ascii=False, allow_nan=False)


def _name(image: ImageSource | None) -> str | None:
    """A kept picture's name, which is its hash."""
    if image is not None and not isinstance(image, Path):
        raise UsageError("Only pictures that `keep_image` returned can be stored.")
    return None if image is None else image.name
