"""Two processes write in turn, and both hold the knowledge base open: nothing told is lost.

What could lose it: closing any descriptor of a file drops all locks that the process has on it
(fcntl(2)), and without its lock, the next process takes the log away that this one writes into.
"""

import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rag_vqa.retriever.knowledge_base import KnowledgeBase

_LOGS = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA journal_mode = WAL")
db.execute("BEGIN IMMEDIATE")
print("begun", flush=True)
sys.stdin.read()
db.execute("ROLLBACK")
db.close()
"""


@pytest.fixture
def base(tmp_path: Path, motions: Any) -> Path:
    with motions.open_or_create(tmp_path / "x.kb") as kb:
        kb.add([motions.document(n, 1) for n in range(5)])
    return tmp_path / "x.kb"


def in_turn(kb: KnowledgeBase, script: Any, again: bool = False) -> None:
    """Delete here, there, and here; what is held must then be the same everywhere."""
    assert kb.delete("d0") == 1
    if again:
        KnowledgeBase.open(kb.path).close()
    assert script("deletes.py", kb.path, "d1") == "d2 d3 d4\n"
    assert kb.delete("d2") == 1
    assert [document.id for document in kb.documents()] == ["d3", "d4"]
    assert script("deletes.py", kb.path) == "d3 d4\n"
    kb.close()
    assert script("deletes.py", kb.path) == "d3 d4\n"


def test_opened_once(base: Path, script: Any) -> None:
    in_turn(KnowledgeBase.open(base), script)


def test_opened_twice(base: Path, script: Any) -> None:
    in_turn(KnowledgeBase.open(base), script, again=True)


def test_opened_while_another_s_log_is_empty(base: Path, script: Any) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", _LOGS, str(base / "kb.sqlite")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert other.stdout is not None and other.stdout.readline() == "begun\n"
    assert (base / "kb.sqlite-wal").stat().st_size == 0
    kb = KnowledgeBase.open(base)
    other.communicate()
    in_turn(kb, script)


@pytest.mark.parametrize("linked", [False, True])
def test_the_database_named_as_a_picture(
    base: Path, motions: Any, script: Any, linked: bool
) -> None:
    """A hostile record need only guess where the knowledge base lies."""
    picture = base / "kb.sqlite"
    if linked:
        picture = base.parent / "picture.png"
        picture.symlink_to(base / "kb.sqlite")
    with motions.open_or_create(base) as kb:
        assert kb.delete("d0") == 1
        hostile = {"id": "hostile", "text": "Look.", "image": picture}
        (unusable,) = kb.add([hostile]).missing_images
        assert "a database is not opened" in unusable.reason and kb.delete("hostile") == 1
        assert script("deletes.py", base) == "d1 d2 d3 d4\n"  # which closes it
        assert kb.delete("d1") == 1
        assert script("deletes.py", base) == "d2 d3 d4\n"


def test_only_sqlite_opens_the_database(tmp_path: Path, script: Any) -> None:
    for name, content in {"old": b"", "old_1": b"garbage" * 10_000}.items():
        (tmp_path / f"{name}.kb").mkdir()
        (tmp_path / f"{name}.kb" / "kb.sqlite").write_bytes(content)
    (tmp_path / "old_2.kb").mkdir()
    db = sqlite3.connect(tmp_path / "old_2.kb" / "kb.sqlite")  # of format 1, without its tables
    db.executescript(f"PRAGMA application_id = {0x52564B42}; PRAGMA user_version = 1;")
    db.close()
    assert script("opens.py", tmp_path) == ""
