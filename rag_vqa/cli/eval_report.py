"""`rag-vqa eval report`: a run's answers scored, and its page and tables written anew."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rag_vqa.cli import options
from rag_vqa.cli.output import one_line, print_json, table
from rag_vqa.cli.run import Run
from rag_vqa.errors import UsageError

if TYPE_CHECKING:
    from rag_vqa.eval.run.ledger import Ledger
    from rag_vqa.eval.scoring import Scorer


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
    from rag_vqa.cli.evaluating import IN_PART
    from rag_vqa.eval.report import html, published, tables
    from rag_vqa.eval.report.official import official_rows
    from rag_vqa.eval.report.reading import seconds_of
    from rag_vqa.eval.results.results import finish
    from rag_vqa.eval.run.ledger import Ledger
    from rag_vqa.retriever.store import lock

    run: Run = ctx.obj
    with Ledger(path) as ledger, lock.writing(path):
        results = finish(ledger, _scorer(run, ledger, bem, yes))
        beside = published.beside(results)
        if markdown:
            official = official_rows(results)
            said = tables.markdown(results, seconds_of(ledger), official)
            print(said + published.markdown(beside), end="")
        else:
            written = html.write_report(path)
            if run.json:
                print_json({"report": str(written), "published": published.as_json(beside)})
            else:
                print(table_of(results, ledger))
                run.note(f"Report: {one_line(str(written))}")
    if results["missing"]:
        raise typer.Exit(IN_PART)


def table_of(results: Mapping[str, Any], ledger: Ledger) -> str:
    """The tables of a run, as they end `rag-vqa eval run`."""
    from rag_vqa.eval.report import tables
    from rag_vqa.eval.report.official import official_rows
    from rag_vqa.eval.report.reading import seconds_of

    parts = [
        tables.answer_rows(results, seconds_of(ledger)),
        official_rows(results, whole=False),
        tables.recall_rows(results, whole=False),
    ]
    printed = [table([_visible(row) for row in rows]) for rows in parts if rows]
    printed += [one_line(note) for note in tables.notes(results)]
    return "\n\n".join(printed) or "nothing was answered or retrieved yet"


def _scorer(run: Run, ledger: Ledger, bem: str | None, yes: bool) -> Scorer | None:
    """The scorer of the run's benchmark; None where nothing was answered.

    Without --bem that of before: its scores stand, and its model is not needed.
    """
    from rag_vqa.cli.evaluating import scorer_of
    from rag_vqa.eval.report.reading import unscored
    from rag_vqa.eval.scoring import summing_up

    if not ledger.meta("cells"):
        return None
    kind, before = ledger.meta("spec")["questions"]["scorer"], ledger.meta("scorer")
    made = scorer_of(run.settings(), kind, bem, yes)
    if bem is not None or before in (None, made.name):
        return made
    if count := unscored(ledger):
        raise UsageError(
            f"{count:,} answers have no score yet, the others are scored by {before}. Name its "
            f"BERT again: rag-vqa eval report {ledger.folder} --bem MODEL"
        )
    return summing_up(kind, before)


def _visible(row: Mapping[str, str]) -> dict[str, str]:
    return {name: one_line(value) for name, value in row.items()}
