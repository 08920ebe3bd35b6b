"""The SQLite file of a knowledge base: opened, checked, read in snapshots, written in commits.

Knows transactions, versions, journals, and what SQLite's errors mean to a user. Does not know what
the rows mean (document_store.py) nor who may write (storage/lock.py).

At rest a knowledge base is one file with a rollback journal, which can be copied and read
anywhere. While a process writes, a write-ahead log lets readers go on, where the file system can
share memory.

Nothing but SQLite may open the file, not even to read it: when a process closes any descriptor of
a file, the system drops all locks that the process has on it (fcntl(2)), also those of SQLite's
other connections. Asking for its size (stat) is safe.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from rag_vqa.errors import CorruptKnowledgeBase, Locked, RagVqaError, UsageError
from rag_vqa.retriever.store.schema import (
    FORMAT,
    LIST_FORMAT,
    META_TABLE,
    METADATA_LIST_TABLE,
    METADATA_TABLE,
    SCHEMA,
    Commit,
    meta_checksum,
)
from rag_vqa.storage import atomic

MAGIC = 0x52564B42  # SQLite's application_id: "RVKB"
_BUSY_SECONDS = 20.0
_PAGE_BYTES = 4096  # no file of ours was ever smaller
_BOUND_VALUES = 500  # in one query; SQLite takes at least 999
_LOG = logging.getLogger(__name__)
# SQLite's errors for a file that is intact but not available just now.
_UNAVAILABLE = frozenset(
    {
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
    }
)
# A write-ahead log shares memory of one host: over a network it breaks silently.
_NETWORK_FILESYSTEMS = ("nfs", "nfs4", "lustre", "cifs", "smb3", "smbfs", "gpfs", "beegfs", "ceph",
                        "9p", "afs", "fuse.sshfs", "fuse.glusterfs", "pvfs2", "orangefs",
                        "panfs")  # fmt: skip
_MOUNTS = Path("/proc/self/mountinfo")
_WAL_WAIT_MS = 5000  # a reader holds its snapshot for as long as a search takes
DATABASE_FILE = "kb.sqlite"


class OldFormat(RagVqaError):
    """The file has the format before the current one."""


class Database:
    """An open file. Translates SQLite's errors into ours; serves one thread at a time."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._lock = threading.RLock()
        self._writes = self._logged = False
        if (size := file.stat().st_size) < _PAGE_BYTES:
            raise self.corruption_error(f"it ends at byte {size}, in its first page")
        with self._translate_errors():
            self._db = self._connect("mode=rw")  # never creates a file
        try:
            with self._translate_errors():
                self._first_read()
            self._check_version()
            self._check_size()
            with self.snapshot():
                self._check_schema()
                self.check_meta()
        except RagVqaError:
            self._db.close()
            raise

    @classmethod
    def create(cls, file: Path, meta: Mapping[str, str]) -> None:
        """Write a file with empty tables, completely or not at all."""
        new = file.with_name(file.name + atomic.PARTIAL_SUFFIX)
        for leftover in new.parent.glob(f"{new.name}*"):
            atomic.remove_file(leftover)
        start = {**meta, "commits": "0", "digest": "0", "generation": "0"}
        versions = f"PRAGMA application_id = {MAGIC}; PRAGMA user_version = {FORMAT};"
        try:
            with closing(sqlite3.connect(new, isolation_level=None)) as db:
                db.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
                db.executescript(f"BEGIN; {versions} {META_TABLE}; {';'.join(SCHEMA)};")
                db.executemany("INSERT INTO meta VALUES (?, ?)", start.items())
                db.execute("INSERT INTO meta VALUES ('checksum', ?)", [meta_checksum(db)])
                db.execute("COMMIT")
        except sqlite3.Error as error:
            raise RagVqaError(
                f"{new} cannot be written: {error}. Check its rights and the disk's room."
            ) from error
        atomic.replace_file(new, file)

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        with self._lock:
            if self._logged:
                end_journal(self._db)
                self._logged = False
            self._db.close()

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        """All rows of a query, as tuples."""
        with self._lock, self._translate_errors():
            return self._db.execute(query, values).fetchall()

    def stream(self, query: str, values: Sequence[Any] = ()) -> Iterator[Any]:
        """Rows of a query one at a time, for more than fit into memory."""
        with self._lock, self._translate_errors():
            yield from self._db.execute(query, values)

    def rows_for(self, query: str, values: Sequence[Any]) -> Iterator[Any]:
        """Rows of a query, with any number of values in the place of its `IN ({})`."""
        for start in range(0, len(values), _BOUND_VALUES):
            part = values[start : start + _BOUND_VALUES]
            yield from self.rows(query.format(", ".join("?" * len(part))), part)

    def meta(self, name: str) -> str:
        """A value of the table meta: one given to `create`, "commits", "digest", "generation"."""
        found = self.rows("SELECT value FROM meta WHERE name = ?", [name])
        if not found or not isinstance(found[0][0], str):
            raise self.corruption_error(f"meta lacks {name!r}")
        value: str = found[0][0]
        return value

    def number(self, name: str, base: int = 10) -> int:
        """A number of the table meta.

        "commits" grows with every change, "generation" whenever rows of tokens move.
        """
        try:
            return int(self.meta(name), base)
        except ValueError as error:
            raise self.corruption_error(f"its {name} is no number") from error

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """All reads in the block see the same commit."""
        with self._lock, self._translate_errors():
            self._db.execute("BEGIN")
            try:
                yield
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")

    @contextmanager
    def commit(self) -> Iterator[Commit]:
        """All writes in the block happen, or none."""
        with self._lock, self._translate_errors():
            if not self._writes:
                self._logged = begin_journal(self._db, self.file)
                self._writes = True
            self._db.execute("BEGIN IMMEDIATE")
            try:
                commit = Commit(self._db, self.number("commits") + 1)
                yield commit
                commit.finish(self.number("digest", 16))
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")

    def copy_to(self, file: Path) -> None:
        """Write the commit of this snapshot to another file."""
        with self._lock, self._translate_errors():
            other = sqlite3.connect(file, isolation_level=None)
            try:
                self._db.backup(other)
                other.execute("PRAGMA journal_mode = DELETE")
            finally:
                other.close()

    def corruption_error(self, what: str) -> CorruptKnowledgeBase:
        """The error that says what is damaged; the caller raises it."""
        return CorruptKnowledgeBase(
            f"{self.file} is damaged: {what}. Restore it from a copy, or build it again: "
            f"rag-vqa kb build SOURCE --out {self.file.parent}"
        )

    def check_meta(self) -> None:
        """Raise if the manifest or the counters are damaged. Call it in a snapshot."""
        with self._lock, self._translate_errors():
            found = self.rows("SELECT value FROM meta WHERE name = 'checksum'")
            if not found or found[0][0] != meta_checksum(self._db):
                raise self.corruption_error("its manifest does not have its checksum (table meta)")
            bad = "typeof(seq) <> 'integer' OR seq < 0"
            if self.rows(f"SELECT name FROM sqlite_sequence WHERE {bad}"):
                raise self.corruption_error("a counter is no number (table sqlite_sequence)")

    def _connect(self, options: str) -> sqlite3.Connection:
        uri = f"{self.file.absolute().as_uri()}?{options}"
        return sqlite3.connect(
            uri, uri=True, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )

    def _first_read(self) -> None:
        """Read once; if a log was left whose shared memory is not available, do without it."""
        try:
            self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in _UNAVAILABLE:
                raise
            if self._has_companion("journal"):  # half a commit, which only SQLite can undo
                raise RagVqaError(
                    f"{self.file} holds half a commit, which cannot be undone here: {error}. "
                    "Open it once with write permission and free disk space: "
                    f"rag-vqa kb stats {self.file.parent}"
                ) from error
            self._db.close()
            if self._has_companion("wal"):  # the disk is full: keep the shared memory here
                self._db = self._connect("mode=rw")
                self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
                warning = "The disk is full: no other process can read %s until it is closed here."
            else:
                self._db = self._connect("mode=ro&immutable=1")
                warning = "%s is read as it is now: open it again to see later commits."
            _LOG.warning(warning, self.file)
        self._db.execute("PRAGMA trusted_schema = OFF")  # triggers of a forged file call nothing
        self._db.execute("PRAGMA cell_size_check = ON")

    def _has_companion(self, kind: str) -> bool:
        """Whether SQLite's log or journal lies beside the file, and is not empty."""
        beside = self.file.with_name(f"{self.file.name}-{kind}")
        return beside.exists() and beside.stat().st_size > 0

    def _check_version(self) -> None:
        (magic,), (version,) = (
            self.rows(f"PRAGMA {name}")[0] for name in ("application_id", "user_version")
        )
        if magic != MAGIC:
            raise self.corruption_error("it is another program's database")
        if version > LIST_FORMAT:
            raise RagVqaError(
                f"{self.file} has format {version}, this rag-vqa reads up to {LIST_FORMAT}. "
                "Upgrade: pip install -U rag-vqa"
            )
        if version == FORMAT - 1:
            raise OldFormat(
                f"{self.file} has format {version}. Migrate it to the current one: "
                f"rag-vqa kb stats {self.file.parent}"
            )
        if version < FORMAT:
            raise self.corruption_error(f"there is no format {version}")

    def _check_size(self) -> None:
        """SQLite notices missing pages, but reads a truncated last page as if padded with zeros."""
        with self.snapshot():
            ((pages,),) = self.rows("PRAGMA page_count")  # from here on, no process removes pages
            if self._has_companion("wal"):  # which may hold the last pages
                return
            if (size := self.file.stat().st_size) < pages * _PAGE_BYTES:
                raise self.corruption_error(f"it ends at byte {size} of {pages * _PAGE_BYTES}")

    def _check_schema(self) -> None:
        """Refuse other tables, views and triggers: they could call or hide anything."""
        found = {sql for (sql,) in self.rows("SELECT sql FROM sqlite_master WHERE sql NOT NULL")}
        ((version,),) = self.rows("PRAGMA user_version")
        due = {META_TABLE, *SCHEMA, "CREATE TABLE sqlite_sequence(name,seq)"}
        if version == LIST_FORMAT:
            due = due - {METADATA_TABLE} | {METADATA_LIST_TABLE}
        if found != due:
            raise self.corruption_error("its tables are not those of a knowledge base")

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Turn SQLite's errors into ours."""
        try:
            yield
        except UnicodeDecodeError as error:
            raise self.corruption_error(f"it holds text that is not UTF-8: {error}") from error
        except (sqlite3.ProgrammingError, UnicodeEncodeError, OverflowError) as error:
            # It is closed, or no row can hold the value: half a character, 65 bits, a list.
            raise UsageError(f"{self.file} cannot answer this query: {error}") from error
        except sqlite3.Error as error:
            raise self._translate(error) from error

    def _translate(self, error: sqlite3.Error) -> RagVqaError:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return Locked(
                f"Another process has been using {self.file} for {_BUSY_SECONDS:.0f} seconds. "
                "Wait for it, then run this again."
            )
        if code in _UNAVAILABLE:
            return RagVqaError(
                f"{self.file} cannot be used: {error}. What was committed is safe: check its "
                "rights and the disk's room, then run this again."
            )
        return self.corruption_error(f"{error} (it ends at byte {self.file.stat().st_size})")


def begin_journal(db: sqlite3.Connection, file: Path) -> bool:
    """Make commits durable; returns whether they use a write-ahead log."""
    kind = network_filesystem(file.absolute())
    logged = not kind and _switch_journal(db, "WAL", _WAL_WAIT_MS)
    if not logged:
        why = f"a write-ahead log cannot share memory on {kind}"
        _LOG.warning(
            "%s: writing with a rollback journal (%s): searches wait while a commit is written.",
            file,
            why if kind else "it cannot have a write-ahead log now",
        )
    # EXTRA: the removal of the journal, which is the commit, reaches the disk too.
    db.execute(f"PRAGMA synchronous = {'FULL' if logged else 'EXTRA'}")
    return logged


def end_journal(db: sqlite3.Connection) -> None:
    """Return to one file, unless other processes have it open: then the next writer does it."""
    # If the disk is full, the log stays, and the next process reads it.
    with suppress(sqlite3.OperationalError):
        _switch_journal(db, "DELETE", 0)


def _switch_journal(db: sqlite3.Connection, mode: str, wait_ms: int) -> bool:
    (before,) = db.execute("PRAGMA busy_timeout").fetchone()
    db.execute(f"PRAGMA busy_timeout = {wait_ms}")
    try:
        (got,) = db.execute(f"PRAGMA journal_mode = {mode}").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF not in (
            sqlite3.SQLITE_BUSY,
            sqlite3.SQLITE_LOCKED,
            sqlite3.SQLITE_CANTOPEN,
        ):
            raise
        return False
    finally:
        db.execute(f"PRAGMA busy_timeout = {before}")
    return bool(got == mode.lower())


def network_filesystem(file: Path, mounts: Path = _MOUNTS) -> str:
    """The network file system on which a file lies; "" for a local disk, or if unknown.

    `mounts` is Linux's list of mounts, see proc_pid_mountinfo(5).
    """
    try:
        lines = mounts.read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    best, kind = "", ""
    for line in lines:
        before, _, after = line.partition(" - ")
        point = before.split()[4].replace("\\040", " ")
        if file.is_relative_to(point) and len(point) >= len(best):
            best, kind = point, after.split()[0]
    return kind if kind in _NETWORK_FILESYSTEMS else ""
