"""`search --explain`: what matched, for people and for programs, by a retriever of two layers."""

import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from rag_vqa.retriever.knowledge_base import KnowledgeBase


@pytest.fixture
def encoder(checkpoint: Path) -> Any:
    """Stands for the fake one: a match of that cannot be explained."""
    from rag_vqa.retriever.modeling.encoder import Encoder

    loaded = Encoder.load(checkpoint, device="cpu")
    loaded.source = "fake"  # which `cli` takes to be on this machine
    return loaded


@pytest.fixture
def pictured(tmp_path: Path, encoder: Any) -> Path:
    red = Image.new("RGB", (16, 16), "red")
    red.save(tmp_path / "red.png")
    with KnowledgeBase.create(tmp_path / "red.kb", encoder) as kb:
        kb.add([{"id": "1", "title": "bird", "text": "a red bird", "image": red}])
    return tmp_path / "red.kb"


def test_people_see_words_and_the_picture_s_share(cli, pictured, tmp_path) -> None:
    done = cli("search", pictured, "nest", "-i", tmp_path / "red.png", "--explain")
    assert done.code == 0
    shown, note = done.out.split("[1] matched by\n")[1].split("\n\n")
    whole, of_query, of_document, *pairs = shown.splitlines()
    assert re.fullmatch(r"all tokens +-?\d+\.\d\d", whole)
    assert of_query.startswith("  query ") and of_document.startswith("  document ")
    assert "nest " in of_query and "bird " in of_document
    assert of_query.count("(picture) ") == of_document.count("(picture) ") == 1
    assert len(re.findall(r"^token \d+ with \d+ +-?\d+\.\d\d$", "\n".join(pairs), re.M)) == 3
    assert "approximate: of words by hiding them" in note


def test_a_word_stands_once_and_the_instruction_is_no_word(cli, pictured) -> None:
    """The same sums out of --json; this retriever's instruction is "find"."""
    asked = ["search", pictured, "nest find nest", "--explain"]
    of_query = cli(*asked).out.split("matched by\n")[1].splitlines()[1]
    [hit] = cli(*asked, "--json").json
    before, *words = hit["explanation"]["query_words"]
    sums = {name: sum(word["weight"] for word in words if word["text"] == name)
            for name in ("nest", "find")}  # fmt: skip
    for name, share in {**sums, "(instruction)": before["weight"]}.items():
        assert re.findall(re.escape(name) + r" \d+%", of_query) == [f"{name} {share:.0%}"]


def test_shares_are_broken_between_them_and_fit_a_terminal(capsys) -> None:
    from types import SimpleNamespace

    from rag_vqa.cli.search import print_explanations
    from rag_vqa.types import Document, Hit, Passage

    names = ["a" * 30, "b" * 30, "c" * 30, "d" * 90]
    words = [SimpleNamespace(text=n, start=i, weight=0.25) for i, n in enumerate(names)]
    found: Any = SimpleNamespace(
        query_text="", score=1.0, pairs=[], query_words=[], query_patches=[],
        document_words=words, document_patches=[],
    )  # fmt: skip
    print_explanations("", [Hit(Document("1"), Passage("1", 0, ""), 1, 1.0)], [found])
    shown = capsys.readouterr().out.split("matched by\n")[1].split("\n\n")[0]
    assert max(map(len, shown.splitlines())) <= 80
    assert all(f"{name} 25%" in shown for name in names[:3])


def test_programs_get_all_of_it(cli, pictured) -> None:
    [hit] = cli("search", pictured, "nest", "--explain", "--json").json
    found = hit["explanation"]
    assert hit["id"] == "1" and found["approximate"] is True
    assert found["score"] == pytest.approx(hit["score"], abs=0.01)
    assert [word["text"] for word in found["query_words"]] == ["find", "nest"]
    assert found["query_patches"] == []
    pair = found["pairs"][0]
    assert set(pair["document_patches"][0]) == {"box", "weight"}
    assert set(pair["query_words"][0]) == {"text", "start", "end", "weight"}


def test_without_the_flag_nothing_is_explained(cli, pictured) -> None:
    assert "explanation" not in cli("search", pictured, "nest", "--json").json[0]
    assert "matched by" not in cli("search", pictured, "nest").out
