"""Retrieval metrics against pytrec-eval on random runs, and by hand."""

import random
from math import log2

import pytest
import pytrec_eval

from rag_vqa.errors import BadInput, UsageError
from rag_vqa.retriever.metrics import hit, ndcg, parents, pseudo_hit, recall, reciprocal_rank

DEPTHS = (1, 2, 3, 5, 10, 50, 100)


def runs(seed: int, queries: int) -> dict[str, tuple[list[str], set[str]]]:
    """Rankings of up to 120 of 150 ids, and up to 12 right ones, found or not."""
    rng = random.Random(seed)
    ids = [f"d{number}" for number in range(150)]
    return {
        f"q{query}": (
            rng.sample(ids, rng.randint(1, 120)),
            set(rng.sample(ids, rng.choice([1, 1, 2, 5, 12]))),
        )
        for query in range(queries)
    }


def trec(asked: dict[str, tuple[list[str], set[str]]]) -> dict[str, dict[str, float]]:
    depths = ",".join(map(str, DEPTHS))
    names = {f"{name}.{depths}" for name in ("success", "recall", "ndcg_cut")} | {"recip_rank"}
    qrels = {query: dict.fromkeys(right, 1) for query, (_, right) in asked.items()}
    # trec_eval breaks ties by id: a falling score for each rank leaves it none to break.
    run = {
        query: {name: float(len(ranked) - place) for place, name in enumerate(ranked)}
        for query, (ranked, _) in asked.items()
    }
    return pytrec_eval.RelevanceEvaluator(qrels, names).evaluate(run)


@pytest.mark.parametrize("seed", range(5))
def test_random_runs_equal_trec_eval(seed: int) -> None:
    asked = runs(seed, 60)
    expected = trec(asked)
    for query, (ranked, right) in asked.items():
        ours = {"recip_rank": reciprocal_rank(ranked, right)}
        for k in DEPTHS:
            ours[f"success_{k}"] = hit(ranked, right, k)
            ours[f"recall_{k}"] = recall(ranked, right, k)
            ours[f"ndcg_cut_{k}"] = ndcg(ranked, right, k)
        assert ours == pytest.approx(expected[query], abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_parents_equal_trec_eval_on_the_best_score_of_each(seed: int) -> None:
    """trec_eval knows no parents: each gets the score of its best document."""
    asked = runs(seed, 40)
    parent = {f"d{number}": f"p{number % 40}" for number in range(150)}
    pages = {}
    for query, (ranked, right) in asked.items():
        best: dict[str, int] = {}
        for place, name in enumerate(ranked):
            best[parent[name]] = min(best.get(parent[name], place), place)
        pages[query] = (sorted(best, key=lambda page: best[page]), {parent[n] for n in right})
    expected = trec(pages)
    for query, (ranked, _) in asked.items():
        found, right = parents(ranked, parent), pages[query][1]
        assert recall(found, right, 10) == pytest.approx(expected[query]["recall_10"])
        assert ndcg(found, right, 10) == pytest.approx(expected[query]["ndcg_cut_10"])
        assert reciprocal_rank(found, right) == pytest.approx(expected[query]["recip_rank"])


def test_any_of_the_right_ones_and_their_share_differ() -> None:
    ranked, right = ["x", "a", "b", "c"], ["a", "c", "y", "z"]
    assert [hit(ranked, right, k) for k in (1, 2, 9)] == [0.0, 1.0, 1.0]
    assert [recall(ranked, right, k) for k in (1, 2, 4, 9)] == [0.0, 0.25, 0.5, 0.5]
    ideal = 1 + 1 / log2(3) + 1 / log2(4) + 1 / log2(5)
    assert ndcg(ranked, right, 4) == pytest.approx((1 / log2(3) + 1 / log2(5)) / ideal)
    assert reciprocal_rank(ranked, right) == 0.5
    assert reciprocal_rank(ranked, right, 1) == 0.0


def test_a_right_one_that_is_named_twice_counts_once() -> None:
    assert recall(["a"], ["a", "a", "b"], 5) == 0.5


def test_what_stands_twice_counts_where_it_is_first() -> None:
    twice, right = ["x", "a", "a", "b"], ["a", "b"]
    assert recall(twice, right, 3) == 0.5
    assert ndcg(twice, ["a"], 4) == ndcg(["x", "a"], ["a"], 4) == pytest.approx(1 / log2(3))


def test_nothing_found() -> None:
    scores = hit([], ["a"], 5), recall([], ["a"], 5), ndcg([], ["a"], 5), reciprocal_rank([], ["a"])
    assert scores == (0.0, 0.0, 0.0, 0.0)


def test_a_document_without_a_parent_stands_for_itself() -> None:
    assert parents(["a#1", "b", "a#2", "c"], {"a#1": "a", "a#2": "a", "c": ""}) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("texts", "answers", "k", "expected"),
    [(["x", "In KINGSTON."], [" Kingston\n"], 1, 0.0),
     (["x", "In KINGSTON."], [" Kingston\n"], 2, 1.0),
     (["19 km"], ["9"], 1, 1.0),  # a part of a word counts: that is what "pseudo" says
     (["x"], ["", "  "], 1, None), (["x"], [], 1, None), ([], ["x"], 3, 0.0)],
)  # fmt: skip
def test_pseudo_recall(texts, answers, k, expected) -> None:
    assert pseudo_hit(texts, answers, k) == expected


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(BadInput, match="no document is right"):
        hit(["a"], [], 1)
    with pytest.raises(UsageError, match="at least 1"):
        ndcg(["a"], ["a"], 0)
    with pytest.raises(UsageError, match="at least 1"):
        reciprocal_rank(["a"], ["a"], 0)
    with pytest.raises(UsageError, match="single text"):
        hit(["a"], "a", 1)
