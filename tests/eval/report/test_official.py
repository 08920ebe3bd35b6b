"""The benchmarks' own figures, of summaries that the scorers make."""

from typing import Any

import pytest

from rag_vqa.eval.report.result_tables import official_rows
from rag_vqa.eval.scorers import make_scorer
from rag_vqa.types import Example, Query


def results(kind: str, *rows: tuple[Example, float]) -> dict[str, Any]:
    official = make_scorer(kind).summary((example, "unknown", score) for example, score in rows)
    return {
        "questions": {"scorer": kind},
        "cells": [{"cell": "none", "n": len(rows), "official": official}],
    }


def seek(split: str, kind: str = "String") -> Example:
    return Example("q", Query("?"), references=("x",), kind=kind, split=split)


def test_infoseek_is_led_by_the_harmonic_mean() -> None:
    rows = [(seek("unseen_question"), 1.0), (seek("unseen_question", "Time"), 0.0),
            *[(seek("unseen_entity"), score) for score in (1.0, 0.0, 0.0, 0.0)]]  # fmt: skip
    [row] = official_rows(results("infoseek", *rows), detailed=False)
    assert row == {
        "official, %": "none",
        "overall": f"{2 / (1 / 50 + 1 / 25):.2f}",
        "unseen question": "50.00",
        "unseen entity": "25.00",
    }
    [whole] = official_rows(results("infoseek", *rows))
    assert whole["unseen question, string"] == "100.00"
    assert whole["unseen question, time"] == "0.00"


def test_a_split_that_was_not_asked_is_no_zero() -> None:
    [row] = official_rows(results("infoseek", (seek("unseen_entity"), 1.0)), detailed=False)
    assert (row["overall"], row["unseen question"], row["unseen entity"]) == ("–", "–", "100.00")


def test_evqa_has_single_hop_and_types() -> None:
    rows = [(Example("q", Query("?"), references=("x",), kind=kind), score)
            for kind, score in (("templated", 1.0), ("2_hop", 0.0), ("2_hop", 0.0))]  # fmt: skip
    [row] = official_rows(results("evqa", *rows))
    assert row == {
        "official, %": "none", "single-hop": "100.0", "all": "33.3", "templated": "100.0",
        "2_hop": "0.0",
    }  # fmt: skip


@pytest.mark.parametrize("unanswerable", [True, False])
def test_own_questions_have_abstention_where_some_cannot_be_answered(unanswerable: bool) -> None:
    rows = [(Example("q", Query("?"), ("x",)), 0.0)]
    rows += [(Example("r", Query("?"), unanswerable=True), 1.0)] * unanswerable
    found = official_rows(results("text", *rows))
    assert [row["abstention precision"] for row in found] == ["50.0"] * unanswerable
