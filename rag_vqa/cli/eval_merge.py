"""`rag-vqa eval merge`: the shards of a run, put together; `eval hits`: its hits as a TREC run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rag_vqa.cli.eval_run import Out
from rag_vqa.cli.run import Run
from rag_vqa.errors import UsageError


def merge(
    ctx: typer.Context,
    parts: Annotated[list[Path], typer.Argument(metavar="PART…", help="Runs of the shards.")],
    out: Out,
) -> None:
    """Put the shards of a run together: what one run makes."""
    from rag_vqa.eval.run.ledger import Ledger
    from rag_vqa.eval.run.merging import merge as merge_parts

    run: Run = ctx.obj
    missing = merge_parts(out, parts)
    if missing:
        run.note(f"{missing:,} rows are missing: run the other shards, and merge all of them anew.")
    with Ledger(out) as ledger:
        run.note(f"{ledger.meta('total'):,} questions. Score them: rag-vqa eval report {out}")
    if missing:
        raise typer.Exit(4)


def hits(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The TREC run.")],
) -> None:
    """Write what was retrieved as a TREC run."""
    from rag_vqa.eval.run.ledger import Ledger
    from rag_vqa.eval.run.trec import export_hits

    run: Run = ctx.obj
    if out.exists():
        raise UsageError(f"{out} exists. Give another name.")
    count, begun = 0, out.with_name(f"{out.name}.begun")
    with Ledger(folder) as ledger, begun.open("w", encoding="utf-8") as file:
        for line in export_hits(ledger):
            file.write(f"{line}\n")
            count += 1
    begun.replace(out)
    run.note(f"{count:,} hits → {out}")
