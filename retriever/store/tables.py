"""The tables of a knowledge base, and what each row's checksum and the digest over all rows are.

It knows columns and arithmetic. It does not know transactions (database.py) nor what the columns
mean to a user (store.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from types import UnionType

Value = int | float | str | bytes | None

META = "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"
# Metadata is a copy of what the documents' bodies hold, so it is checked against them and has no
# checksums. Its `value` has no type: SQLite then compares numbers with numbers, text with text.
# A key names one row of tokens for ever: AUTOINCREMENT never gives it again.
SCHEMA = (
    """CREATE TABLE documents (
    row INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, body TEXT NOT NULL,
    hash BLOB NOT NULL, shape BLOB NOT NULL, tokens INTEGER NOT NULL, cut INTEGER NOT NULL,
    checksum BLOB NOT NULL)""",
    """CREATE TABLE passages (
    key INTEGER PRIMARY KEY AUTOINCREMENT, document INTEGER NOT NULL, position INTEGER NOT NULL,
    text TEXT NOT NULL, image TEXT, checksum BLOB NOT NULL, UNIQUE (document, position))""",
    """CREATE TABLE metadata (
    document INTEGER NOT NULL, name TEXT NOT NULL, value,
    PRIMARY KEY (document, name)) WITHOUT ROWID""",
    "CREATE INDEX metadata_values ON metadata (name, value)",
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
_DIGEST = 2**128


def hash_of(data: bytes | memoryview) -> bytes:
    """16 bytes that stand for any number of them."""
    return hashlib.blake2b(data, digest_size=16).digest()


def checksum(table: str, values: Sequence[Value]) -> bytes:
    """Of one row, of its table, its key and all its values.

    >>> checksum("gone", (1, 23)) == checksum("gone", (12, 3))
    False
    """
    parts = [table.encode()]
    for value in values:
        data = value if isinstance(value, bytes) else str(value).encode()
        parts += (f"{type(value).__name__}{len(data)}:".encode(), data)
    return hash_of(b"\0".join(parts))


def fault(table: str, values: Sequence[Value], check: object) -> str:
    """What is wrong with a row of COLUMNS[table] and its checksum; "" if it can be as written.

    >>> fault("gone", (1, "x"), checksum("gone", (1, "x")))
    "has 'x' as its commits"
    """
    if checksum(table, values) != check:
        return "does not have its checksum"
    for (name, kind), value in zip(COLUMNS[table].items(), values, strict=True):
        # All numbers count or name something: none is negative.
        if not isinstance(value, kind) or (isinstance(value, int) and value < 0):
            return f"has {value!r:.40} as its {name}"
    return ""


def summed(digest: int, added: Iterable[bytes], removed: Iterable[bytes]) -> int:
    """The digest over all rows after a change: the sum of their checksums, modulo 2^128.

    It does not depend on the order of rows, so that a commit costs only what it changes.

    >>> summed(summed(0, [b"a", b"b"], []), [], [b"b"]) == summed(0, [b"a"], [])
    True
    """
    for row in added:
        digest += int.from_bytes(row, "big")
    for row in removed:
        digest -= int.from_bytes(row, "big")
    return digest % _DIGEST
