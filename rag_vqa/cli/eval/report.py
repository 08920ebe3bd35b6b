"""`rag-vqa eval report`: score a run's answers; write its report page or print its tables.

Knows flags and how the tables look on a terminal. Does not know how figures are computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rag_vqa.cli import options
from rag_vqa.cli.context import CommandContext
from rag_vqa.cli.output import print_json
from rag_vqa.formatting import format_table, one_line
from rag_vqa.jobs.score import scorer_for_ledger

if TYPE_CHECKING:
    from rag_vqa.eval.run.ledger import Ledger


def report(
    ctx: typer.Context,
    path: Annotated[Path, typer.Argument(metavar="RUN", help="A run; merged shards too.")],
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the tables, for a paper; no page.")
    ] = False,
    bem: Annotated[
        str | None, typer.Option(metavar="MODEL", help="evqa: score anew, with this BERT.")
    ] = None,
    yes: options.Yes = False,
) -> None:
    """Score what has no score yet, and write all files and report.html, which needs no other.

    Published figures stand beside the run's own where knowledge base, split, scorer and number of
    questions agree; the others are listed apart, with what differs.
    """
    from rag_vqa.errors import EXIT_PARTIAL
    from rag_vqa.eval.report import html, published, result_tables
    from rag_vqa.eval.report.result_tables import official_rows
    from rag_vqa.eval.results.result_files import seconds_per_question, write_results
    from rag_vqa.eval.run.ledger import Ledger
    from rag_vqa.storage import lock

    run: CommandContext = ctx.obj
    with Ledger(path) as ledger, lock.hold_lock(path):
        results = write_results(ledger, scorer_for_ledger(run, ledger, bem, yes))
        beside = published.compare_with_published(results)
        if markdown:
            official = official_rows(results)
            said = result_tables.results_markdown(results, seconds_per_question(ledger), official)
            print(said + published.published_markdown(beside), end="")
        else:
            written = html.write_report(path)
            if run.json:
                print_json({"report": str(written), "published": published.pairs_as_json(beside)})
            else:
                print(table_of(results, ledger))
                run.note(f"Report: {one_line(str(written))}")
    if results["missing"]:
        raise typer.Exit(EXIT_PARTIAL)


def table_of(results: Mapping[str, Any], ledger: Ledger) -> str:
    """The tables of a run, as they end `rag-vqa eval run`."""
    from rag_vqa.eval.report import result_tables
    from rag_vqa.eval.report.result_tables import official_rows
    from rag_vqa.eval.results.result_files import seconds_per_question

    parts = [
        result_tables.answer_rows(results, seconds_per_question(ledger)),
        official_rows(results, whole=False),
        result_tables.recall_rows(results, whole=False),
    ]
    printed = [format_table([_visible(row) for row in rows]) for rows in parts if rows]
    printed += [one_line(note) for note in result_tables.table_notes(results)]
    return "\n\n".join(printed) or "nothing was answered or retrieved yet"


def _visible(row: Mapping[str, str]) -> dict[str, str]:
    return {name: one_line(value) for name, value in row.items()}
