import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from finished_runs import bird

from rag_vqa.eval.report import publications, result_tables
from rag_vqa.eval.results.result_files import count_unscored, read_results, seconds_per_question
from rag_vqa.eval.results.run_statistics import in_development
from rag_vqa.eval.run.ledger import Ledger
from rag_vqa.eval.run.spec import Cell
from rag_vqa.formats.benchmark import PublishedFigure

Make = Callable[..., Path]


def test_rows_say_how_many_how_well_and_at_what_cost(finished: Make) -> None:
    run = finished(
        right=[0, 1, 2], cells=[Cell("none", 0, "closed-book"), Cell("oracle", 1, "short")]
    )
    results = read_results(run)
    rows = result_tables.answer_rows(results, {"none": {"build": 0.5, "read": 1.0}})
    assert [row["condition"] for row in rows] == ["none", "oracle"]
    assert rows[0] | {"95% interval": ""} == {
        "condition": "none", "k": "", "prompt": "closed-book", "n": "6", "failed": "0",
        "accuracy %": "50.0", "95% interval": "", "s/question": "1.500", "tokens in/out": "7/1",
    }  # fmt: skip
    assert rows[1]["s/question"] == ""


def test_citations_have_a_column_where_there_are_any(finished: Make) -> None:
    # Of two answers that cite the one document shown, both cite a right one; "none" shows none.
    script = {"<0>": "burrows [1]", "<1>": "roofs [1]"}
    cells = [Cell("none", 0, "closed-book"), Cell("oracle", 1, "short")]
    rows = result_tables.answer_rows(read_results(finished(cells=cells, script=script)))
    assert [row["cites right %"] for row in rows] == ["–", "100.0"]


def test_a_chosen_row_is_reported_on_the_rest_and_says_so(finished: Make) -> None:
    cells = [Cell("none", 0, "closed-book"), *(Cell("retrieved", k, "short") for k in (1, 2))]
    rows = [bird(i) for i in range(60)]
    inside = [in_development(row.group, 0.2) for row in rows]
    # Right on the slice, and nowhere else.
    right = [i for i, chosen_on in enumerate(inside) if chosen_on]
    results = read_results(finished(rows=rows, cells=cells, right=right))
    table = result_tables.answer_rows(results)
    assert [row["n"] for row in table] == [str(60 - sum(inside))] * 3
    assert [row["accuracy %"] for row in table] == ["0.0"] * 3
    [note] = result_tables.table_notes(results)
    assert note.startswith(f"Best cell: retrieved k=1 short, chosen on {sum(inside)} questions")
    assert result_tables.escape_markdown(note) in result_tables.results_markdown(results)


def test_coverage_is_always_told(finished: Make) -> None:
    results = read_results(finished(missing_policy="skip"))
    assert dict(result_tables.setup_lines(results))["coverage"] == (
        "6 questions · 0 with their image · images missing: 0 (skip) · skipped: 0"
    )
    results["questions"]["skipped"] = 1234
    assert dict(result_tables.setup_lines(results))["coverage"].endswith("skipped: 1,234")


def test_a_terminal_has_the_figures_that_are_asked_for_first(finished: Make) -> None:
    names = [
        row["retrieval"]
        for row in result_tables.recall_rows(read_results(finished()), detailed=False)
    ]
    assert names == ["recall@1", "MRR"]  # of three documents there is no 5 or 10


def test_what_had_no_document_was_put_by_closed_book(finished: Make) -> None:
    rows = [bird(0), bird(1, answers=(), relevant=(), unanswerable=True)]
    results = read_results(finished(rows=rows, cells=[Cell("oracle", 1, "short")]))
    assert list(result_tables.table_notes(results)) == [
        "oracle short: 1 of 2 were answered closed-book, for lack of documents."
    ]  # fmt: skip


def test_depths_are_in_the_order_of_numbers(finished: Make) -> None:
    names = [row["retrieval"] for row in result_tables.recall_rows(read_results(finished()))]
    # Three documents: what stands at 5 and 100 of them is what stands at 3.
    assert names[:3] == ["recall@1", "recall@2", "recall@3"] and "recall@5" not in names
    assert result_tables.by_depth({"10": "b", "9": "a"}) == [(9, "a"), (10, "b")]
    assert names[-2:] == ["MRR", "nDCG@10"]


def test_markdown_is_a_table_and_its_text_stays_text(finished: Make) -> None:
    text = result_tables.results_markdown(read_results(finished(right=[0], name="a|b <b>*x*")))
    assert r"a\|b \<b\>\*x\*" in text
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    heads = lines[0].count(" | ")
    assert lines[0].startswith("| condition | k | prompt | n | failed | accuracy %")
    assert lines[1] == "| " + " | ".join(["---"] * (heads + 1)) + " |"
    assert lines[2].startswith("| retrieved | 1 | short | 6 | 0 | 16.7 |")


def test_seconds_are_a_mean_over_the_questions_of_each_stage(finished: Make) -> None:
    with Ledger(finished()) as ledger:
        ledger.write("DELETE FROM times", [()])
        name = "retrieved k=1 short"
        rows = [("retrieval", 0, 4, 8.0), ("retrieval", 4, 2, 1.0), (f"{name}/read", 0, 5, 10.0),
                (f"{name}/build", 0, 0, 0.1)]  # fmt: skip
        ledger.write("INSERT INTO times VALUES (?, ?, ?, ?)", rows)
        assert seconds_per_question(ledger) == {name: {"retrieve": 9 / 6, "read": 2.0}}


def test_what_was_merged_is_not_scored(finished: Make) -> None:
    run = finished()
    with Ledger(run) as ledger:
        assert not count_unscored(ledger)
        ledger.write("DELETE FROM scores WHERE position = 3", [()])
        assert count_unscored(ledger)
    (finished() / "results.json").unlink()


def figure(**fields: Any) -> PublishedFigure:
    return PublishedFigure(
        **{"benchmark": "birds", "split": "test", "n": 6, "system": "theirs",
           "condition": "retrieval", "metric": "recall@1", "value": 0.5, "scorer": "recall@1",
           "documents": (3, 3), "documents_text": "3", "source": "a paper"} | fields
    )  # fmt: skip


def test_a_published_figure_compares_where_all_four_agree(finished: Make) -> None:
    results = read_results(finished(right=[0, 1, 2]))

    def differs(**fields: Any) -> dict[str, str]:
        [row] = publications.compare_with_published(results, [figure(**fields)])
        return dict(row.differs)

    assert differs() == {}
    assert differs(documents=(2, 4), documents_text="about 3") == {}
    assert differs(documents=(4, 9), documents_text="4K") == {
        "knowledge base": "4K documents, ours 3"
    }
    assert differs(split="val") == {"split": "val, ours test"}
    assert differs(n=5) == {"n": "5, ours 6"}
    assert differs(n=None)["n"].startswith("not published")
    assert differs(scorer=None)["scorer"].startswith("not published")
    answers = {"condition": "retrieved", "metric": "all"}
    assert differs(**answers, scorer="infoseek official") == {
        "scorer": "infoseek official, ours text exact match"
    }
    assert differs(**answers, scorer="text exact match") == {}


def test_ours_stands_beside_it_or_nothing_does(finished: Make) -> None:
    results = read_results(finished(right=[0, 1, 2]))
    [row] = publications.compare_with_published(
        results, [figure(condition="retrieved", metric="all")]
    )
    assert (row.own.cell, row.own.value, row.own.n) == ("retrieved k=1 short", 0.5, 6)
    none = [
        figure(benchmark="fish"),
        figure(condition="oracle", metric="all"),
        figure(metric="recall@7"),
        figure(condition="retrieved", metric="unseen entity"),
    ]
    assert publications.compare_with_published(results, none) == []
    text = publications.published_markdown(
        publications.compare_with_published(results, [figure(), figure(n=5)])
    )
    assert text.index("Published, comparable") < text.index("Published, not comparable")
    assert "n: 5, ours 6" in text and "a paper" in text


def test_the_figures_known_are_sound() -> None:
    known = publications.published_figures()
    oven = {f.system: f.value for f in known if f.benchmark == "m2kr/oven"}
    assert oven == {"ReT CLIP ViT-L": 0.820, "ReT OpenCLIP ViT-H": 0.830,
                    "ReT OpenCLIP ViT-G": 0.840, "PreFLMR-G": 0.643}  # fmt: skip
    assert len({(f.benchmark, f.system, f.metric) for f in known}) == len(known)
    assert all(0 < f.value < 1 and f.source for f in known)
    json.dumps(publications.pairs_as_json([]))


def test_the_documents_have_the_same_figures(root: Path) -> None:
    text = (root / "docs" / "reproduce.md").read_text("utf-8")
    known = publications.published_figures()
    systems = ("ReT CLIP ViT-L", "ReT OpenCLIP ViT-H", "ReT OpenCLIP ViT-G")
    for task in {f.benchmark for f in known if f.benchmark.startswith("m2kr/")}:
        row = next(line for line in text.splitlines() if line.startswith(f"| {task[5:]} |"))
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        there = [f for f in known if f.benchmark == task]
        assert (cells[1], cells[2]) == (f"{there[0].n:,}", there[0].documents_text)
        figures = [
            ", ".join(f"{100 * f.value:.1f}" for f in there if f.system == system)
            for system in systems
        ]
        assert cells[5:] == figures
