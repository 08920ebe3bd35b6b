"""Rows that somebody else made, checksums and all: they are damage, whatever is asked."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rag_vqa.errors import CorruptKnowledgeBase
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.retriever.modeling import TokenEncoder
from rag_vqa.retriever.store.schema import Commit
from rag_vqa.types import Query

ROWS = 5
KEYS = {"documents": "row", "passages": "key", "blocks": "number", "segments": "number"}


def keys(*numbers: int) -> bytes:
    return np.array(numbers, "<i8").tobytes()


def changed(commit: Commit, table: str, column: str, value: Any) -> None:
    """One value of the first row; its checksum and the digest fit."""
    found = commit.db.execute(f"SELECT * FROM {table} ORDER BY 1")
    row = dict(zip([name for name, *_ in found.description], found.fetchone(), strict=True))
    del row["checksum"]
    commit.remove(table, KEYS[table], row[KEYS[table]])
    commit.insert(table, *(row | {column: value}).values())


FORGED = [
    ("blocks", "first", -1),
    ("blocks", "first", "x"),
    ("blocks", "first", 2**60),
    ("blocks", "rows", "x"),
    ("blocks", "keys", b"123"),
    ("blocks", "keys", "abc"),
    ("blocks", "keys", keys(1, 1, 1, 1, 1)),
    ("blocks", "keys", keys(5, 4, 3, 2, 1)),
    ("blocks", "keys", keys(-1, 1, 2, 3, 4)),
    ("blocks", "keys", keys(1, 2, 3, 2**63 - 1, -(2**63))),  # whose difference overflows to 1
    ("passages", "position", "x"),
    ("passages", "document", "x"),
    ("passages", "text", b"x"),
    ("documents", "id", b"x"),
    ("documents", "body", b"{}"),
    ("documents", "cut", "x"),
    ("segments", "rows", "x"),
    ("segments", "rows", -5),
]


@pytest.fixture
def forge(tmp_path: Path, encoder: TokenEncoder) -> Callable[..., Path]:
    def forge(change: Callable[[Commit], object]) -> Path:
        with KnowledgeBase.create(tmp_path / "x.kb", encoder) as kb:
            kb.add([{"id": f"d{n}", "text": f"Text {n}."} for n in range(ROWS)])
            with kb.store.db.commit() as commit:
                change(commit)
        return tmp_path / "x.kb"

    return forge


@pytest.mark.parametrize(("table", "column", "value"), FORGED)
def test_a_row_of_other_values_is_damage(
    forge, encoder: TokenEncoder, table: str, column: str, value: Any
) -> None:
    path = forge(lambda commit: changed(commit, table, column, value))

    def search() -> None:
        with KnowledgeBase.open(path, encoder) as kb:
            assert kb.verify()  # before anything of it is used
            kb.search([Query("Text")], ROWS)
            list(kb.documents())

    with pytest.raises(CorruptKnowledgeBase, match=r"x\.kb"):
        search()


@pytest.mark.parametrize("number", [-1, 2**32])
def test_a_segment_that_no_header_can_name(forge, number: int) -> None:
    path = forge(lambda commit: (commit.clear("segments"), commit.insert("segments", number, 0)))
    for kind in ("tokens", "codes"):
        (path / "segments" / f"{number:06}.{kind}").write_bytes(bytes(64))
    with pytest.raises(CorruptKnowledgeBase):
        KnowledgeBase.open(path)


@pytest.mark.parametrize("value", ["x", -5])
def test_a_counter_that_counts_nothing(forge, value: Any) -> None:
    path = forge(lambda c: c.db.execute("UPDATE sqlite_sequence SET seq = ?", [value]))
    with pytest.raises(CorruptKnowledgeBase, match="a counter is no number"):
        KnowledgeBase.open(path)


@pytest.mark.parametrize(("column", "value"), [("document", "x"), ("name", b"n")])
def test_metadata_of_other_values(forge, encoder: TokenEncoder, column: str, value: Any) -> None:
    row = {"document": 1, "name": "n", "value": 1} | {column: value}
    query = "INSERT INTO metadata VALUES (?, ?, ?)"
    path = forge(lambda commit: commit.db.execute(query, list(row.values())))
    with KnowledgeBase.open(path, encoder) as kb:
        assert kb.verify()
        with pytest.raises(CorruptKnowledgeBase, match="metadata"):
            kb.search([Query("Text")], 1, where={"n": 1})
