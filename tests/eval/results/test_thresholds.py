"""Limits on figures: by name, of the cell that stands for the run."""

from typing import Any

import pytest

from rag_vqa.errors import UsageError
from rag_vqa.eval.results.result_files import (
    failed_thresholds,
    main_cell,
    named_figures,
    parse_thresholds,
)


def cell(condition: str, accuracy: float | None, repeat: int = 0) -> dict[str, Any]:
    return {
        "cell": f"{condition}{repeat}",
        "condition": condition,
        "repeat": repeat,
        "accuracy": accuracy,
        "citations": {"n": 2, "correct": 0.5},
        "official": {"abstention": {"precision": 0.25, "recall": None}},
    }


def results(*cells: dict[str, Any], best: str | None = None) -> dict[str, Any]:
    recall = {"recall": {"5": {"value": 0.9}}, "share": None, "mrr": {"value": 0.7}}
    return {"cells": cells, "selection": best and {"best": best, "test": {}}, "recall": recall}


def test_filtered_before_retrieved_before_oracle_before_none() -> None:
    order = ("filtered", "retrieved", "oracle", "none")
    rows = [cell(name, 0.5) for name in reversed(order)]
    for name in order:
        chosen = main_cell(results(*rows))
        assert chosen is not None and chosen["condition"] == name
        rows = [row for row in rows if row["condition"] != name]
    assert main_cell(results()) is None


def test_the_selected_one_stands_for_the_run() -> None:
    rows = [cell("filtered", 0.5), cell("retrieved", 0.4), cell("retrieved", 0.9, repeat=1)]
    assert named_figures(results(*rows, best="retrieved0"))["accuracy"] == 0.4


def test_accuracy_is_of_what_the_choice_was_not_made_on() -> None:
    run = results(cell("retrieved", 0.9), best="retrieved0")
    run["selection"]["test"] = {"retrieved0": {"accuracy": 0.5}}
    assert failed_thresholds(run, parse_thresholds(["accuracy=.8"])) == [
        "accuracy is 0.5000, below 0.8"
    ]


def test_figures_that_are_not_there_are_left_out() -> None:
    assert named_figures(results(cell("none", None))) == {
        "recall@5": 0.9, "mrr": 0.7, "citations": 0.5, "abstention_precision": 0.25,
    }  # fmt: skip


def test_missed_and_reached() -> None:
    run = results(cell("retrieved", 0.8))
    assert failed_thresholds(run, parse_thresholds(["accuracy=.8", "recall@5=0.9"])) == []
    assert failed_thresholds(run, parse_thresholds(["accuracy=0.81", "mrr=.1"])) == [
        "accuracy is 0.8000, below 0.81"
    ]
    with pytest.raises(UsageError, match="ndcg@10: this run has recall@5, mrr, accuracy"):
        failed_thresholds(run, parse_thresholds(["ndcg@10=.5"]))


@pytest.mark.parametrize(
    "limit", ["accuracy", "accuracy=80", "accuracy=80%", "accuracy=nan", "accuracy=-1", "acc=.8",
              "recall@7=.5", "=.5"],
)  # fmt: skip
def test_what_is_no_limit(limit: str) -> None:
    with pytest.raises(UsageError, match="--min"):
        parse_thresholds([limit])
