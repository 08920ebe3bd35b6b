"""--where, and the reason that is printed if nothing is found."""

import io
import sys

import pytest

from rag_vqa.retriever.knowledge_base import KnowledgeBase

QUESTION = "where do puffins nest"


def test_where_filters(cli, birds) -> None:
    found = cli("search", birds, QUESTION, "--where", "lang=de", "--json").json
    assert [hit["id"] for hit in found] == ["swift"]
    done = cli("search", birds, QUESTION, "--where", "langg=de")
    assert (done.code, "lang" in done.err) == (2, True)


@pytest.mark.parametrize("more", [[], ["--json"], ["--quiet"]])
@pytest.mark.parametrize("verb", ["ask", "search"])
def test_that_a_filter_leaves_nothing_is_said(cli, birds, verb, more) -> None:
    done = cli(verb, birds, QUESTION, "--where", "lang=zz", *more)
    assert done.code == 0
    assert "No document has lang=zz. Values of lang: " in done.err
    assert "en (" in done.err and "de (1)" in done.err
    assert ("nswered without evidence" in done.err) == (verb == "ask")
    if more == ["--json"]:
        assert (done.json["hits"] if verb == "ask" else done.json) == []
    elif verb == "search":
        assert done.out == ""


@pytest.mark.parametrize("verb", ["ask", "search", "chat"])
def test_that_a_knowledge_base_is_empty_is_said(cli, tmp_path, encoder, monkeypatch, verb) -> None:
    KnowledgeBase.create(tmp_path / "empty.kb", encoder).close()
    asked = [] if verb == "chat" else [QUESTION]
    for filtered in ([], ["--filter", "critic"])[: 1 if verb == "search" else 2]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(f"{QUESTION}\n"))
        done = cli(verb, tmp_path / "empty.kb", *asked, *filtered)
        assert done.code == 0 and "the knowledge base is empty" in done.err
        assert "filter" not in done.err


def test_without_retrieval_nothing_is_missed(cli, birds) -> None:
    for more in ([], ["--json"]):
        assert "evidence" not in cli("ask", birds, QUESTION, "-k", 0, *more).err
