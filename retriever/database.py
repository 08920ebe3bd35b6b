"""One SQLite file of ours: opened, versioned, read in snapshots, written in commits.

It knows transactions, versions, and what SQLite's errors mean to a user. It does not know what
the rows mean. A rollback journal, not WAL: it works on read-only and network filesystems, and
whoever opens the file next sees the last commit.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rag_vqa.errors import CorruptKnowledgeBase, RagVqaError, UsageError

FORMAT = 1
_MAGIC = 0x52564B42  # SQLite's application_id: "RVKB"
_BUSY_SECONDS = 20.0
_CHUNK = 500  # values bound at once: SQLite takes at least 999

_META = "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
# What SQLite says of a file that is sound but cannot be had just now.
_REFUSED = frozenset(
    {
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
    }
)


class Database:
    """An open file. All errors of SQLite leave as ours; one thread at a time is served."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._lock = threading.RLock()
        with self._explained():
            uri = f"{file.absolute().as_uri()}?mode=rw"  # never creates; read-only where it must
            self._db = sqlite3.connect(
                uri, uri=True, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
        try:
            with self._explained():
                self._db.execute("PRAGMA trusted_schema = OFF")  # a file's triggers call nothing
                self._db.execute("PRAGMA cell_size_check = ON")
            self._check_version()
            self._check_size()
        except RagVqaError:
            self._db.close()
            raise

    @classmethod
    def create(cls, file: Path, schema: str, meta: Mapping[str, str]) -> Database:
        """Write a file of empty tables: it is there whole, or not at all."""
        new = file.with_name(f"{file.name}.new")
        new.unlink(missing_ok=True)
        db = sqlite3.connect(new, isolation_level=None)
        versions = f"PRAGMA application_id = {_MAGIC}; PRAGMA user_version = {FORMAT};"
        db.executescript(f"BEGIN; {versions} {_META} {schema} COMMIT;")
        db.executemany("INSERT INTO meta VALUES (?, ?)", [*meta.items(), ("commits", "0")])
        db.close()
        new.replace(file)
        return cls(file)

    def close(self) -> None:
        """Let go of the file; a second call does nothing."""
        with self._lock:
            self._db.close()

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        """All rows of a query, as tuples."""
        with self._lock, self._explained():
            return self._db.execute(query, values).fetchall()

    def stream(self, query: str, values: Sequence[Any] = ()) -> Iterator[Any]:
        """Rows of a query one at a time, where they are too large for a list."""
        with self._lock, self._explained():
            yield from self._db.execute(query, values)

    def rows_in(self, query: str, values: Sequence[Any]) -> Iterator[Any]:
        """Rows of a query whose `IN ({})` is filled with any number of values."""
        for start in range(0, len(values), _CHUNK):
            part = values[start : start + _CHUNK]
            yield from self.rows(query.format(", ".join("?" * len(part))), part)

    def meta(self, name: str) -> str:
        """One of the values that `create` was given, or "commits"."""
        found = self.rows("SELECT value FROM meta WHERE name = ?", [name])
        if not found or not isinstance(found[0][0], str):
            raise self.corrupt(f"meta lacks {name!r}")
        value: str = found[0][0]
        return value

    def commits(self) -> int:
        """How many commits there were: it grows whenever anything changes."""
        try:
            return int(self.meta("commits"))
        except ValueError as error:
            raise self.corrupt("its commit counter is no number") from error

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """All reads within see one commit."""
        with self._lock, self._explained():
            self._db.execute("BEGIN")
            try:
                yield
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")

    @contextmanager
    def commit(self) -> Iterator[sqlite3.Connection]:
        """All writes within happen, or none; the counter of commits goes up by one."""
        with self._lock, self._explained():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("UPDATE meta SET value = value + 1 WHERE name = 'commits'")
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")

    def corrupt(self, what: str) -> CorruptKnowledgeBase:
        """The error that says so, for the caller to raise."""
        return CorruptKnowledgeBase(
            f"{self.file} is damaged: {what}. Restore it from a copy, or build it again: "
            f"rag-vqa kb build SOURCE --out {self.file.parent}"
        )

    def _check_version(self) -> None:
        (magic,), (version,) = (
            self.rows(f"PRAGMA {name}")[0] for name in ("application_id", "user_version")
        )
        if magic != _MAGIC:
            raise self.corrupt("it is another program's database")
        if version > FORMAT:
            raise RagVqaError(
                f"{self.file} has format {version}, this rag-vqa reads up to {FORMAT}. "
                "Upgrade: pip install -U rag-vqa"
            )
        if version < 1:
            raise self.corrupt(f"there is no format {version}")

    def _check_size(self) -> None:
        """SQLite reads a last page that is cut as if it ended in zeros."""
        with self.snapshot():  # none commits meanwhile
            (pages,), (size,) = (
                self.rows(f"PRAGMA {name}")[0] for name in ("page_count", "page_size")
            )
            found = self.file.stat().st_size
        if found < pages * size:
            raise self.corrupt(f"it ends at byte {found} of {pages * size}")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """SQLite's errors as ours."""
        try:
            yield
        except (sqlite3.ProgrammingError, UnicodeEncodeError, OverflowError) as error:
            # Closed already, or a value that no row can hold: half a character, 65 bits, a list.
            raise UsageError(f"{self.file} cannot be asked that: {error}") from error
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
            if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise RagVqaError(
                    f"Another process is writing {self.file}. Wait for it, then run this again."
                ) from error
            if code in _REFUSED:
                raise RagVqaError(
                    f"{self.file} cannot be used: {error}. Check its rights and the disk's room."
                ) from error
            raise self.corrupt(str(error)) from error
