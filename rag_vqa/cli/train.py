"""`rag-vqa train`: ReT from a file of settings, its query side from a few pairs, hard negatives."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rag_vqa.cli import train_mine

app = typer.Typer(help="Train a retriever, or tune its query side.")


@app.callback(invoke_without_command=True)
def train(
    ctx: typer.Context,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="All that is written; goes on if there."),
    ] = None,
    start: Annotated[
        str | None, typer.Option("--from", metavar="MODEL", help="ReT: a folder, a hub id, demo.")
    ] = None,
    pairs: Annotated[
        Path | None, typer.Option(metavar="JSONL", help="Questions with their documents.")
    ] = None,
    documents: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What the pairs name by id.")
    ] = None,
    side: Annotated[
        str | None, typer.Option(metavar="query|both", help="query: knowledge bases stay valid.")
    ] = None,
) -> None:
    """Train by the settings of --config FILE; the same command goes on where it was stopped.

    With --from, --pairs and --side query: tune the query side on a few hundred pairs, with
    settings of our own; it is kept if held-out pairs say that it is better.
    """
    if ctx.invoked_subcommand is not None:
        return
    from rag_vqa.cli.training import Given, run

    given = Given(out=out, start=start, pairs=pairs, documents=documents, side=side)
    if code := run(ctx.obj, given):
        raise typer.Exit(code)


app.command()(train_mine.mine)
