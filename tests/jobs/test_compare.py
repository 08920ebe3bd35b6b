import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from finished_runs import bird

from rag_vqa.errors import Missing, UsageError
from rag_vqa.eval.results.run_statistics import in_development
from rag_vqa.eval.run.spec import Cell
from rag_vqa.jobs.compare import compare_runs

Make = Callable[..., Path]


def test_difference_and_flips_by_hand(finished: Make) -> None:
    a, b = finished(right=[0, 1, 2]), finished(right=[2, 3])
    found = compare_runs(a, b)
    assert (found.n, found.a.value, found.b.value) == (6, 3 / 6, 2 / 6)
    assert found.difference == pytest.approx(2 / 6 - 3 / 6)
    assert (found.lost, found.won, found.differs) == (["q0", "q1"], ["q3"], [])


def test_the_interval_draws_groups_whole(finished: Make) -> None:
    # B - A sums to -2, +1 and 0 in the three groups of two questions. Drawing one group three times
    # has a chance of 1/27, over 2.5%: so the ends are those of -2 and of +1 alone.
    found = compare_runs(finished(right=[0, 1, 2]), finished(right=[2, 3]))
    assert found.ci95 == (3 * -2 / 6, 3 * 1 / 6)


def test_two_cells_of_one_run(finished: Make) -> None:
    cells = [Cell("none", 0, "closed-book"), Cell("retrieved", 1, "short")]
    # "burrows" stands in the document, so this script answers with evidence alone.
    run = finished(cells=cells, script={"sea cliffs": "burrows"})
    found = compare_runs(run, run, "none", "retrieved k=1 short")
    assert (found.a.value, found.b.value, found.difference) == (0.0, 1.0, 1.0)
    assert found.won == [f"q{i}" for i in range(6)]
    with pytest.raises(UsageError, match="two cells"):
        compare_runs(run, run, "none", "none")
    with pytest.raises(UsageError, match=r"which cell.*'none', 'retrieved k=1 short'"):
        compare_runs(run, finished())
    with pytest.raises(UsageError, match=r"no cell 'nun'.*'none'"):
        compare_runs(run, run, "nun", "none")


def test_hits_compare_by_recall(finished: Make, encoder: Any) -> None:
    run = finished(cells=())
    found = compare_runs(run, run, "recall@1", "recall@3")
    assert (found.a.value, found.b.value, found.n) == (1.0, 1.0, 6)
    with pytest.raises(UsageError, match="recall@101: it retrieved 100"):
        compare_runs(run, run, "recall@1", "recall@101")
    with pytest.raises(UsageError, match="with recall@K: name it"):
        compare_runs(run, finished(), "recall@1")


def test_a_run_that_retrieved_nothing_has_no_recall(finished: Make) -> None:
    run = finished(cells=[Cell("none", 0, "closed-book")])
    with pytest.raises(UsageError, match="recall@1: it retrieved nothing"):
        compare_runs(run, run, "recall@1", "recall@2")


def test_a_chosen_cell_is_compared_on_the_rest(finished: Make) -> None:
    cells = [Cell("retrieved", 1, "short"), Cell("retrieved", 2, "short")]
    rows = [bird(i) for i in range(60)]
    inside = [row.id for row in rows if in_development(row.group, 0.2)]
    assert 0 < len(inside) < 30
    a, b = finished(rows=rows, cells=cells, right=range(30)), finished(rows=rows)
    found = compare_runs(a, b)  # the first of the equal two was chosen
    assert (found.a.cell, found.n, found.left_out) == (cells[0].name, 60 - len(inside), len(inside))
    assert found.lost == [row.id for row in rows[:30] if row.id not in inside]
    other = compare_runs(a, b, cells[1].name, "retrieved k=1 short")
    assert (other.n, other.left_out) == (60, 0)


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"split": "val"}, "questions.split is test and val"),
        ({"files": {"questions": "1" * 64}}, "questions.files.questions"),
        ({"name": "others"}, "questions.name is birds and others"),
        ({"missing_policy": "skip"}, "questions.missing is fail and skip"),
    ],
)
def test_what_was_asked_must_be_the_same(finished: Make, asked: Any, field: str) -> None:
    a, b = finished(right=[0]), finished(right=[1], **asked)
    with pytest.raises(UsageError, match=f"{field}.*--force"):
        compare_runs(a, b)
    found = compare_runs(a, b, force=True)
    assert len(found.differs) == 1
    assert found.differs[0].startswith(field)
    assert (found.lost, found.won) == (["q0"], ["q1"])


def test_the_knowledge_base_must_be_the_same_where_it_is_used(finished: Make) -> None:
    cells = [Cell("none", 0, "closed-book"), Cell("retrieved", 1, "short")]
    a, b = finished(cells=cells), finished(cells=cells)
    change(b, lambda spec: spec["knowledge_base"].update(digest="d" * 64))
    with pytest.raises(UsageError, match=r"knowledge_base\.digest"):
        compare_runs(a, b, "retrieved k=1 short", "retrieved k=1 short")
    assert compare_runs(a, b, "none", "none").n == 6  # nothing was looked up for it


def test_the_scorer_must_be_the_same(finished: Make) -> None:
    a, b = finished(), finished()
    change(b, "another scorer", "scorer")
    with pytest.raises(UsageError, match="scorer is text exact match and another scorer"):
        compare_runs(a, b)


def test_without_scores_or_a_run_there_is_nothing_to_compare(
    finished: Make, tmp_path: Path
) -> None:
    a, b = finished(), finished()
    with sqlite3.connect(b / "run.sqlite") as db:
        db.execute("DELETE FROM meta WHERE name = 'scorer'")
    with pytest.raises(Missing, match="rag-vqa eval report"):
        compare_runs(a, b)
    with pytest.raises(Missing, match="holds no run"):
        compare_runs(a, tmp_path / "nothing")


def test_only_questions_in_common_count(finished: Make) -> None:
    a = finished(right=[0, 1], rows=[bird(i) for i in range(4)])
    b = finished(right=[1, 2], rows=[bird(i) for i in range(1, 6)], split="part")
    found = compare_runs(a, b, force=True)
    assert (found.a.n, found.b.n, found.n) == (4, 5, 3)
    assert (found.a.value, found.b.value) == (pytest.approx(1 / 3), pytest.approx(2 / 3))


def change(folder: Path, edit: Any, name: str = "spec") -> None:
    """Another value in the ledger's meta."""
    with sqlite3.connect(folder / "run.sqlite") as db:
        [(text,)] = db.execute("SELECT value FROM meta WHERE name = ?", [name])
        value = json.loads(text)
        if callable(edit):
            edit(value)
        else:
            value = edit
        db.execute("UPDATE meta SET value = ? WHERE name = ?", [json.dumps(value), name])
