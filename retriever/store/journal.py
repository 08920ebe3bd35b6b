"""How SQLite keeps a commit whole: by a write-ahead log, or by a rollback journal.

It knows which file systems can have which. It does not know tables. At rest a knowledge base is
one file with a rollback journal, which can be copied and read anywhere; while somebody writes, a
write-ahead log lets readers go on.
"""

from __future__ import annotations

import logging
import sqlite3
from contextlib import suppress
from pathlib import Path

_LOG = logging.getLogger(__name__)
# A log's shared memory is memory of one host: over a network it breaks without a word.
_NETWORK = ("nfs", "nfs4", "lustre", "cifs", "smb3", "smbfs", "gpfs", "beegfs", "ceph", "9p", "afs",
            "fuse.sshfs", "fuse.glusterfs", "pvfs2", "orangefs", "panfs")  # fmt: skip
_MOUNTS = Path("/proc/self/mountinfo")
_PATIENCE = 5000  # milliseconds: a reader holds its snapshot for as long as a search takes


def begin(db: sqlite3.Connection, file: Path) -> bool:
    """Make commits durable, and log them where that works; whether they are logged."""
    kind = network(file.absolute())
    logged = not kind and _switch(db, "WAL", _PATIENCE)
    if not logged:
        why = f"on {kind} the memory that a write-ahead log shares is not to be had"
        _LOG.warning(
            "%s: writing with a rollback journal (%s): searches wait while a commit is written.",
            file, why if kind else "it cannot have a write-ahead log now",
        )  # fmt: skip
    # EXTRA: the removal of the journal, which is the commit, reaches the disk too.
    db.execute(f"PRAGMA synchronous = {'FULL' if logged else 'EXTRA'}")
    return logged


def end(db: sqlite3.Connection) -> None:
    """Back to one file, unless others have it open: then the next writer does it."""
    # A disk that is full now: the log stays, and is read by whoever comes next.
    with suppress(sqlite3.OperationalError):
        _switch(db, "DELETE", 0)


def _switch(db: sqlite3.Connection, mode: str, patience: int) -> bool:
    (before,) = db.execute("PRAGMA busy_timeout").fetchone()
    db.execute(f"PRAGMA busy_timeout = {patience}")
    try:
        (got,) = db.execute(f"PRAGMA journal_mode = {mode}").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED,
                                                 sqlite3.SQLITE_CANTOPEN):  # fmt: skip
            raise
        return False
    finally:
        db.execute(f"PRAGMA busy_timeout = {before}")
    return bool(got == mode.lower())


def network(file: Path, mounts: Path = _MOUNTS) -> str:
    """The kind of network file system that a file lies on; "" for a disk, or where none can say.

    `mounts` is Linux's list, see proc_pid_mountinfo(5).
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
    return kind if kind in _NETWORK else ""
