"""What a run's figures are: numbers worked out by hand for four questions."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from birds_asked import Asked, questions

from rag_vqa.errors import BadInput
from rag_vqa.eval.results.judgement import (
    check_scorable,
    judged_answers,
    score_answers,
    stored_cells,
)
from rag_vqa.eval.results.result_files import ANSWERS, RESULTS, write_results
from rag_vqa.eval.run.ledger import Ledger
from rag_vqa.eval.run.runner import EvaluationRun, Runner, open_run
from rag_vqa.eval.run.spec import Cell
from rag_vqa.eval.scorers import make_scorer
from rag_vqa.types import Completion, Example, Prompt, Query

Make = Callable[..., EvaluationRun]
SHORT = Cell("retrieved", 1, "answer")


class Says:
    """Answers to questions by their number."""

    def __init__(self, echo: Any, texts: list[str]) -> None:
        self._echo, self._texts = echo, texts

    def __getattr__(self, name: str) -> Any:
        return getattr(self._echo, name)

    def generate(self, prompts: list[Prompt], on_text: Any = None, *_: Any) -> list[Completion]:
        numbers = [int(p.text.rpartition("question ")[2].partition("?")[0]) for p in prompts]
        return [Completion(self._texts[number], 10, 2) for number in numbers]


def go(run: EvaluationRun, folder: Path) -> dict[str, Any]:
    with open_run(run, folder) as ledger:
        Runner(run, ledger).run()
        return write_results(ledger, make_scorer("text"))


@pytest.fixture
def results(ask: Make, echo: Any, tmp_path: Path) -> dict[str, Any]:
    """Right and cited; right, a wrong one cited; wrong though shown; abstains where nothing is
    right to say; abstains where something is."""
    rows = questions(5)
    rows[1] = replace(rows[1], relevant=("puffin",))  # q1 finds the stork
    rows[3] = replace(rows[3], answers=(), relevant=(), unanswerable=True)
    says = ["burrows [1]", "roofs [1]", "in a tree", "unknown", "unknown"]
    return go(ask(rows=rows, cells=[SHORT], reader=Says(echo, says)), tmp_path / "run")


def test_accuracy_and_its_parts(results: dict[str, Any]) -> None:
    [cell] = results["cells"]
    assert (cell["answers"], cell["n"], cell["failed"]) == (5, 5, 0)
    assert cell["accuracy"] == 0.6  # q0, q1, q3
    assert (cell["tokens_in"], cell["tokens_out"], cell["abstained"]) == (50, 10, 2)
    assert {k: (v["n"], v["accuracy"]) for k, v in cell["by_kind"].items()} == {
        "even": (3, round(1 / 3, 6)),  # q0 of q0, q2, q4
        "odd": (2, 1.0),
    }
    assert cell["citations"] == {"n": 2, "correct": 0.5}
    assert cell["official"]["abstention"] == {
        "n": 1, "abstained": 2, "precision": 0.5, "recall": 1.0,
    }  # fmt: skip


def test_accuracy_with_the_right_document_shown_and_without(results: dict[str, Any]) -> None:
    [cell] = results["cells"]
    assert cell["given"] == {"n": 3, "accuracy": round(1 / 3, 6)}  # q0 right; q2, q4 not
    assert cell["not_given"] == {"n": 1, "accuracy": 1.0}  # q1; q3 names none
    assert cell["by_rank"]["1"]["n"] == 3
    assert sum(place["n"] for place in cell["by_rank"].values()) == 4
    assert cell["causes"] == {"misread": 2}


def test_lines_say_why(results: dict[str, Any], tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (tmp_path / "run" / ANSWERS).read_text().splitlines()]
    assert [(row["id"], row["score"], row["cause"]) for row in rows] == [
        ("q0", 1.0, ""), ("q1", 1.0, ""), ("q2", 0.0, "misread"), ("q3", 1.0, ""),
        ("q4", 0.0, "misread"),
    ]  # fmt: skip
    assert json.loads((tmp_path / "run" / RESULTS).read_text()) == results


def test_a_right_answer_in_other_words_is_the_scorers_matter(
    ask: Make, echo: Any, tmp_path: Path
) -> None:
    says = Says(echo, ["It nests in burrows, of course.", "on a roof", "fly"])
    results = go(ask(3, cells=[SHORT], reader=says), tmp_path / "run")
    assert results["cells"][0]["causes"] == {"misread": 1, "scorer-sensitive": 1}


def test_fields_that_are_missing_drop_their_metrics_by_name(
    ask: Make, echo: Any, tmp_path: Path
) -> None:
    rows = questions(4)
    rows[0] = replace(rows[0], answers=())
    rows[1] = replace(rows[1], relevant=())
    results = go(ask(rows=rows, cells=[SHORT]), tmp_path / "run")
    [cell] = results["cells"]
    assert (cell["answers"], cell["n"]) == (4, 3)
    assert results["recall"]["n"] == 3
    assert results["dropped"] == {
        "accuracy": "1 of 4 questions have no answers",
        "recall, citations": "1 of 4 questions name no documents",
        "abstention": "no question is marked as unanswerable",
    }
    rows = [json.loads(line) for line in (tmp_path / "run" / ANSWERS).read_text().splitlines()]
    assert rows[0]["score"] is None and rows[0]["cause"] == ""


def test_questions_without_any_answer_are_answered_and_not_scored(
    ask: Make, tmp_path: Path
) -> None:
    rows = [replace(row, answers=()) for row in questions(3)]
    results = go(ask(rows=rows, cells=[SHORT]), tmp_path / "run")
    assert results["cells"][0]["accuracy"] is None
    assert results["cells"][0]["official"]["n"] == 0
    assert results["recall"]["recall"]["1"]["value"] == 1.0


class Counting:
    """A scorer that remembers how much it was asked, and can be made to stop."""

    name = "counting"

    def __init__(self, stop_after: int = 10**9) -> None:
        self.asked, self._stop_after = 0, stop_after
        self._text = make_scorer("text")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._text, name)

    def score(self, examples: list[Example], texts: list[str]) -> list[float]:
        if self.asked >= self._stop_after:
            raise KeyboardInterrupt
        self.asked += len(texts)
        return self._text.score(examples, texts)


def test_scoring_goes_on_where_it_was(ask: Make, tmp_path: Path) -> None:
    run = ask(300, cells=[SHORT], batch=100)
    first, second, third = Counting(stop_after=256), Counting(), Counting()
    with open_run(run, tmp_path / "run") as ledger:
        Runner(run, ledger).run()
        with pytest.raises(KeyboardInterrupt):
            score_answers(ledger, first)
        told: list[int] = []
        score_answers(ledger, second, told.append)
        score_answers(ledger, third)
        assert (first.asked, second.asked, third.asked) == (256, 44, 0)
        assert told == [44]
        ledger.write("UPDATE answers SET key = 'another' WHERE position = ?", [(7,)])
        score_answers(ledger, third)
        assert third.asked == 1  # an answer that was given anew is scored anew


def test_rows_come_in_order_or_one_alone(ask: Make, tmp_path: Path) -> None:
    go(ask(12, cells=[SHORT]), tmp_path / "run")
    with Ledger(tmp_path / "run") as ledger:
        assert stored_cells(ledger) == [SHORT]
        assert [row.position for row in judged_answers(ledger, SHORT, "text exact match")] == [
            *range(12)
        ]
        [one] = judged_answers(ledger, SHORT, "text exact match", position=5)
        assert (one.example.id, one.score, one.gold_shown) == ("q5", 1.0, True)


def test_what_cannot_be_scored_is_said_before(tmp_path: Path) -> None:
    bad = Example("q0", Query("?"), answers=("...",))  # nothing is left of it
    Ledger.create(tmp_path, {}, Asked([bad]).examples())
    with Ledger(tmp_path) as ledger, pytest.raises(BadInput, match="q0"):
        check_scorable(ledger, make_scorer("text"))
