"""`rag-vqa train` and `train mine`: train a retriever, tune its query encoder, mine negatives.

Knows flags and what is printed at the end. Does not know how anything is trained.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rag_vqa.cli import options

app = typer.Typer(help="Train a retriever, or tune its query side.")


@options.with_settings("instruction", "retriever", "device", "index")
def mine(
    ctx: typer.Context,
    path: options.KnowledgeBasePath,
    questions: Annotated[
        Path, typer.Option(metavar="PATH", help="Rows to train on: a file or a folder.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="One line a row.")],
    format: Annotated[
        str, typer.Option(metavar="NAME", help="pairs, m2kr, mbeir, infoseek or evqa.")
    ] = "pairs",
    split: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of a folder; train by default.")
    ] = None,
    task: Annotated[str | None, typer.Option(metavar="NAME", help="Of m2kr and mbeir.")] = None,
    images: Annotated[Path | None, typer.Option(metavar="DIR", help="The rows' pictures.")] = None,
    count: Annotated[
        int, typer.Option("-k", metavar="N", min=1, help="Negatives of each row.")
    ] = 50,
    skip: Annotated[
        int, typer.Option("--skip-top", metavar="N", min=0, help="Leave out the N best of them.")
    ] = 0,
    answers: Annotated[
        bool, typer.Option("--answers", help="What holds an answer's text counts as right too.")
    ] = False,
    yes: options.Yes = False,
) -> None:
    """Find the documents that look right for a row and are not: negatives to train on.

    Stopped, the same command goes on from there.
    """
    from rag_vqa.jobs.mine import MineOptions
    from rag_vqa.jobs.mine import mine as mine_job

    asked = MineOptions(
        path, questions, out, format, split, task, images, count, skip, answers, yes
    )
    code = mine_job(ctx.obj, options.settings_from_options(ctx), asked)
    if code:
        raise typer.Exit(code)


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
    from rag_vqa.jobs.train import TrainOptions, run

    given = TrainOptions(out=out, start=start, pairs=pairs, documents=documents, side=side)
    if code := run(ctx.obj, given):
        raise typer.Exit(code)


app.command()(mine)
