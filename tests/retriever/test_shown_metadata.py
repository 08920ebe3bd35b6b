"""Which metadata is shown: remembered by the knowledge base, or asked for; written for people."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.retriever.modeling import TokenEncoder
from rag_vqa.retriever.shown_metadata import resolve_names
from rag_vqa.retriever.store.schema import meta_checksum
from rag_vqa.types import Document, Query

VASE = Document(
    "v",
    "A blue vase.",
    url="https://museum.example/v",
    metadata={"Artist": "Li\nMing", "Year": 1650.0, "tags": ("blue", "white"), "none": None},
)


@pytest.fixture
def kb(tmp_path: Path, encoder: TokenEncoder) -> Iterator[KnowledgeBase]:
    with KnowledgeBase.create(tmp_path / "x.kb", encoder) as base:
        base.add([VASE, Document("w", "A blue bowl.", metadata={"Artist": "x" * 900})])
        yield base


def shown(kb: KnowledgeBase) -> dict[str, tuple[tuple[str, str], ...]]:
    return {hit.document.id: hit.shown for hit in kb.search([Query("blue")], 2)[0]}


def test_nothing_is_shown_unless_a_knowledge_base_remembers_it(kb: KnowledgeBase) -> None:
    assert shown(kb) == {"v": (), "w": ()}
    assert kb.stats().shown == ()


def test_names_are_remembered_and_values_written_for_people(
    kb: KnowledgeBase, tmp_path: Path, encoder: TokenEncoder
) -> None:
    kb.remember_shown(["Year", "tags", "Artist", "none", "gone", "url"])
    kb.snapshot(tmp_path / "copy.kb")
    for path in ("x.kb", "copy.kb"):
        with KnowledgeBase.open(tmp_path / path, encoder) as other:
            assert other.verify() == ()
            found = shown(other)
            assert found["v"] == (
                ("Year", "1650"),
                ("tags", "blue, white"),
                ("Artist", "Li Ming"),
                ("url", "https://museum.example/v"),
            )
            assert found["w"] == (("Artist", "x" * 299 + "…"),)


def test_what_is_asked_for_goes_before_what_is_remembered(kb: KnowledgeBase) -> None:
    kb.remember_shown(["Artist"])
    kb.show_names = ["Year"]
    assert shown(kb)["v"] == (("Year", "1650"),)
    kb.show_names = []
    assert shown(kb)["v"] == ()
    kb.show_names = None
    assert shown(kb)["v"] == (("Artist", "Li Ming"),)


def test_the_same_names_make_no_commit(kb: KnowledgeBase) -> None:
    kb.remember_shown(["Artist"])
    before = kb.store.db.number("commits")
    kb.remember_shown(["Artist"])
    assert kb.store.db.number("commits") == before
    kb.remember_shown([])
    assert kb.store.db.number("commits") == before + 1
    assert shown(kb)["v"] == ()


@pytest.mark.parametrize(
    "record", ["", "[]", "7", '{"names": 7}', '{"names": [1, null]}', "[" * 9**5]
)
def test_a_record_that_makes_no_sense_shows_nothing(
    kb: KnowledgeBase, tmp_path: Path, encoder: TokenEncoder, record: str
) -> None:
    kb.close()
    with sqlite3.connect(tmp_path / "x.kb" / "kb.sqlite") as db:
        db.execute("INSERT OR REPLACE INTO meta VALUES ('shown', ?)", [record])
        db.execute("UPDATE meta SET value = ? WHERE name = 'checksum'", [meta_checksum(db)])
    db.close()
    with KnowledgeBase.open(tmp_path / "x.kb", encoder) as forged:
        assert shown(forged) == {"v": (), "w": ()}


def test_names_are_found_whatever_their_capitals_blanks_and_accents() -> None:
    known = ["Artist", " Année", "year", "Year", "text"]
    assert resolve_names(["ARTIST", "anne\u0301e", "Year", "year", "URL"], known) == (
        ["Artist", " Année", "Year", "year", "url"],
        [],
    )
    assert resolve_names(["title", "Section"], known) == ([], [])  # shown in any case
    assert resolve_names(["Text", "artist", "artist"], known) == (["text", "Artist"], [])
    assert resolve_names(["nothing"], []) == ([], ["nothing"])
    sized = ["Size, cm", "Size", "a, b,c", "b"]
    assert resolve_names(["size", "cm", "b", "a", "b", "c"], sized) == (
        ["Size, cm", "b", "a, b,c"],
        [],
    )
