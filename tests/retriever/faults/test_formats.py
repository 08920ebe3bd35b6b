"""Formats: the one before is migrated whole or not at all, all others are refused untouched."""

import itertools
import json
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from rag_vqa.errors import CorruptKnowledgeBase, Missing, RagVqaError
from rag_vqa.images import content_hash
from rag_vqa.retriever.knowledge_base import KnowledgeBase

# The tables of format 1, as its program wrote them.
_FIRST = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE documents (
    row INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
    body TEXT NOT NULL, hash TEXT NOT NULL);
CREATE TABLE passages (
    key INTEGER PRIMARY KEY AUTOINCREMENT, document TEXT NOT NULL, position INTEGER NOT NULL,
    text TEXT NOT NULL, image TEXT, tokens BLOB NOT NULL, UNIQUE (document, position));
CREATE TABLE metadata (
    document TEXT NOT NULL, name TEXT NOT NULL, value, PRIMARY KEY (document, name)) WITHOUT ROWID;
CREATE INDEX metadata_values ON metadata (name, value);
"""


def first(path: Path, motions, documents: int = 20) -> None:
    """Write a knowledge base of format 1 by its own tables."""
    (path / "images").mkdir(parents=True)
    db = sqlite3.connect(path / "kb.sqlite")
    db.executescript(f"PRAGMA application_id = {0x52564B42}; PRAGMA user_version = 1; {_FIRST}")
    meta = {"source": "fake", "revision": "", "options": "{}", "fingerprint": "f" * 64,
            "splitting": "window-1", "K": "4", "D": "16", "commits": "3"}  # fmt: skip
    db.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
    for n in range(documents):
        made = motions.document(n, 1)
        names = []
        if "image" in made:
            names = [content_hash(made["image"])]
            (path / "images" / names[0]).write_bytes(made["image"])
        body = {"id": made["id"], "text": made["text"], "title": "", "section": "", "parent": "",
                "url": "", "images": names, "metadata": made["metadata"]}  # fmt: skip
        row = [made["id"], json.dumps(body, sort_keys=True, ensure_ascii=False), "0" * 64]
        db.execute("INSERT INTO documents (id, body, hash) VALUES (?, ?, ?)", row)
        words = made["text"].split()
        cuts = [0, len(words)] if len(words) < 18 else [0, 4, 22, 40, 58, len(words)]
        texts = [" ".join(words[a:b]) for a, b in itertools.pairwise(cuts)]
        for position, text in enumerate(texts):
            tokens = motions.tokens(text).astype("<f2").tobytes()
            db.execute(
                "INSERT INTO passages (document, position, text, image, tokens) "
                "VALUES (?, ?, ?, ?, ?)",
                [made["id"], position, text, names[0] if names else None, tokens],
            )
        for name, value in made["metadata"].items():
            db.execute("INSERT INTO metadata VALUES (?, ?, ?)", [made["id"], name, value])
    db.commit()
    db.close()


def test_the_format_before_is_migrated(tmp_path, motions) -> None:
    first(tmp_path / "x.kb", motions)
    with KnowledgeBase.open(tmp_path / "x.kb") as kb:  # no encoder: nothing is encoded
        assert motions.held(kb) == {f"d{n}": 1 for n in range(20)}
        assert [d.id for d in kb.list({"quarter": 2})] == ["d2", "d6", "d10", "d14", "d18"]
        assert motions.unnamed(kb, pictures=True) == []
    with motions.open_or_create(tmp_path / "x.kb") as kb:
        report = kb.add([motions.document(n, 1) for n in range(20)])
        assert (report.unchanged, report.encoded) == (20, 0)


def test_an_empty_one_is_migrated(tmp_path, motions) -> None:
    first(tmp_path / "x.kb", motions, documents=0)
    with motions.open_or_create(tmp_path / "x.kb") as kb:
        assert motions.held(kb) == {}


def test_a_migration_is_whole_or_not_there(tmp_path, motions, system) -> None:
    for n in range(1, 100):
        path = tmp_path / f"{n}.kb"
        first(path, motions)
        before = (path / "kb.sqlite").read_bytes()
        with system(fail_at=n, error=5) as calls:
            try:
                KnowledgeBase.open(path).close()
            except RagVqaError:
                left = (path / "kb.sqlite").read_bytes()
                switched = ("replace", f"{path}/kb.sqlite.new", f"{path}/kb.sqlite")
                assert (left == before) == (switched not in calls.calls)
        with KnowledgeBase.open(path) as kb:
            assert motions.held(kb) == {f"d{n}": 1 for n in range(20)}
            with kb.store.hold_writer_lock():
                assert motions.unnamed(kb) == []
        if calls.count < n:
            break
    assert n > 10


@pytest.mark.parametrize(
    "damage",
    ["UPDATE passages SET tokens = x'00' WHERE key = 2", "UPDATE documents SET body = '{'",
     "DELETE FROM meta WHERE name = 'K'", "DELETE FROM passages WHERE document = 'd1'"],
)  # fmt: skip
def test_a_damaged_one_stays_as_it_is(tmp_path, motions, damage) -> None:
    first(tmp_path / "x.kb", motions)
    with sqlite3.connect(tmp_path / "x.kb" / "kb.sqlite") as db:
        db.execute(damage)
    db.close()
    before = (tmp_path / "x.kb" / "kb.sqlite").read_bytes()
    with pytest.raises(CorruptKnowledgeBase, match=r"kb\.sqlite is damaged, and cannot be brought"):
        KnowledgeBase.open(tmp_path / "x.kb")
    assert (tmp_path / "x.kb" / "kb.sqlite").read_bytes() == before


def test_a_newer_one_is_refused_untouched(tmp_path, motions) -> None:
    motions.open_or_create(tmp_path / "x.kb").close()
    file = tmp_path / "x.kb" / "kb.sqlite"
    db = sqlite3.connect(file)
    db.execute("PRAGMA user_version = 4")
    db.close()
    before = file.read_bytes()
    with pytest.raises(RagVqaError, match=r"format 4, .* reads up to 3\. Upgrade"):
        KnowledgeBase.open(tmp_path / "x.kb")
    assert file.read_bytes() == before


def test_what_is_none_is_refused(tmp_path, motions) -> None:
    motions.open_or_create(tmp_path / "x.kb").close()
    file = tmp_path / "x.kb" / "kb.sqlite"
    file.write_bytes(b"garbage" * 10_000)
    with pytest.raises(CorruptKnowledgeBase, match=r"kb\.sqlite is damaged"):
        KnowledgeBase.open(tmp_path / "x.kb")
    file.unlink()
    with pytest.raises(Missing, match="Build one"):
        KnowledgeBase.open(tmp_path / "x.kb")
    assert np.all([p.name != "kb.sqlite" for p in (tmp_path / "x.kb").iterdir()])


@pytest.mark.parametrize(
    "change",
    ["CREATE TRIGGER t AFTER INSERT ON gone BEGIN SELECT 1; END", "CREATE TABLE other (x)",
     "ALTER TABLE documents RENAME COLUMN id TO name"],
)  # fmt: skip
def test_tables_that_are_not_ours(tmp_path, motions, change) -> None:
    motions.open_or_create(tmp_path / "x.kb").close()
    db = sqlite3.connect(tmp_path / "x.kb" / "kb.sqlite")
    db.execute(change)
    db.close()
    with pytest.raises(CorruptKnowledgeBase, match="tables are not those"):
        KnowledgeBase.open(tmp_path / "x.kb")
