"""`rag-vqa kb`: documents → knowledge base."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rag_vqa.cli import options
from rag_vqa.cli.run import Run

app = typer.Typer(no_args_is_help=True, help="Documents → knowledge base.")


@app.callback()
def _kb() -> None:
    """Documents → knowledge base."""


@app.command()
def build(
    ctx: typer.Context,
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="JSONL, plain or .gz.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="KB", help="Where to put it.")],
    images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the pictures.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first document that is refused.")
    ] = False,
    retriever: options.Retriever = None,
    device: options.Device = None,
    batch_size: options.BatchSize = None,
    yes: options.Yes = False,
) -> None:
    """Encode documents into a knowledge base. Interrupted, the same command goes on."""
    from rag_vqa.cli.building import Build, check_output
    from rag_vqa.cli.models import check_models, load_encoder, retriever_to_build

    run: Run = ctx.obj
    settings = run.settings(
        retriever__model=retriever, retriever__device=device, retriever__batch_size=batch_size
    )
    options.existing(source, "file of documents", "Give a JSONL file.")
    if images is not None:
        options.folder(images, "--images")
    check_output(out)
    wanted = retriever_to_build(run, settings, out)
    job = Build(run, source, out, images, strict)
    job.survey()
    check_models([wanted], settings, yes)
    raise typer.Exit(job.encode(load_encoder(settings, *wanted), settings.retriever.batch_size))
