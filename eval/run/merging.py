"""Shards of a run, put together: what one run would have made.

Knows ledgers. Does not know how their rows came about.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shutil import rmtree

from rag_vqa.errors import UsageError
from rag_vqa.eval.run import spec
from rag_vqa.eval.run.ledger import FILE, Ledger
from rag_vqa.eval.run.retrieving import STAGE
from rag_vqa.retriever.store import lock

_TABLES = ("hits", "answers", "photos", "prompts", "failed", "times", "scores", "gold")
_OWN = ("hits", "answers")  # what no two parts share
_ANSWERED = """DELETE FROM failed WHERE EXISTS
    (SELECT 1 FROM answers a WHERE a.cell = failed.cell AND a.position = failed.position)"""


def merge(folder: Path, parts: Sequence[Path]) -> int:
    """Take over the rows of parts into a new ledger in `folder`; how many are still missing.

    Raises:
        UsageError: parts of different runs, or a run in `folder` already.
        Missing: a part is not there.
    """
    if not parts:
        raise UsageError("there are no parts to merge: name their folders.")
    if (folder / FILE).exists():
        raise UsageError(f"{folder} holds a run already. Give another --out.")
    folder.mkdir(parents=True, exist_ok=True)
    with lock.writing(folder), Ledger(parts[0]) as first:
        scratch = folder / "merging"  # until it is whole
        rmtree(scratch, ignore_errors=True)
        examples = (example for _, example in first.examples())
        skipped = int(first.meta("skipped", 0))
        Ledger.create(scratch, first.meta("spec"), examples, lambda: skipped)
        with Ledger(scratch) as whole:
            _take_all(whole, first, parts)
            left = missing(whole)
        (folder / f"{FILE}-journal").unlink(missing_ok=True)  # of a ledger that was removed
        (scratch / FILE).replace(folder / FILE)
        rmtree(scratch)
    return left


def _take_all(whole: Ledger, first: Ledger, parts: Sequence[Path]) -> None:
    names = ("cells", "templates", "documents", "gold")
    for name in names:
        whole.set_meta(name, first.meta(name))
    for part in parts:
        with Ledger(part) as ledger:
            spec.check_same(first.meta("spec"), ledger.meta("spec"), part)
            for name in names:
                if ledger.meta(name) != first.meta(name):
                    raise UsageError(f"{part} and {parts[0]} answer other cells: {name} differ.")
            with whole.commit():
                for table in _TABLES:
                    _take(whole, ledger, table, part)
    with whole.commit():
        whole.write(_ANSWERED, [()])


def _take(whole: Ledger, part: Ledger, table: str, name: Path) -> None:
    columns = len(list(part.rows(f"PRAGMA table_info({table})")))
    holes = ", ".join("?" * columns)
    rows = part.rows(f"SELECT * FROM {table}")
    before = _count(whole, table)
    whole.write(f"INSERT OR IGNORE INTO {table} VALUES ({holes})", rows)
    if table in _OWN and _count(whole, table) - before < _count(part, table):
        raise UsageError(f"{name} holds questions that another part holds as well: name each once.")


def _count(ledger: Ledger, table: str) -> int:
    [(count,)] = ledger.rows(f"SELECT count(*) FROM {table}")
    return int(count)


def missing(ledger: Ledger) -> int:
    """Answers (hits, where nothing is answered) that are neither there nor noted as failed."""
    cells = len(ledger.meta("cells", []))
    table, failed = ("answers", "cell <> ?") if cells else ("hits", "cell = ?")
    query = f"""SELECT (SELECT count(*) FROM {table})
        + (SELECT count(*) FROM failed WHERE {failed})"""
    [(there,)] = ledger.rows(query, (STAGE,))
    return int(ledger.meta("total") * max(cells, 1) - there)
