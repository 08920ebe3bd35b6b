"""search's two options: what they change, and that every verb that searches has them."""

import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from rag_vqa.retriever.knowledge_base import KnowledgeBase


@pytest.fixture
def pages(tmp_path: Path, encoder: Any) -> Path:
    """The path of a knowledge base of two pages of two sections."""
    with KnowledgeBase.create(tmp_path / "pages.kb", encoder) as kb:
        kb.add(
            {"id": f"{page}/{n}", "text": text, "parent": page}
            for page, texts in {"puffin": ["puffins nest", "puffins nest deep"],
                                "stork": ["storks nest", "storks fly"]}.items()
            for n, text in enumerate(texts)
        )  # fmt: skip
    return tmp_path / "pages.kb"


def stages(found: Any) -> list[set[str]]:
    return [set(hit["scores"]) for hit in found]


def test_hybrid_is_off_unless_it_is_asked_for(cli, birds) -> None:
    plain = cli("search", birds, "puffins", "--json").json
    assert stages(plain) == [{"retrieve"}] * 3
    flag = cli("search", birds, "puffins", "--hybrid", "--json").json
    assert flag[0]["id"] == "puffin" and set(flag[0]["scores"]) == {"retrieve", "lexical", "fused"}
    assert flag[0]["score"] == flag[0]["scores"]["fused"] == 2 / 61
    setting = ("--set", "retriever.hybrid=true")
    assert cli("search", birds, "puffins", *setting, "--json").json == flag
    assert cli("search", birds, "puffins", *setting, "--no-hybrid", "--json").json == plain


def test_as_needed_is_a_third_value(cli, birds) -> None:
    """The birds' retriever is not the embedded one: as needed is off."""
    plain = cli("search", birds, "puffins", "--no-hybrid", "--json").json
    assert cli("search", birds, "puffins", "--set", "retriever.hybrid=auto", "--json").json == plain
    wrong = cli("search", birds, "puffins", "--set", "retriever.hybrid=often")
    assert wrong.code == 2 and "retriever.hybrid" in wrong.err


def test_fused_scores_are_printed_so_that_they_differ(cli, birds) -> None:
    out = cli("search", birds, "puffins", "--hybrid").out
    scores = re.findall(r"0\.\d+", out)
    assert len(set(scores)) == len(scores) == 3 and all(len(score) == 6 for score in scores)


def test_hybrid_needs_words(cli, birds, loads, tmp_path) -> None:
    Image.new("RGB", (2, 2)).save(tmp_path / "a.png")
    done = cli("search", birds, "--image", tmp_path / "a.png", "--hybrid")
    assert done.code == 2 and "--hybrid searches words" in done.err and loads == []


def test_sections_gives_one_document_a_page(cli, pages) -> None:
    plain = cli("search", pages, "puffins nest", "-k", 2, "--json").json
    assert [hit["id"] for hit in plain] == ["puffin/0", "puffin/1"]
    found = cli("search", pages, "puffins nest", "-k", 2, "--sections", "--json").json
    assert [hit["id"] for hit in found] == ["puffin/0", "stork/0"]


@pytest.mark.parametrize("verb", [["ask"], ["prompt", "show"]])
def test_the_other_verbs_have_both(cli, pages, verb) -> None:
    options = ["--hybrid", "--sections", "-k", 2, "--json"]
    assert cli(*verb, pages, "puffins nest", *options).json["kept"] == ["puffin/0", "stork/0"]


def test_chat_has_both(cli, pages, monkeypatch) -> None:
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO("puffins nest\n/quit\n"))
    out = cli("chat", pages, "--hybrid", "--sections", "-k", 2).out
    assert "puffin/0" in out and "stork/0" in out and "puffin/1" not in out
