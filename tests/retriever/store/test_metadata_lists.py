"""Lists of metadata in the store: a row for each value, and files of before, which have no room."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.retriever.modeling import TokenEncoder
from rag_vqa.types import Document, Query

FLAT = Document("flat", text="A boat.", metadata={"tag": "red", "year": 1780})
LISTED = Document("listed", text="A cup.", metadata={"tag": ("red", "blue", 7, True)})


def version(path: Path) -> int:
    with closing(sqlite3.connect(path / "kb.sqlite")) as db:
        return int(db.execute("PRAGMA user_version").fetchone()[0])


def rows(kb: KnowledgeBase) -> list[tuple[object, ...]]:
    query = "SELECT id, name, value FROM metadata JOIN documents ON document = row ORDER BY 1, 2"
    return kb.store.db.rows(query)


def test_a_list_has_a_row_for_each_value(tmp_path: Path, encoder: TokenEncoder) -> None:
    with KnowledgeBase.create(tmp_path / "o.kb", encoder) as kb:
        kb.add([FLAT, LISTED])
        assert rows(kb) == [
            ("flat", "tag", "red"), ("flat", "year", 1780),
            *(("listed", "tag", value) for value in ("red", "blue", 7, 1)),
        ]  # fmt: skip
        found = kb.get("listed")
        assert found is not None and found.metadata == LISTED.metadata
        assert repr(found.metadata["tag"]) == repr(LISTED.metadata["tag"])
        assert not kb.verify()


def test_a_file_gets_the_new_table_with_its_first_list(
    tmp_path: Path, encoder: TokenEncoder
) -> None:
    path = tmp_path / "o.kb"
    with KnowledgeBase.create(path, encoder) as kb:
        kb.add([FLAT])
    assert version(path) == 2
    with KnowledgeBase.open(path, encoder) as kb, KnowledgeBase.open(path, encoder) as reading:
        assert [d.id for d in reading.list({"tag": "red"})] == ["flat"]
        kb.add([LISTED])
        assert [d.id for d in reading.list({"tag": "red"})] == ["flat", "listed"]
        assert not reading.verify() and not kb.verify()
    assert version(path) == 3
    with KnowledgeBase.open(path, encoder) as kb:
        assert [d.id for d in kb.list({"tag": "blue"})] == ["listed"]
        assert {hit.document.id for hit in kb.search([Query("x")], 5, {"tag": "red"})[0]} == {
            "flat", "listed",
        }  # fmt: skip


@pytest.mark.parametrize("tag", [("blue",), (), "green", ("blue", "blue")])
def test_a_list_is_replaced_and_deleted(tmp_path: Path, encoder: TokenEncoder, tag: object) -> None:
    with KnowledgeBase.create(tmp_path / "o.kb", encoder) as kb:
        kb.add([FLAT, LISTED])
        kb.add([{"id": "listed", "text": "A cup.", "metadata": {"tag": tag}}])
        found = kb.get("listed")
        assert found is not None and found.metadata == ({"tag": tag} if tag else {})
        assert not list(kb.list({"tag": "red"}, after="flat")) and not kb.verify()
        kb.delete("listed")
        assert {name for name, *_ in rows(kb)} == {"flat"} and not kb.verify()
        kb.compact()
        assert not kb.verify()


def test_lists_survive_a_copy_and_a_merge(tmp_path: Path, encoder: TokenEncoder) -> None:
    with KnowledgeBase.create(tmp_path / "a.kb", encoder) as kb:
        kb.add([LISTED])
        kb.snapshot(tmp_path / "b.kb")
    with KnowledgeBase.create(tmp_path / "c.kb", encoder) as kb:
        kb.add([FLAT])
        kb.merge([tmp_path / "b.kb"])
        assert [d.metadata for d in kb.documents()] == [FLAT.metadata, LISTED.metadata]
        assert [d.id for d in kb.list({"tag": "blue"})] == ["listed"] and not kb.verify()


def test_the_same_list_again_changes_nothing(tmp_path: Path, encoder: TokenEncoder) -> None:
    with KnowledgeBase.create(tmp_path / "o.kb", encoder) as kb:
        kb.add([LISTED])
        again = {
            "id": "listed",
            "text": "A cup.",
            "metadata": {"tag": list(LISTED.metadata["tag"])},
        }  # type: ignore[arg-type]
        assert kb.add([again]).unchanged == 1
