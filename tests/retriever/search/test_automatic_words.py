"""hybrid "auto": the embedded retriever gets words where it needs them, others stay as they are."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.types import Hit, Query

PICTURE = Image.new("RGB", (8, 8), "green")
OBJECTS = [
    {"id": "vase", "title": "Tulip vase", "text": "Nine spouts stand around it. Oppermaat made it.",
     "metadata": {"room": 1}, "parent": "pots"},
    {"id": "jug", "title": "Beer jug", "text": "A bearded face. It was found in a latrine.",
     "metadata": {"room": 2}, "parent": "pots"},
    {"id": "bowl", "title": "Camel bowl", "text": "A tulip is painted inside. It says long life.",
     "metadata": {"room": 1}},
    {"id": "clock", "title": "Clock", "text": "It strikes every hour.", "metadata": {"room": 2}},
    {"id": "stove", "title": "Stove", "text": "Carried by ox carts.", "metadata": {"room": 1}},
]  # fmt: skip
FLAGS = [
    {"id": f"{name}/{section}", "title": name, "section": section, "text": text}
    for name, capital in (("Jamaica", "Kingston"), ("Togo", "Lomé"), ("Iraq", "Baghdad"))
    for section, text in (
        ("government", f"The capital is {capital}. The national day is 6 August."),
        ("travel", "Traffic drives on the left. The time zone is UTC."),
    )
]


@pytest.fixture
def build(tmp_path: Path, encoder: Any) -> Iterator[Callable[..., KnowledgeBase]]:
    opened: list[KnowledgeBase] = []

    def build(documents: list[dict[str, Any]], source: str = "demo") -> KnowledgeBase:
        encoder.source = source
        opened.append(KnowledgeBase.create(tmp_path / f"{len(opened)}.kb", encoder))
        opened[-1].add(documents)
        return opened[-1]

    yield build
    for kb in opened:
        kb.close()


def alone(query: Query) -> Query:
    """A picture is searched with alone where the documents are no flags: the text says nothing."""
    return Query("", query.image) if query.image is not None else query


def plain(kb: KnowledgeBase, query: Query, k: int = 5) -> list[Hit]:
    return kb.retriever.search([query], k)[0]


def ids(hits: list[Hit]) -> list[str]:
    return [hit.document.id for hit in hits]


def test_another_retriever_searches_as_before(build) -> None:
    kb = build(OBJECTS, source="a/real-one")
    for query in (Query("Who made the tulip vase?"), Query("tulip", PICTURE)):
        assert kb.search([query], 5)[0] == plain(kb, query)
    assert kb.method == "ret"


def test_in_the_flag_world_a_question_without_a_picture_names_its_country(build) -> None:
    kb = build(FLAGS)
    asked = "What is the capital of Jamaica?"
    for text in (asked, asked.lower(), "capital of jamaca", "Jamaica's capital?"):
        (hits,) = kb.search([Query(text)], 2)
        assert hits[0].document.id == "Jamaica/government", text
        assert set(hits[0].scores) == {"retrieve", "lexical", "fused"}
    assert kb.method == "ret+words"


def test_in_the_flag_world_a_picture_is_searched_as_before(build) -> None:
    kb = build(FLAGS)
    for text in ("What is the capital of Jamaica?", ""):
        assert kb.search([Query(text, PICTURE)], 5)[0] == plain(kb, Query(text, PICTURE))


def test_other_documents_are_searched_by_words_beside_a_picture_too(build) -> None:
    kb = build(OBJECTS)
    for query in (Query("Who made the tulip vase?"), Query("Who made the tulip vase?", PICTURE)):
        (hits,) = kb.search([query], 5)
        assert hits[0].document.id == "vase" and "fused" in hits[0].scores


@pytest.mark.parametrize("text", ["", "   ", "What is this?", "Who is he, and why?"])
def test_without_words_that_name_something_nothing_is_fused(build, text) -> None:
    kb = build(OBJECTS)
    assert kb.search([Query(text, PICTURE)], 5)[0] == plain(kb, Query("", PICTURE))


@pytest.mark.parametrize(("picture", "words"), [(None, 0.1), (PICTURE, 4.0)])
def test_the_score_is_the_sum_on_one_scale(build, picture, words) -> None:
    """The formula by hand: an unrelated passage is the mean of all, as there are few."""
    kb = build(OBJECTS)
    query = Query("tulip vase", picture)
    by_tokens = {hit.document.id: hit.score for hit in plain(kb, alone(query))}
    mean, best = sum(by_tokens.values()) / 5, max(by_tokens.values())
    rare = math.log((5 - 1 + 0.5) / (1 + 0.5))  # idf of a word in one of five
    (hits,) = kb.search([query], 5)
    assert sorted(ids(hits)) == sorted(by_tokens)
    assert "lexical" not in {hit.document.id: hit for hit in hits}["clock"].scores
    for hit in hits:
        assert hit.scores["retrieve"] == pytest.approx(by_tokens[hit.document.id])
        wanted = (by_tokens[hit.document.id] - mean) / (best - mean)
        wanted += hit.scores.get("lexical", 0.0) / (words * rare)
        assert hit.score == hit.scores["fused"] == pytest.approx(wanted, abs=1e-5)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_one_mention_is_found_whatever_the_retriever_takes_the_question_for(
    build, encoder, monkeypatch
) -> None:
    kb = build(OBJECTS)
    encode = encoder.encode_queries
    misled = lambda queries: encode([Query("Clock It strikes every hour")] * len(queries))  # noqa: E731
    monkeypatch.setattr(encoder, "encode_queries", misled)
    for word, due in (("Oppermaat", "vase"), ("latrine", "jug"), ("ox", "stove")):
        assert ids(plain(kb, Query(word), 1)) == ["clock"]
        assert ids(kb.search([Query(word)], 1)[0]) == [due]


def test_a_title_counts_more_than_a_mention(build) -> None:
    (hits,) = build(OBJECTS).search([Query("tulip")], 2)
    scores = {hit.document.id: hit.scores["lexical"] for hit in hits}
    assert scores["vase"] > scores["bowl"] > 0


def test_a_filter_takes_hits_away_and_changes_no_score(build) -> None:
    kb = build(OBJECTS)
    query = Query("tulip vase found")
    every = kb.search([query], 5)[0]
    (some,) = kb.search([query], 5, {"room": 1})
    wanted = [hit for hit in every if hit.document.metadata["room"] == 1]
    assert [(h.document.id, h.score) for h in some] == [(h.document.id, h.score) for h in wanted]


def test_a_batch_finds_what_single_queries_find(build) -> None:
    for documents in (OBJECTS, FLAGS):
        kb = build(documents)
        queries = [Query("tulip"), Query("capital of Togo", PICTURE), Query("", PICTURE),
                   Query("What is the capital of Iraq?"), Query("zebra")]  # fmt: skip
        assert kb.search(queries, 4) == [kb.search([query], 4)[0] for query in queries]


def test_pages_first(build) -> None:
    kb = build(OBJECTS)
    kb.sections = True
    (hits,) = kb.search([Query("tulip vase beer jug")], 5)
    assert ids(hits)[0] in ("vase", "jug") and len(hits) == 4  # one of the page "pots"
    assert kb.method == "ret+words, sections"


def test_it_follows_what_is_added_changed_and_deleted(build) -> None:
    kb = build(OBJECTS)
    asked = [Query("Where is the harpsichord?")]
    assert all("lexical" not in hit.scores for hit in kb.search(asked, 5)[0])
    kb.add([{"id": "new", "title": "Harpsichord", "text": "In the hall."}])
    assert ids(kb.search(asked, 1)[0]) == ["new"]
    kb.add([{"id": "new", "title": "Spinet", "text": "In the hall."}])
    assert all("lexical" not in hit.scores for hit in kb.search(asked, 6)[0])
    kb.sync([*OBJECTS[:4], {"id": "other", "title": "Harpsichord", "text": "Lent."}], force=True)
    assert ids(kb.search(asked, 1)[0]) == ["other"]
    kb.delete("other")
    kb.compact()
    assert "other" not in ids(kb.search(asked, 6)[0])


def test_it_notices_when_the_documents_are_no_longer_flags(build) -> None:
    kb = build(FLAGS)
    query = Query("harpsichord", PICTURE)
    assert "fused" not in kb.search([query], 1)[0][0].scores
    kb.add([{"id": f"{n}", "text": f"A harpsichord of {n}."} for n in range(5)])
    assert "fused" in kb.search([query], 1)[0][0].scores


@pytest.mark.parametrize("count", [1, 2, 3])
def test_words_decide_in_the_smallest_collections(build, count) -> None:
    kb = build(OBJECTS[:count])
    for made in OBJECTS[:count]:
        assert ids(kb.search([Query(f"Where is the {made['title']}?")], 3)[0])[0] == made["id"]


def test_more_hits_than_documents_are_scored_first(build) -> None:
    many = [
        {"id": f"{n:03}", "title": f"Object {n}", "text": "Old" + " tulip" * (n % 3)}
        for n in range(130)
    ]
    kb = build(many)
    (hits,) = kb.search([Query("tulip")], 130)
    assert len({hit.document.id for hit in hits}) == 130
    assert ids(kb.search([Query("tulip")], 5)[0]) == ids(hits)[:5]


def test_an_explanation_is_of_what_was_searched_with(build) -> None:
    for documents, text in ((OBJECTS, ""), (FLAGS, "the tulip")):
        kb = build(documents)
        asked = kb.retriever.encoded_query(Query("the tulip", PICTURE), kb.hybrid)
        assert asked == Query(text, PICTURE)
        assert kb.retriever.encoded_query(Query("the tulip"), "auto") == Query("the tulip")
        for hybrid in (True, False):
            assert kb.retriever.encoded_query(Query("a", PICTURE), hybrid) == Query("a", PICTURE)
