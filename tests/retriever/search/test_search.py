"""Passages to documents, ties, filters, and following what others commit."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rag_vqa.errors import UsageError
from rag_vqa.retriever.index.rows import memory_map_of
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.retriever.modeling import TokenEncoder
from rag_vqa.types import Hit, Passage, Query


@pytest.fixture
def kb(tmp_path: Path, encoder: TokenEncoder) -> Iterator[KnowledgeBase]:
    with KnowledgeBase.create(tmp_path / "x.kb", encoder) as base:
        yield base


def ids(hits: Sequence[Hit]) -> list[str]:
    return [hit.document.id for hit in hits]


def test_scores_and_order_are_the_formula_s(kb: KnowledgeBase, encoder: TokenEncoder) -> None:
    texts = [f"bird {n} nests {n % 7} sea {n % 3} cliff" for n in range(60)]
    kb.add([{"id": f"d{n:02}", "text": text} for n, text in enumerate(texts)])
    queries = [Query("bird 7 nests 0"), Query("sea 2")]
    rows = encoder.encode_passages([Passage("", 0, text) for text in texts])
    pairs = np.einsum("qid,njd->qnij", encoder.encode_queries(queries), rows.astype(np.float16))
    scores = pairs.max(-1).sum(-1)
    for row, hits in zip(scores, kb.search(queries, 60), strict=True):
        assert [hit.rank for hit in hits] == list(range(1, 61))
        found = {int(hit.document.id[1:]): hit.score for hit in hits}
        np.testing.assert_allclose([found[n] for n in range(60)], row, atol=1e-5)
        assert hits == sorted(hits, key=lambda hit: (-hit.score, hit.document.id))
        assert all(hit.scores == {"retrieve": hit.score} for hit in hits)


def test_a_document_counts_once_by_its_best_passage(kb: KnowledgeBase) -> None:
    filler = "x " * 73
    kb.add(
        [
            {"id": "long", "text": f"{filler}. {filler}. Puffin burrow cliff sea. {filler}."},
            {"id": "near", "text": "Puffin burrow cliff land."},
            {"id": "far", "text": "Nothing."},
        ]
    )
    (hits,) = kb.search([Query("Puffin burrow cliff sea")], 3)
    assert ids(hits) == ["long", "near", "far"]
    assert "Puffin burrow cliff sea." in hits[0].passage.text
    assert hits[0].passage.document == "long" and hits[0].passage.position > 0


def test_many_passages_of_one_document_do_not_crowd_out_the_others(kb: KnowledgeBase) -> None:
    kb.add(
        [{"id": "loud", "text": "Puffin sea. " + "puffin " * 3000}]
        + [{"id": f"d{n}", "text": f"Word{n}."} for n in range(5)]
    )
    (hits,) = kb.search([Query("puffin puffin puffin puffin")], 4)
    assert len(hits) == 4 and ids(hits)[0] == "loud" and len(set(ids(hits))) == 4


def test_ties_go_to_the_lower_id_however_many_there_are(kb: KnowledgeBase) -> None:
    names = [f"d{n:03}" for n in range(100)]
    shuffled = np.random.default_rng(0).permutation(names).tolist()
    kb.add([{"id": name, "text": "The same."} for name in shuffled])
    for k in (1, 3, 100):
        assert ids(kb.search([Query("same")], k)[0]) == names[:k]


@pytest.mark.filterwarnings("ignore::rag_vqa.errors.NoMatch")
def test_where_is_equality_and_a_list_is_any_of(kb: KnowledgeBase) -> None:
    kb.add(
        [
            {"id": "a", "text": "One.", "metadata": {"lang": "en", "year": 1990}},
            {"id": "b", "text": "One.", "metadata": {"lang": "de", "year": 1991}},
            {"id": "c", "text": "One.", "metadata": {"lang": "en", "year": "1990"}},
            {"id": "d", "text": "One."},
        ]
    )

    def found(**where: Any) -> list[str]:
        return ids(kb.search([Query("One")], 9, where)[0])

    assert found() == ["a", "b", "c", "d"]
    assert found(lang="en") == ["a", "c"]
    assert found(lang=["en", "de"]) == ["a", "b", "c"]
    assert found(lang="en", year=1990) == ["a", "c"]
    assert found(year="1990") == ["c"]
    assert found(year=None) == ["d"]
    assert found(lang="fr") == found(lang=[]) == found(lang="de", year=1990) == []


def test_a_rare_value_still_gives_k(kb: KnowledgeBase) -> None:
    kb.add(
        [{"id": str(n), "text": f"T {n}.", "metadata": {"rare": n % 50 == 0}} for n in range(200)]
    )
    (hits,) = kb.search([Query("T 7")], 4, {"rare": True})
    assert sorted(ids(hits)) == ["0", "100", "150", "50"]


def test_an_unknown_name_is_refused_before_a_model_loads(
    kb: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        sys.modules, "rag_vqa.retriever.modeling.encoder", None
    )  # importing it fails
    kb.add([{"id": "a", "text": "One.", "metadata": {"lang": "en"}}])
    says = r"'langs'; there is: lang\. Did you mean 'lang'"
    with KnowledgeBase.open(kb.path) as cold, pytest.raises(UsageError, match=says):
        cold.search([Query("One")], 1, {"langs": "en"})


@pytest.mark.filterwarnings("ignore::rag_vqa.errors.NoMatch")
def test_odd_strings_in_a_filter_match_nothing_or_are_refused(kb: KnowledgeBase) -> None:
    odd = ["", "a\0b", "\u202e", "\U0001f3f4", "%", "' OR 1 --", "x" * 10**6]
    metadata = {"lang": "en", "none": None}
    kb.add([{"id": "a", "text": "One.", "metadata": metadata}])
    for text in odd:
        assert kb.search([Query("One")], 1, {"lang": text}) == [[]]
        assert kb.search([Query("One")], 1, {"lang": [text, text]}) == [[]]
    for text in ("\ud800", "en\udfff"):
        for value in (text, ["en", text]):
            with pytest.raises(UsageError, match="cannot answer this query") as refused:
                kb.search([Query("One")], 1, {"lang": value})
            assert str(refused.value).isprintable()
    for name in [*odd, "\ud800"]:
        with pytest.raises(UsageError, match="No document has metadata") as refused:
            kb.search([Query("One")], 1, {name: "en"})
        assert str(refused.value).isprintable() and len(str(refused.value)) < 200


@pytest.mark.parametrize("k", [0, -1])
def test_k_must_be_positive(kb: KnowledgeBase, k: int) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        kb.search([Query("One")], k)


def test_edges(kb: KnowledgeBase) -> None:
    assert kb.search([Query("One"), Query("Two")], 3) == [[], []]
    kb.add([{"id": "a", "text": "One."}])
    assert kb.search([], 3) == []
    assert ids(kb.search([Query("One")], 10**9)[0]) == ["a"]


def test_a_batch_equals_one_by_one(kb: KnowledgeBase) -> None:
    kb.add([{"id": str(n), "text": f"bird {n} sea {n % 5}"} for n in range(80)])
    queries = [Query(f"bird {n} sea") for n in range(20)]
    assert [ids(hits) for hits in kb.search(queries, 5)] == [
        ids(kb.search([query], 5)[0]) for query in queries
    ]


def test_it_follows_what_another_commits(kb: KnowledgeBase, encoder: TokenEncoder) -> None:
    kb.add([{"id": "a", "text": "Puffin."}, {"id": "b", "text": "Sea."}])
    with KnowledgeBase.open(kb.path, encoder) as reader:
        assert ids(reader.search([Query("Puffin")], 9)[0])[0] == "a"
        kb.delete("a")
        kb.add([{"id": "b", "text": "Cliff."}, {"id": "c", "text": "Puffin."}])
        (hits,) = reader.search([Query("Puffin")], 9)
        assert sorted(ids(hits)) == ["b", "c"] and hits[0].document.id == "c"
        assert {hit.document.text for hit in hits} == {"Cliff.", "Puffin."}
        kb.delete(["b", "c"])
        assert reader.search([Query("Puffin")], 9) == [[]]


@pytest.mark.parametrize("engine", ["exact", "faiss"])
def test_a_reader_that_follows_small_commits_copies_no_rows(
    kb: KnowledgeBase, encoder: TokenEncoder, engine: str
) -> None:
    if engine == "faiss":
        pytest.importorskip("faiss")
    with KnowledgeBase.open(kb.path, encoder) as reader:
        reader.engine = engine
        for n in range(8):
            kb.add([{"id": f"d{n}", "text": f"word{n}"}])
            hits = reader.search([Query(f"word{n}")], 9)
            with KnowledgeBase.open(kb.path, encoder) as fresh:
                assert hits == fresh.search([Query(f"word{n}")], 9)
        (block,) = reader.retriever._index._rows.blocks  # type: ignore[attr-defined]
        assert memory_map_of(block.tokens) is not None and memory_map_of(block.codes) is not None
        kb.delete([f"d{n}" for n in range(4)])
        kb.compact()
        assert len(reader.search([Query("word7")], 9)[0]) == 4
