"""`rag-vqa eval report`: the page of a finished run, written anew, or its tables as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rag_vqa.cli.output import one_line, print_json, table
from rag_vqa.cli.run import Run

if TYPE_CHECKING:
    from rag_vqa.eval.report.reading import Seconds


def report(
    ctx: typer.Context,
    path: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run.")],
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the tables, and write nothing.")
    ] = False,
) -> None:
    """Write report.html of a run: one file that needs no other; published figures stand beside."""
    from rag_vqa.eval.report import html, published, reading, tables
    from rag_vqa.eval.run.ledger import Ledger

    run: Run = ctx.obj
    results = reading.read_results(path)
    beside = published.beside(results)
    with Ledger(path) as ledger:
        seconds = reading.seconds_of(ledger)
    if markdown:
        print(tables.markdown(results, seconds) + published.markdown(beside), end="")
        return None
    written = html.write_report(path)
    if run.json:
        return print_json({"report": str(written), "published": published.as_json(beside)})
    print(tables_of(results, seconds))
    run.note(f"{one_line(str(written))}: open it in a browser")
    return None


def tables_of(results: Mapping[str, Any], seconds: Seconds) -> str:
    """The tables of a run as they end `rag-vqa eval run`."""
    from rag_vqa.eval.report import tables

    parts = [tables.answer_rows(results, seconds), tables.recall_rows(results)]
    printed = [table([_visible(row) for row in rows]) for rows in parts if rows]
    return "\n\n".join(printed) or "nothing was answered or retrieved yet"


def _visible(row: Mapping[str, str]) -> dict[str, str]:
    return {name: one_line(value) for name, value in row.items()}
