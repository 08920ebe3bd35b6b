"""Each cause by a case made for it, and that the first one that holds is the cause."""

from dataclasses import replace
from itertools import combinations
from typing import Any, get_args

import pytest

from rag_vqa.eval.results.judgement import Cause, cause_of, find_gold, has_all_gold, has_gold
from rag_vqa.eval.run.retrieval_stage import StoredHits
from rag_vqa.eval.run.spec import Cell
from rag_vqa.types import Example, Query

ORDER = get_args(Cause)
RETRIEVED, FILTERED = Cell("retrieved", 2, "short"), Cell("filtered", 2, "short")
ORACLE, NONE = Cell("oracle", 2, "short"), Cell("none", 0, "closed-book")
EXAMPLE = Example("q", Query("?"), answers=("a",), relevant=("right",))
BY_PARENT = replace(EXAMPLE, relevant=("page",), level="parent")


def kept(*ids: str, parents: dict[str, str] | None = None) -> StoredHits:
    scores = [10.0 - 3 * place for place in range(len(ids))]
    return StoredHits(list(ids), [0] * len(ids), scores, parents or {}, [], 0)


# What makes each cause hold, and nothing before it.
CASES: dict[str, dict[str, Any]] = {
    "scorer-sensitive": {"lenient": True},
    "image missing": {"example": replace(EXAMPLE, missing="photo.jpg")},
    "answered though unanswerable": {"example": replace(EXAMPLE, relevant=(), unanswerable=True)},
    "no evidence given": {"cell": NONE, "kept": None},
    "no gold named": {"example": replace(EXAMPLE, relevant=())},
    "gold not in the knowledge base": {"gold_exists": False},
    "misread": {"gold_shown": True},
    "not retrieved": {"kept": kept("a", "b", "right")},
    "filtered": {"cell": FILTERED, "documents": ["a"]},
    "dropped by the budget": {"documents": ["a", "right"]},
}


def cause(**case: Any) -> str:
    usual: dict[str, Any] = {
        "example": EXAMPLE,
        "cell": RETRIEVED,
        "kept": kept("a", "right"),
        "lenient": False,
        "gold_exists": True,
        "gold_shown": False,
        "documents": [],
    }
    fields = usual | case
    answer = {"documents": fields.pop("documents")}
    return cause_of(fields.pop("example"), fields.pop("cell"), answer, fields.pop("kept"), **fields)


@pytest.mark.parametrize("name", CASES)
def test_each_cause_by_its_case(name: str) -> None:
    assert cause(**CASES[name]) == name


def test_there_is_a_case_for_every_cause() -> None:
    assert set(CASES) == set(ORDER)


# "misread" is what was shown; "not retrieved", "filtered" and "dropped" exclude one another.
TESTED = ("scorer-sensitive", "image missing", "answered though unanswerable",
          "no evidence given", "no gold named",
          "gold not in the knowledge base", "misread")  # fmt: skip


@pytest.mark.parametrize(("first", "second"), combinations(TESTED, 2))
def test_the_first_that_holds_is_the_cause(first: str, second: str) -> None:
    both = {**CASES[second], **CASES[first]}
    examples = [c["example"] for c in (CASES[first], CASES[second]) if "example" in c]
    if len(examples) == 2:
        both["example"] = replace(
            EXAMPLE,
            relevant=(),
            missing="".join(example.missing for example in examples),
            unanswerable=any(example.unanswerable for example in examples),
        )
    assert cause(**both) == first


def test_a_filter_that_keeps_the_right_one_leaves_it_to_the_budget() -> None:
    assert cause(cell=FILTERED, documents=["right"]) == "dropped by the budget"
    assert cause(cell=ORACLE, kept=None) == "dropped by the budget"


def test_a_right_document_of_a_page_counts_for_the_page() -> None:
    parts = {"page#1": "page", "page#7": "page", "other#1": "other"}
    hits = kept("other#1", "page#7", parents=parts)
    assert cause(example=BY_PARENT, kept=hits, documents=["page#7"]) == "dropped by the budget"
    assert cause(example=BY_PARENT, kept=kept("other#1", parents=parts)) == "not retrieved"
    assert has_gold(BY_PARENT, ["page#1"], parts)
    assert has_gold(BY_PARENT, ["page"], {})  # a document that is a page of its own
    assert not has_gold(EXAMPLE, ["page#1"], parts)


def test_two_hops_need_both_pages() -> None:
    both = replace(BY_PARENT, relevant=("first", "second"), kind="2_hop")
    parts = {"first#1": "first", "first#2": "first", "second#1": "second"}
    assert not has_all_gold(both, ["first#1", "first#2"], parts)
    assert has_all_gold(both, ["second#1", "first#1"], parts)
    assert has_all_gold(replace(both, kind="automatic"), ["first#1"], parts)
    two = kept("first#1", "first#2", "second#1", parents=parts)
    assert cause(example=both, kept=two, documents=["first#1"]) == "not retrieved"
    three = replace(RETRIEVED, k=3)
    assert cause(example=both, cell=three, kept=two, documents=two.ids) == "dropped by the budget"


def test_how_far_off_is_a_rank_and_a_gap_of_scores() -> None:
    far = kept("a", "b", "c", "right")  # scores 10, 7, 4, 1
    assert (find_gold(EXAMPLE, RETRIEVED, far).rank, find_gold(EXAMPLE, RETRIEVED, far).gap) == (
        4,
        6.0,
    )
    near = find_gold(EXAMPLE, RETRIEVED, kept("a", "right"))
    assert (near.rank, near.gap) == (2, None)  # it was shown
    assert find_gold(EXAMPLE, RETRIEVED, kept("a", "b")).rank == 0
    assert find_gold(EXAMPLE, NONE, None).rank == 0
    assert find_gold(EXAMPLE, ORACLE, far).gap is None  # the oracle shows whatever is right


def test_a_rank_among_pages_counts_each_page_once() -> None:
    parts = {"a#1": "a", "a#2": "a", "page#3": "page"}
    place = find_gold(BY_PARENT, RETRIEVED, kept("a#1", "a#2", "page#3", parents=parts))
    assert (place.rank, place.gap) == (2, 3.0)  # third document, second page
