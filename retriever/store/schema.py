"""Tables of a knowledge base, the checksum of each row, and one commit in the making.

Knows columns, checksums and keys. Does not know when a transaction begins or ends (database.py),
nor what the columns mean to a user (document_store.py).
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import UnionType

from rag_vqa.types import MetadataValue, Scalar

Value = int | float | str | bytes | None
META_TABLE = "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"
# Metadata is a copy of what the documents' bodies hold, so it is checked against them and has no
# checksums. Its `value` has no type: SQLite then compares numbers with numbers, text with text.
# A key names one row of tokens for ever: AUTOINCREMENT never issues it again.
METADATA_TABLE = """CREATE TABLE metadata (
    document INTEGER NOT NULL, name TEXT NOT NULL, value,
    PRIMARY KEY (document, name)) WITHOUT ROWID"""
METADATA_INDEX = "CREATE INDEX metadata_values ON metadata (name, value)"
# Lists of values came later: `place` counts the values of one name. A file gets this table, and the
# next format, with the first list that it stores; others stay readable for older programs.
METADATA_LIST_TABLE = """CREATE TABLE metadata (
    document INTEGER NOT NULL, name TEXT NOT NULL, place INTEGER NOT NULL, value,
    PRIMARY KEY (document, name, place)) WITHOUT ROWID"""
SCHEMA = (
    """CREATE TABLE documents (
    row INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, body TEXT NOT NULL,
    hash BLOB NOT NULL, shape BLOB NOT NULL, tokens INTEGER NOT NULL, cut INTEGER NOT NULL,
    checksum BLOB NOT NULL)""",
    """CREATE TABLE passages (
    key INTEGER PRIMARY KEY AUTOINCREMENT, document INTEGER NOT NULL, position INTEGER NOT NULL,
    text TEXT NOT NULL, image TEXT, checksum BLOB NOT NULL, UNIQUE (document, position))""",
    METADATA_TABLE,
    METADATA_INDEX,
    """CREATE TABLE segments (
    number INTEGER PRIMARY KEY AUTOINCREMENT, rows INTEGER NOT NULL, checksum BLOB NOT NULL)""",
    """CREATE TABLE blocks (
    number INTEGER PRIMARY KEY AUTOINCREMENT, segment INTEGER NOT NULL, first INTEGER NOT NULL,
    rows INTEGER NOT NULL, keys BLOB NOT NULL, documents BLOB NOT NULL, tokens BLOB,
    codes BLOB NOT NULL, checksum BLOB NOT NULL)""",
    """CREATE TABLE gone (
    key INTEGER PRIMARY KEY, commits INTEGER NOT NULL, checksum BLOB NOT NULL)""",
)
# Of each table with checksums: the columns that its checksum covers, the row's key first, and what
# they hold. SQLite keeps any type in any column, and whoever forges a row forges its checksum too.
COLUMNS: Mapping[str, Mapping[str, type | UnionType]] = {
    "documents": {"row": int, "id": str, "body": str, "hash": bytes, "shape": bytes,
                  "tokens": int, "cut": int},
    "passages": {"key": int, "document": int, "position": int, "text": str, "image": str | None},
    "segments": {"number": int, "rows": int},
    "blocks": {"number": int, "segment": int, "first": int, "rows": int, "keys": bytes,
               "documents": bytes, "tokens": bytes | None, "codes": bytes},
    "gone": {"key": int, "commits": int},
}  # fmt: skip
FORMAT, LIST_FORMAT = 2, 3  # SQLite's user_version, without and with METADATA_LIST_TABLE
_DIGEST = 2**128


def hash_bytes(data: bytes | memoryview) -> bytes:
    """A 16-byte hash (BLAKE2b)."""
    return hashlib.blake2b(data, digest_size=16).digest()


def checksum(table: str, values: Sequence[Value]) -> bytes:
    """Checksum of one row: of its table, its key and all its values.

    >>> checksum("gone", (1, 23)) == checksum("gone", (12, 3))
    False
    """
    parts = [table.encode()]
    for value in values:
        data = value if isinstance(value, bytes) else str(value).encode()
        parts += (f"{type(value).__name__}{len(data)}:".encode(), data)
    return hash_bytes(b"\0".join(parts))


def checksum_error(table: str, values: Sequence[Value], check: object) -> str:
    """What is wrong with a row of COLUMNS[table] or its checksum; "" if nothing is.

    >>> checksum_error("gone", (1, "x"), checksum("gone", (1, "x")))
    "has 'x' as its commits"
    """
    if checksum(table, values) != check:
        return "does not have its checksum"
    for (name, kind), value in zip(COLUMNS[table].items(), values, strict=True):
        # All numbers are counts, keys or positions: none is negative.
        if not isinstance(value, kind) or (isinstance(value, int) and value < 0):
            return f"has {value!r:.40} as its {name}"
    return ""


def combine_digests(digest: int, added: Iterable[bytes], removed: Iterable[bytes]) -> int:
    """The digest over all rows after a change: the sum of their checksums, modulo 2^128.

    Independent of the order of rows, so a commit costs only what it changes.

    >>> both = combine_digests(0, [b"a", b"b"], [])
    >>> combine_digests(both, [], [b"b"]) == combine_digests(0, [b"a"], [])
    True
    """
    for row in added:
        digest += int.from_bytes(row, "big")
    for row in removed:
        digest -= int.from_bytes(row, "big")
    return digest % _DIGEST


class Commit:
    """Writes between BEGIN and COMMIT. Commits are numbered from 1."""

    def __init__(self, db: sqlite3.Connection, number: int) -> None:
        self.db, self.number = db, number
        self._added: list[bytes] = []
        self._removed: list[bytes] = []

    def next_key(self, table: str) -> int:
        """The next key of a table, never issued before."""
        found = self.db.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", [table])
        row = found.fetchone()
        return int(row[0]) + 1 if row else 1

    def insert(self, table: str, *values: Value) -> None:
        """Write a row: the values of COLUMNS[table], in their order."""
        check = checksum(table, values)
        names = ", ".join([*COLUMNS[table], "checksum"])
        places = ", ".join("?" * (len(values) + 1))
        self.db.execute(f"INSERT INTO {table} ({names}) VALUES ({places})", [*values, check])
        self._added.append(check)

    def remove(self, table: str, column: str, value: Value) -> int:
        """Remove the rows with that value; returns how many."""
        where = f"FROM {table} WHERE {column} = ?"
        self._removed += [row[0] for row in self.db.execute(f"SELECT checksum {where}", [value])]
        return self.db.execute(f"DELETE {where}", [value]).rowcount

    def clear(self, table: str) -> None:
        """Remove all rows of a table."""
        self._removed += [row[0] for row in self.db.execute(f"SELECT checksum FROM {table}")]
        self.db.execute(f"DELETE FROM {table}")

    def write_metadata(self, document: int, metadata: Mapping[str, MetadataValue]) -> None:
        """Replace the metadata of one document: a row for each value, and each of a list."""
        self.db.execute("DELETE FROM metadata WHERE document = ?", [document])
        if any(isinstance(value, list | tuple) for value in metadata.values()):
            self._allow_lists()
        rows = [(document, *row) for row in metadata_rows(metadata)]
        if self._holds_lists():
            self.db.executemany("INSERT INTO metadata VALUES (?, ?, ?, ?)", rows)
        else:
            flat = [(document, name, value) for document, name, _, value in rows]
            self.db.executemany("INSERT INTO metadata VALUES (?, ?, ?)", flat)

    def _holds_lists(self) -> bool:
        (version,) = self.db.execute("PRAGMA user_version").fetchone()
        return bool(version >= LIST_FORMAT)

    def _allow_lists(self) -> None:
        """Give the file the table that has room for lists, once."""
        if self._holds_lists():
            return
        self.db.execute("DROP INDEX metadata_values")
        self.db.execute("ALTER TABLE metadata RENAME TO metadata_before")
        self.db.execute(METADATA_LIST_TABLE)
        self.db.execute("INSERT INTO metadata SELECT document, name, 0, value FROM metadata_before")
        self.db.execute("DROP TABLE metadata_before")
        self.db.execute(METADATA_INDEX)
        self.db.execute(f"PRAGMA user_version = {LIST_FORMAT}")

    def set_meta(self, name: str, value: str) -> None:
        """Change one value of the table meta."""
        self.db.execute("UPDATE meta SET value = ? WHERE name = ?", [value, name])

    def add_meta(self, name: str, value: str) -> None:
        """Add a value to the table meta, or change it. Older programs ignore unknown names."""
        self.db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", [name, value])

    def finish(self, digest: int) -> None:
        """Count this commit, and update the digest over all rows."""
        self.set_meta("commits", str(self.number))
        self.set_meta("digest", f"{combine_digests(digest, self._added, self._removed):x}")
        self.set_meta("checksum", meta_checksum(self.db))


def metadata_rows(
    metadata: Mapping[str, MetadataValue],
) -> Iterator[tuple[str, int, Scalar]]:
    """(name, place, value) of each value. An empty list has none.

    >>> list(metadata_rows({"year": 1780, "tag": ("red", "blue")}))
    [('year', 0, 1780), ('tag', 0, 'red'), ('tag', 1, 'blue')]
    """
    for name, value in metadata.items():
        listed = value if isinstance(value, list | tuple) else (value,)
        yield from ((name, place, each) for place, each in enumerate(listed))


def meta_checksum(db: sqlite3.Connection) -> str:
    """Checksum of the manifest, the counters and the keys that were issued."""
    meta = db.execute("SELECT name, value FROM meta WHERE name <> 'checksum' ORDER BY name")
    values: list[Value] = [value for row in meta for value in row]
    issued = db.execute("SELECT name, seq FROM sqlite_sequence ORDER BY name")
    values += [value for row in issued for value in row]
    return checksum("meta", values).hex()
