"""`rag-vqa eval report`: score a run's answers; write its report page or print its tables.

Knows flags and how the tables look on a terminal. Does not know how figures are computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rag_vqa.cli import options
from rag_vqa.cli.context import CommandContext
from rag_vqa.cli.output import print_json
from rag_vqa.errors import EXIT_PARTIAL
from rag_vqa.formatting import format_table, one_line

if TYPE_CHECKING:
    from rag_vqa.jobs.score import RunScores


def report(
    ctx: typer.Context,
    path: Annotated[
        Path, typer.Argument(metavar="RUN", help="Folder of a run, or of merged ones.")
    ],
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the tables for a paper; write no page.")
    ] = False,
    bem: Annotated[
        str | None, typer.Option(metavar="MODEL", help="evqa: score again, with this BERT.")
    ] = None,
    yes: options.Yes = False,
) -> None:
    """Score what has no score yet; write all files and report.html, which needs no other file.

    Published figures stand beside the run's own if knowledge base, split, scorer and number of
    questions agree. The others are listed apart, with what differs.
    """
    from rag_vqa.eval.report import publications, result_tables
    from rag_vqa.jobs.score import score_run

    context: CommandContext = ctx.obj
    scores = score_run(path, context.settings(), context, bem=bem, yes=yes, page=not markdown)
    pairs = publications.compare_with_published(scores.results)
    if markdown:
        official = result_tables.official_rows(scores.results)
        tables = result_tables.results_markdown(scores.results, scores.seconds, official)
        print(tables + publications.published_markdown(pairs), end="")
    elif context.json:
        print_json({"report": str(scores.page), "published": publications.pairs_as_json(pairs)})
    else:
        print(format_scores(scores))
        context.note(f"Report: {one_line(str(scores.page))}")
    if scores.missing_rows:
        raise typer.Exit(EXIT_PARTIAL)


def format_scores(scores: RunScores) -> str:
    """The tables of a run, as `rag-vqa eval run` prints them at its end."""
    from rag_vqa.eval.report import result_tables

    results = scores.results
    tables = [
        result_tables.answer_rows(results, scores.seconds),
        result_tables.official_rows(results, detailed=False),
        result_tables.recall_rows(results, detailed=False),
    ]
    parts = [format_table([_visible_row(row) for row in rows]) for rows in tables if rows]
    parts += [one_line(note) for note in result_tables.table_notes(results)]
    return "\n\n".join(parts) or "nothing was answered or retrieved yet"


def _visible_row(row: Mapping[str, str]) -> dict[str, str]:
    return {name: one_line(value) for name, value in row.items()}
