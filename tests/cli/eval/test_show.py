"""`rag-vqa eval report|compare|show`: what people see of finished runs."""

import json
from collections.abc import Callable
from typing import Any

from finished_runs import FinishedRuns

from rag_vqa.eval.run.ledger import Ledger
from rag_vqa.eval.run.spec import Cell
from rag_vqa.storage import lock

Cli = Callable[..., Any]
CELLS = [Cell("none", 0, "closed-book"), Cell("retrieved", 1, "short")]


def test_report_writes_the_page_and_prints_the_tables(cli: Cli, finished: FinishedRuns) -> None:
    run = finished(right=[0, 1, 2])
    done = cli("eval", "report", run)
    assert done.code == 0
    assert done.out.splitlines()[1].split()[:6] == ["retrieved", "1", "short", "6", "0", "50.0"]
    assert "recall@1" in done.out
    assert (run / "report.html").is_file() and "report.html" in done.err
    done = cli("eval", "report", run, "--markdown")
    assert done.out.startswith("- questions: birds · test · n = 6\n")
    assert cli("eval", "report", run, "--json").json == {
        "report": str(run / "report.html"), "published": [],
    }  # fmt: skip


def test_report_scores_what_was_merged(cli: Cli, finished: FinishedRuns) -> None:
    run = finished(right=[0, 1, 2])
    before = (run / "results.json").read_bytes()
    (run / "results.json").unlink()
    with Ledger(run) as ledger:
        ledger.write("DELETE FROM scores", [()])
        ledger.write("DELETE FROM meta WHERE name = 'scorer'", [()])
    assert cli("eval", "report", run).code == 0
    assert (run / "results.json").read_bytes() == before
    done = cli("eval", "report", run, "--bem", "some-bert")
    assert done.code == 2 and "only the scorer evqa uses one" in done.err


def test_report_writes_what_was_removed(cli: Cli, finished: FinishedRuns) -> None:
    run = finished(right=[0, 1, 2])
    before = (run / "answers.jsonl").read_bytes()
    (run / "answers.jsonl").unlink()
    assert cli("eval", "report", run).code == 0
    assert (run / "answers.jsonl").read_bytes() == before != b""


def test_report_waits_for_no_other_writer(cli: Cli, finished: FinishedRuns) -> None:
    run = finished()
    with lock.hold_lock(run):
        done = cli("eval", "report", run)
    assert done.code == 1 and "Another process is writing" in done.err


def test_report_keeps_the_scores_of_a_bert(cli: Cli, finished: FinishedRuns) -> None:
    """Without --bem they stand, under their name; answers that it has not scored need it."""
    run = finished(right=[0, 1, 2])
    name = "evqa official (BEM some-bert@0)"
    with Ledger(run) as ledger:
        spec = ledger.meta("spec")
        spec["questions"]["scorer"] = "evqa"
        ledger.set_meta("spec", spec)
        ledger.set_meta("scorer", name)
        ledger.write("UPDATE scores SET scorer = ?, cut = position = 1", [(name,)])
    assert cli("eval", "report", run).code == 0
    results = json.loads((run / "results.json").read_text())
    assert results["scorer"] == {"name": name}
    assert (results["cells"][0]["accuracy"], results["cells"][0]["bem_truncated"]) == (0.5, 1)
    with Ledger(run) as ledger:
        ledger.write("DELETE FROM scores WHERE position = 3", [()])
    done = cli("eval", "report", run)
    assert done.code == 2 and f"1 answers have no score yet, the others were scored by {name}" in (
        done.err
    )
    assert "--bem MODEL" in done.err


def test_compare_prints_the_difference_and_the_flips(cli: Cli, finished: FinishedRuns) -> None:
    a, b = finished(right=[0, 1, 2]), finished(right=[2, 3])
    done = cli("eval", "compare", a, b)
    assert done.code == 0
    assert "B - A: -16.7 points [-100.0, 50.0], 95% paired, 6 questions in common" in done.out
    assert "right → wrong: 2 (33.3%)  q0 q1" in done.out
    assert "wrong → right: 1 (16.7%)  q3" in done.out
    found = cli("eval", "compare", a, b, "--json").json
    assert (found["lost"], found["won"], found["n"]) == (["q0", "q1"], ["q3"], 6)


def test_compare_refuses_what_does_not_compare(cli: Cli, finished: FinishedRuns) -> None:
    a, b = finished(right=[0]), finished(right=[1], split="val")
    done = cli("eval", "compare", a, b)
    assert done.code == 2 and "questions.split is test and val" in done.err
    done = cli("eval", "compare", a, b, "--force")
    assert done.code == 0 and "the runs differ: questions.split" in done.err
    several = finished(cells=CELLS)
    assert "--cell: 'none', 'retrieved k=1 short'" in cli("eval", "compare", several, a).err
    names = ("--cell", "none", "--cell", "retrieved k=1 short")
    assert cli("eval", "compare", several, several, *names).code == 0
    assert cli("eval", "compare", a, a, *names, "--cell", "x").code == 2


def test_show_tells_one_question_whole(cli: Cli, finished: FinishedRuns) -> None:
    run = finished(right=[1], cells=CELLS)
    done = cli("eval", "show", run, "q0")
    assert done.code == 0
    for part in (
        "puffins cliffs <0>?",
        "gold      burrows",
        "✓ puffin",
        "── none",
        "no evidence given",
        "── retrieved k=1 short",
        "answer    wrong",
        "misread",
    ):
        assert part in done.out
    assert "puffins nest in burrows" not in done.out  # the prompt, where one cell is named
    done = cli("eval", "show", run, "q0", "--cell", "retrieved k=1 short")
    assert "puffins nest in burrows" in done.out and "── none" not in done.out
    said = json.loads(cli("eval", "show", run, "q1", "--json").out)
    assert [cell["answer"]["score"] for cell in said["cells"]] == [1.0, 1.0]
    assert cli("eval", "show", run, "q99").code == 2
    assert cli("eval", "show", run / "nothing", "q0").code == 3
