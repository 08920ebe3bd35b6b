"""`rag-vqa train mine`: hard negatives out of a knowledge base."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rag_vqa.cli import options


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
    instruction: options.Instruction = None,
    retriever: options.Retriever = None,
    device: options.Device = None,
    index: options.Index = None,
    yes: options.Yes = False,
) -> None:
    """Find the documents that look right for a row and are not: negatives to train on.

    Stopped, the same command goes on from there.
    """
    from rag_vqa.cli.mining import Mining, mine

    asked = Mining(path, questions, out, format, split, task, images, count, skip, answers, yes)
    code = mine(ctx.obj, options.settings_of(ctx), asked)
    if code:
        raise typer.Exit(code)
