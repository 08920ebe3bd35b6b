import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rag_vqa.errors import Missing, UsageError
from rag_vqa.eval.report.question_view import EvidenceView, question_view
from rag_vqa.eval.run.ledger import Ledger
from rag_vqa.eval.run.spec import Cell

Make = Callable[..., Path]
CELLS = [Cell("none", 0, "closed-book"), Cell("retrieved", 2, "short"), Cell("oracle", 1, "short")]


def test_a_question_comes_with_all_that_is_known_of_it(finished: Make) -> None:
    with Ledger(finished(right=[1], cells=CELLS)) as ledger:
        found = question_view(ledger, "q0")
    assert found.example.query.text == "puffins cliffs <0>?"
    assert found.found[0].id == "puffin" and len(found.found) == 3
    assert [hit.right for hit in found.found] == [True, False, False]
    none, retrieved, oracle = found.answers
    assert none.evidence == [] and "puffins nest" not in none.prompt
    assert [(hit.id, hit.number, hit.right) for hit in retrieved.evidence] == [
        ("puffin", 1, True), (found.found[1].id, 2, False),
    ]  # fmt: skip
    assert retrieved.evidence[0].score == found.found[0].score
    assert "puffins nest in burrows on sea cliffs" in retrieved.prompt
    assert oracle.evidence == [EvidenceView("puffin", 1, None, True)]
    causes = [view.answer.cause for view in found.answers if view.answer]
    assert causes == ["no evidence given", "misread", "misread"]


def test_one_cell_alone(finished: Make) -> None:
    with Ledger(finished(cells=CELLS)) as ledger:
        assert [view.cell for view in question_view(ledger, "q2", "oracle short").answers] == [
            CELLS[2]
        ]
        with pytest.raises(UsageError, match=r"no cell 'oracle'.*'oracle short'"):
            question_view(ledger, "q2", "oracle")
        with pytest.raises(UsageError, match="no question 'q99'"):
            question_view(ledger, "q99")


def test_what_did_not_fit_says_why(finished: Make) -> None:
    run = finished(cells=CELLS[1:2])
    edit(run, dropped={"puffin#1": "too large", "puffin#2": "too large", "q": "no"}, kept=[])
    with Ledger(run) as ledger:
        [view] = question_view(ledger, "q0").answers
    assert (view.evidence[0].number, view.evidence[0].dropped) == (0, "a picture: too large")
    # Now the second is a document of that name, and not a picture of the first.
    edit(
        run, dropped={"puffin": "context", "puffin#1": "no room"}, documents=["puffin", "puffin#1"]
    )
    with Ledger(run) as ledger:
        [view] = question_view(ledger, "q0").answers
    assert [hit.dropped for hit in view.evidence] == ["context", "no room"]


def test_what_the_filter_left_out_is_there_too(finished: Make) -> None:
    run = finished(cells=CELLS[1:2])
    cell = Cell("filtered", 2, "short")
    edit(run, documents=["stork"], kept=["stork"])
    with sqlite3.connect(run / "run.sqlite") as db:
        for table in ("answers", "scores"):
            db.execute(f"UPDATE {table} SET cell = ?", [cell.name])
        fields = '[{"condition":"filtered","k":2,"template":"short","repeat":0}]'
        db.execute("UPDATE meta SET value = ? WHERE name = 'cells'", [fields])
    with Ledger(run) as ledger:
        [view] = question_view(ledger, "q0").answers
    assert [(hit.id, hit.number, hit.dropped) for hit in view.evidence][:2] == [
        ("stork", 1, ""), ("puffin", 0, "the filter removed it"),
    ]  # fmt: skip


def test_what_failed_says_why(finished: Make) -> None:
    run = finished()
    with sqlite3.connect(run / "run.sqlite") as db:
        db.execute("DELETE FROM answers WHERE position = 0")
        db.execute("INSERT INTO failed VALUES ('retrieved k=1 short', 0, 'the server said no')")
    with Ledger(run) as ledger:
        [view] = question_view(ledger, "q0").answers
    assert (view.answer, view.error) == (None, "the server said no")


def test_what_is_not_scored_says_so(finished: Make) -> None:
    run = finished()
    with sqlite3.connect(run / "run.sqlite") as db:
        db.execute("DELETE FROM meta WHERE name = 'scorer'")
    with Ledger(run) as ledger, pytest.raises(Missing, match="rag-vqa eval report"):
        question_view(ledger, "q0")


def edit(run: Path, **fields: Any) -> None:
    """Other values in the answer to the first question."""
    with sqlite3.connect(run / "run.sqlite") as db:
        [(body,)] = db.execute("SELECT body FROM answers WHERE position = 0")
        text = json.dumps({**json.loads(body), **fields})
        db.execute("UPDATE answers SET body = ? WHERE position = 0", [text])
