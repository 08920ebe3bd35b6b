"""Shards: merge the ledgers of a run's shards into the ledger that one run would have made.

Knows ledgers. Does not know how their rows were made.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shutil import rmtree

from rag_vqa.errors import UsageError
from rag_vqa.eval.run import spec
from rag_vqa.eval.run.ledger import LEDGER_FILE, Ledger, count_missing
from rag_vqa.storage import lock

_TABLES = ("hits", "answers", "photos", "prompts", "failed", "times", "scores", "gold")
_DISJOINT_TABLES = ("hits", "answers")  # no two shards have a row in common
_FORGET_ANSWERED_FAILURES = """DELETE FROM failed WHERE EXISTS
    (SELECT 1 FROM answers a WHERE a.cell = failed.cell AND a.position = failed.position)"""


def merge_shards(folder: Path, parts: Sequence[Path]) -> int:
    """Copy the rows of all shards into a new ledger in `folder`; return how many are still missing.

    Raises:
        UsageError: the shards are of different runs, or `folder` holds a run already.
        Missing: a shard is missing.
    """
    if not parts:
        raise UsageError("No shards to merge. Name their folders: rag-vqa eval merge PART…")
    if (folder / LEDGER_FILE).exists():
        raise UsageError(f"{folder} holds a run already. Give another --out.")
    folder.mkdir(parents=True, exist_ok=True)
    with lock.hold_lock(folder), Ledger(parts[0]) as first:
        scratch = folder / "merging"  # until it is whole
        rmtree(scratch, ignore_errors=True)
        examples = (example for _, example in first.examples())
        skipped = int(first.meta("skipped", 0))
        Ledger.create(scratch, first.meta("spec"), examples, lambda: skipped)
        with Ledger(scratch) as whole:
            _copy_shards(whole, first, parts)
            left = count_missing(whole)
        # SQLite would apply the journal of a ledger that was removed to the new one.
        (folder / f"{LEDGER_FILE}-journal").unlink(missing_ok=True)
        (scratch / LEDGER_FILE).replace(folder / LEDGER_FILE)
        rmtree(scratch)
    return left


def _copy_shards(merged: Ledger, first: Ledger, parts: Sequence[Path]) -> None:
    names = ("cells", "templates", "documents", "gold")
    for name in names:
        merged.set_meta(name, first.meta(name))
    for part in parts:
        with Ledger(part) as ledger:
            spec.check_same_run(first.meta("spec"), ledger.meta("spec"), part)
            for name in names:
                if ledger.meta(name) != first.meta(name):
                    raise UsageError(
                        f"{part} and {parts[0]} answer different cells: their {name} differ. Merge "
                        "shards of one run."
                    )
            with merged.commit():
                for table in _TABLES:
                    _copy_table(merged, ledger, table, part)
    with merged.commit():
        merged.write(_FORGET_ANSWERED_FAILURES, [()])


def _copy_table(merged: Ledger, part: Ledger, table: str, name: Path) -> None:
    columns = len(list(part.rows(f"PRAGMA table_info({table})")))
    placeholders = ", ".join("?" * columns)
    rows = part.rows(f"SELECT * FROM {table}")
    before = _count_rows(merged, table)
    merged.write(f"INSERT OR IGNORE INTO {table} VALUES ({placeholders})", rows)
    if table in _DISJOINT_TABLES and _count_rows(merged, table) - before < _count_rows(part, table):
        raise UsageError(f"{name} holds questions of another shard, too: name each shard once.")


def _count_rows(ledger: Ledger, table: str) -> int:
    [(count,)] = ledger.rows(f"SELECT count(*) FROM {table}")
    return int(count)
