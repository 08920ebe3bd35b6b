"""One change of the database while it is being made: rows in and out, and the digest over all.

It knows checksums and keys. It does not know when a transaction begins or ends (database.py).
"""

from __future__ import annotations

import sqlite3

from rag_vqa.retriever.store.tables import COLUMNS, Value, checksum, summed


class Commit:
    """What is written between BEGIN and COMMIT. `number` is the commit's own, from 1."""

    def __init__(self, db: sqlite3.Connection, number: int) -> None:
        self.db, self.number = db, number
        self._added: list[bytes] = []
        self._removed: list[bytes] = []

    def issue(self, table: str) -> int:
        """The next key of a table, which was never given before."""
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
        """Remove the rows that have that value; how many there were."""
        where = f"FROM {table} WHERE {column} = ?"
        self._removed += [row[0] for row in self.db.execute(f"SELECT checksum {where}", [value])]
        return self.db.execute(f"DELETE {where}", [value]).rowcount

    def clear(self, table: str) -> None:
        """Remove all rows of a table."""
        self._removed += [row[0] for row in self.db.execute(f"SELECT checksum FROM {table}")]
        self.db.execute(f"DELETE FROM {table}")

    def set_meta(self, name: str, value: str) -> None:
        """Change one of meta's values."""
        self.db.execute("UPDATE meta SET value = ? WHERE name = ?", [value, name])

    def finish(self, digest: int) -> None:
        """Count this commit, and bring the digest of the last one up to date."""
        self.set_meta("commits", str(self.number))
        self.set_meta("digest", f"{summed(digest, self._added, self._removed):x}")
        self.set_meta("checksum", meta_checksum(self.db))


def meta_checksum(db: sqlite3.Connection) -> str:
    """Over the manifest, the counters and the keys that were issued."""
    meta = db.execute("SELECT name, value FROM meta WHERE name <> 'checksum' ORDER BY name")
    values: list[Value] = [value for row in meta for value in row]
    issued = db.execute("SELECT name, seq FROM sqlite_sequence ORDER BY name")
    values += [value for row in issued for value in row]
    return checksum("meta", values).hex()
