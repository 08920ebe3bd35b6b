"""Mined negatives against the whole ranking, computed with the fake's tokens and the formula."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rag_vqa.errors import UsageError
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.retriever.training.hard_negatives import NegativesFile, mine_negatives
from rag_vqa.types import Example, Passage, Query

NOUNS = ("bird", "nest", "cliff", "roof", "river", "stone")
DOCUMENTS = [
    {"id": f"{a}/{b}", "text": f"{a} {b} {NOUNS[(row + column) % 6]}", "parent": a}
    for row, a in enumerate(NOUNS)
    for column, b in enumerate(NOUNS)
]
EXAMPLES = [
    Example("0", Query("bird nest"), relevant=("bird/nest", "nest/bird")),
    Example("1", Query("roof roof river"), relevant=("roof",), level="parent"),
    Example("2", Query("stone"), relevant=("stone/stone",), answers=("CLIFF ", "")),
    Example("3", Query("cliff"), relevant=tuple(str(d["id"]) for d in DOCUMENTS)),
]


@pytest.fixture
def kb(tmp_path: Path, encoder: Any) -> KnowledgeBase:
    base = KnowledgeBase.create(tmp_path / "words.kb", encoder)
    base.add(DOCUMENTS)
    return base


def ranking(encoder: Any, example: Example) -> list[dict[str, str]]:
    """All documents by Σ_i max_j Q_i · D_j, falling, equal ones by id."""
    (query,) = encoder.encode_queries([example.query])
    tokens = encoder.encode_passages([Passage("", 0, d["text"]) for d in DOCUMENTS])
    scores = [float(np.max(query @ document.T, axis=1).sum()) for document in tokens]
    order = sorted(zip(scores, DOCUMENTS, strict=True), key=lambda x: (-round(x[0], 5), x[1]["id"]))
    return [document for _, document in order]


@pytest.mark.parametrize("answers", [False, True])
@pytest.mark.parametrize(("k", "skip"), [(1, 0), (5, 0), (5, 3), (100, 2), (30, 30)])
def test_equal_to_the_whole_ranking_less_what_is_right(
    kb: KnowledgeBase, encoder: Any, k: int, skip: int, answers: bool
) -> None:
    def wrong(example: Example, document: dict[str, str]) -> bool:
        if example.level == "parent":
            return document["parent"] not in example.relevant
        told = answers and example.id == "2" and "cliff" in document["text"]
        return document["id"] not in example.relevant and not told

    with kb:
        got = dict(mine_negatives(kb.search, len(kb), EXAMPLES, k, skip, answers))
    for example in EXAMPLES:
        left = [d["id"] for d in ranking(encoder, example) if wrong(example, d)]
        assert got[example.id] == left[skip : skip + k], example.id


def test_numbers_that_cannot_be_meant(kb: KnowledgeBase) -> None:
    with kb:
        for k, skip in ((0, 0), (1, -1)):
            with pytest.raises(UsageError):
                next(mine_negatives(kb.search, len(kb), EXAMPLES, k, skip))


LINES = [("a", ["x", "ü"]), ("b", []), ("c", ["y"])]


def test_a_file_that_was_begun_goes_on_and_is_there_when_it_is_whole(tmp_path: Path) -> None:
    out = tmp_path / "to" / "negatives.jsonl"
    begun = NegativesFile(out, {"k": 1})
    taken = begun.append(LINES[:2])
    assert [next(taken), next(taken)] == [1, 2]
    taken.close()
    part = out.with_name("negatives.jsonl.begun")
    part.write_text(part.read_text("utf-8") + '{"id": "c", "nega', "utf-8")  # a kill
    assert not out.exists()
    with pytest.raises(UsageError, match="started with other options: k was 1, is 2"):
        NegativesFile(out, {"k": 2})
    again = NegativesFile(out, {"k": 1})
    assert again.done == 2
    assert list(again.append(LINES[again.done :])) == [3]
    assert again.finish(2) == (2, 2)  # two have fewer than two, one has two
    rows = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert [(row["id"], row["negatives"]) for row in rows] == LINES
    assert [path.name for path in out.parent.iterdir()] == ["negatives.jsonl"]
    with pytest.raises(UsageError, match="exists"):
        NegativesFile(out, {"k": 1})


def test_a_file_without_any_negative_goes(tmp_path: Path) -> None:
    begun = NegativesFile(tmp_path / "negatives.jsonl", {})
    assert list(begun.append([("a", []), ("b", [])])) == [1, 2]
    assert begun.finish(1) == (2, 0)
    assert not list(tmp_path.iterdir())


def test_batches_are_searched_together_and_only_those_that_lack_again(kb: KnowledgeBase) -> None:
    asked: list[tuple[int, int]] = []

    def search(queries: Any, depth: int) -> Any:
        asked.append((len(queries), depth))
        return partial(kb.search, k=depth)(queries)

    with kb:
        list(mine_negatives(search, len(kb), EXAMPLES[:3], 5))
    assert asked[0] == (3, 7)  # five, and the most that may be right
    assert all(count <= 1 for count, _ in asked[1:])  # of a parent six may be right
