"""Stamps of picture files: which files were read, so that an unchanged one is not read again.

Knows what git and rsync go by: size, times and inode of a file. A file whose stamp is the same has
the same bytes; the time of its last change (ctime) also tells of a file that was replaced with its
old date. A file that changed within two seconds of being read gets no stamp, as a later change
might not show in its times. The stored copy has a stamp, too: if it is gone or damaged by hand, the
picture is read again. Does not know documents. The stamps are a cache in a file of their own beside
the database: whatever is wrong with it, pictures are read as if it were not there.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import suppress
from pathlib import Path

STAMPS_FILE = "picture_stamps.sqlite"
_YOUNGEST_NS = 2 * 10**9  # age of a file's last change, when it is read
_COMMIT_ROWS = 1000
_SPARE_ROWS = 10_000  # of files that a sync did not ask for
_TABLE = """CREATE TABLE IF NOT EXISTS stamps (
    path TEXT PRIMARY KEY, stamp TEXT NOT NULL, name TEXT NOT NULL, stored TEXT NOT NULL)
    WITHOUT ROWID"""


def read_stamp(path: str, *, follow: bool = True) -> str | None:
    """What a regular file is recognised by; None if there is none."""
    try:
        found = os.stat(path, follow_symlinks=follow)  # noqa: PTH116 - there may be millions
    except (OSError, ValueError):
        return None
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino} {found.st_mode}"


def is_settled(path: str) -> bool:
    """Whether a later change of a file will show in its times."""
    try:
        found = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError):
        return False
    return max(found.st_mtime_ns, found.st_ctime_ns) < time.time_ns() - _YOUNGEST_NS


class PictureStamps:
    """The stamps of one knowledge base. One process writes, under the knowledge base's lock."""

    def __init__(self, folder: Path, images: Path, writes: bool) -> None:
        self._file, self._images, self._writes = folder / STAMPS_FILE, images, writes
        self._db: sqlite3.Connection | None = None
        self._opened = False
        self._noted = self._asked = 0

    def find(self, path: str, root: str) -> str | None:
        """Name of the stored picture that an unchanged file holds; None if it has to be read.

        Args:
            root: the folder that the file must lie in; it was checked when the file was read.
        """
        db = self._open()
        if db is None:
            return None
        self._asked += 1
        try:
            row = db.execute(
                "SELECT stamp, name, stored FROM stamps WHERE path = ?", [path]
            ).fetchone()
        except (sqlite3.Error, UnicodeError):
            return None
        if row is None or row[0] != f"{read_stamp(path)} {root}":
            return None
        stored = read_stamp(f"{self._images}{os.sep}{row[1]}", follow=False)
        return row[1] if stored is not None and row[2] == stored else None

    def note(self, path: str, stamp: str, root: str, name: str) -> None:
        """Note that a file with this stamp holds the stored picture `name`."""
        db = self._open()
        stored = read_stamp(f"{self._images}{os.sep}{name}", follow=False)
        if db is None or stored is None or not self._writes:
            return
        with suppress(sqlite3.Error, UnicodeError):
            values = (path, f"{stamp} {root}", name, stored)
            db.execute("INSERT OR REPLACE INTO stamps VALUES (?, ?, ?, ?)", values)
            self._noted += 1
            if self._noted % _COMMIT_ROWS == 0:
                db.commit()

    def close(self, complete: bool = False) -> None:
        """Write and close. After a complete pass over a source, forget if most are of no use."""
        if self._db is None:
            return
        with suppress(sqlite3.Error):
            if complete and self._writes:
                ((rows,),) = self._db.execute("SELECT count(*) FROM stamps")
                if rows > 2 * self._asked + _SPARE_ROWS:
                    self._db.execute("DELETE FROM stamps")
            self._db.commit()
            self._db.close()
        self._db, self._opened = None, False

    def _open(self) -> sqlite3.Connection | None:
        if not self._opened:
            self._opened = True
            for attempt in range(2):
                try:
                    self._db = self._connect()
                    break
                except sqlite3.Error:
                    if not self._writes or attempt:
                        break
                    with suppress(OSError):
                        self._file.unlink()  # damaged: begin again
        return self._db

    def _connect(self) -> sqlite3.Connection | None:
        if not self._writes:
            if not self._file.is_file():
                return None
            return sqlite3.connect(f"{self._file.resolve().as_uri()}?mode=ro", uri=True)
        db = sqlite3.connect(self._file)
        try:
            db.execute("PRAGMA synchronous = OFF")
            db.execute("PRAGMA journal_mode = MEMORY")
            db.execute(_TABLE)
            db.execute("SELECT path, stamp, name, stored FROM stamps LIMIT 1").fetchone()
        except sqlite3.Error:
            db.close()
            raise
        return db
