"""Encyclopedic-VQA scoring against the outputs of the official script, with a stand-in for BEM."""

import json
from pathlib import Path
from typing import Any

import pytest

from rag_vqa.errors import BadInput
from rag_vqa.eval import evqa


@pytest.fixture
def items(root: Path) -> list[dict[str, Any]]:
    path = root / "tests" / "golden" / "evaluators" / "evqa_items.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def stub_bem(question: str, reference: str, candidate: str) -> float:
    """The share of the reference's words that the candidate holds.

    The golden file does not say what its stub was; this function was found to give all of its
    scores, and fails for some under every variation tried (jaccard, precision, other splits).
    """
    words, given = reference.lower().split(), candidate.lower().split()
    return sum(word in given for word in words) / max(len(words), 1)


def test_exact_matches_equal_the_official_outputs(items: list[dict[str, Any]]) -> None:
    scored = [item for item in items if "error" not in item]
    assert (len(items), len(scored)) == (800, 692)
    wrong = [
        item
        for item in scored
        if item["exact_match"]
        != [
            evqa.exact_match(reference, item["candidate"], item["question_type"])
            for reference in item["answer"].split("|")
        ]
    ]
    assert wrong == []


def test_scores_with_the_stub_equal_the_official_outputs(items: list[dict[str, Any]]) -> None:
    wrong = [
        item
        for item in items
        if "error" not in item and score(item, stub_bem) != item["score_with_stub_bem"]
    ]
    assert wrong == []


def test_scores_without_bem_are_the_exact_matches(items: list[dict[str, Any]]) -> None:
    scored = [item for item in items if "error" not in item]
    assert [score(item, None) for item in scored] == [float(any(i["exact_match"])) for i in scored]


def test_what_the_official_script_refuses_is_refused(items: list[dict[str, Any]]) -> None:
    refused = [item for item in items if "error" in item]
    assert {item["error"] for item in refused} == {"ValueError"}
    for item in refused:
        with pytest.raises(ValueError, match="empty after preprocessing"):
            score(item, stub_bem)


def score(item: dict[str, Any], bem: evqa.EquivalenceModel | None) -> float:
    references = item["answer"].split("|")
    return evqa.score_answer(
        item["question"], references, item["candidate"], item["question_type"], bem
    )


@pytest.mark.parametrize(
    ("text", "normal"),
    [("The answer is: a\nCat’s", "cats"), ("<extra_id_0> Ten", "10"),
     ("ten <extra_id_0> x", "10 extraid0 x"), ("None; FALSE", "0 no"), ("twenty-one", "twentyone"),
     ("entailment", "yes"), ("<EXTRA_ID_0> a <extra_id_0> b", "b"), ("1990–2000", "1990–2000")],
)  # fmt: skip
def test_preprocessing_by_hand(text: str, normal: str) -> None:
    assert evqa.preprocess_answer(text) == normal


def test_half_an_overlap_is_enough() -> None:
    assert evqa.exact_match("a1&&b1", "b1, c1, a1, d1", "multi_answer")  # 2 of 4
    assert not evqa.exact_match("a1&&b1", "b1, c1, a1, d1 & e1", "multi_answer")  # 2 of 5


def test_bem_is_asked_only_where_nothing_matches_and_gets_commas() -> None:
    asked: list[tuple[str, str, str]] = []

    def bem(*texts: str) -> float:
        asked.append((texts[0], texts[1], texts[2]))
        return 0.5

    assert evqa.score_answer("Q?", ["no", "Oslo"], "oslo", "2_hop", bem) == 1.0
    assert asked == []
    assert evqa.score_answer("Q?", ["a1&&b1&&c1"], "x AND y", "multi_answer", bem) == 1.0
    assert asked == [("Q?", "a1,b1,c1", "x AND y")]


def test_bem_below_the_threshold_is_wrong() -> None:
    assert evqa.score_answer("Q?", ["Oslo"], "Bergen", "automatic", lambda q, r, c: 0.4999) == 0.0


def test_what_cannot_be_scored_is_our_error_and_a_value_error() -> None:
    with pytest.raises(BadInput, match="at least one"):
        evqa.score_answer("Q?", [], "x", "automatic", None)
    with pytest.raises(BadInput, match="at least one"):
        evqa.score_answer("Q?", "Oslo|Bergen", "x", "automatic", None)
    with pytest.raises(ValueError, match="none of templated"):
        evqa.exact_match("x", "x", "list")
