"""`rag-vqa kb`: knowledge bases, from documents to the disk and back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rag_vqa.cli import kb_change, kb_look, options, sourcing
from rag_vqa.cli.run import Run
from rag_vqa.cli.stopping import stopping

app = typer.Typer(no_args_is_help=True, help="Documents → knowledge base, and its care.")

Out = Annotated[Path, typer.Option("--out", "-o", metavar="KB", help="The knowledge base.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]


@app.callback()
def _kb() -> None:
    """Documents → knowledge base, and its care."""


@app.command()
def build(
    ctx: typer.Context,
    source: sourcing.Path_,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="KB", help="Where to put it.")],
    images: sourcing.Images = None,
    kind: sourcing.Kind = "auto",
    mapping: sourcing.Map = None,
    unit: sourcing.Unit = None,
    subset: sourcing.Subset = None,
    strict: sourcing.Strict = False,
    split: Annotated[
        str | None, typer.Option(metavar="window|none", help="How long texts are cut.")
    ] = None,
    codes_only: Annotated[
        bool, typer.Option("--codes-only", help="Keep int8 codes alone: a third of the disk.")
    ] = False,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Only this part of SOURCE; see kb merge.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the first three documents, build nothing.")
    ] = False,
    retriever: options.Retriever = None,
    device: options.Device = None,
    devices: Annotated[
        str | None, typer.Option(metavar="all|LIST", help="One process each: cuda:0,cuda:1 …")
    ] = None,
    engine: Annotated[
        str, typer.Option(metavar="local|ray", help="ray: on a cluster, see RAY_ADDRESS.")
    ] = "local",
    batch_size: options.BatchSize = None,
    workers: options.Workers = None,
    yes: options.Yes = False,
) -> None:
    """Encode documents into a knowledge base. Interrupted, the same command goes on."""
    from rag_vqa.cli import building
    from rag_vqa.cli.models import check_models, load_encoder, retriever_to_build
    from rag_vqa.retriever.knowledge_base import KnowledgeBase
    from rag_vqa.retriever.matching import splitting_of

    run: Run = ctx.obj
    settings = run.settings(
        retriever__model=retriever,
        retriever__device=device,
        retriever__batch_size=batch_size,
        retriever__workers=workers,
    )
    if split is not None:
        splitting_of(split)
    building.check_output(out)
    given = sourcing.Sourcing(source, images, kind, tuple(mapping or ()), unit, subset, strict)
    split_up = building.in_parts(engine, devices, shard, dry_run)
    job = building.Build(run, given, out, sourcing.Shard.parse(shard))
    job.open()
    kept = False if codes_only else None
    wanted, built_with = retriever_to_build(run, settings, out, split, kept)
    with stopping():
        job.survey(dry_run)
        check_models([wanted], settings, yes, built_with)
        if split_up:
            raise typer.Exit(job.in_parts(settings, wanted, split, kept, devices))
        encoder = load_encoder(settings, *wanted, built_with)
        if dry_run:
            return job.preview(encoder, split or "window")
        job.plan(encoder, split or "window", not codes_only)
        with KnowledgeBase.create(out, encoder, exist_ok=True, split=split, keep_tokens=kept) as kb:
            raise typer.Exit(job.add(kb, settings))


@app.command()
def add(
    ctx: typer.Context,
    source: sourcing.Path_,
    out: Out,
    images: sourcing.Images = None,
    kind: sourcing.Kind = "auto",
    mapping: sourcing.Map = None,
    unit: sourcing.Unit = None,
    subset: sourcing.Subset = None,
    strict: sourcing.Strict = False,
    device: options.Device = None,
    batch_size: options.BatchSize = None,
    workers: options.Workers = None,
    yes: options.Yes = False,
) -> None:
    """Add documents to a knowledge base that is there; equal ones cost nothing."""
    from rag_vqa.cli.building import Build
    from rag_vqa.cli.models import open_to_write

    run: Run = ctx.obj
    settings = run.settings(
        retriever__device=device, retriever__batch_size=batch_size, retriever__workers=workers
    )
    given = sourcing.Sourcing(source, images, kind, tuple(mapping or ()), unit, subset, strict)
    job = Build(run, given, out)
    job.open()
    with stopping(), open_to_write(run, settings, out, yes) as kb:
        job.survey()
        raise typer.Exit(job.add(kb, settings))


@app.command()
def sync(
    ctx: typer.Context,
    source: sourcing.Path_,
    out: Out,
    images: sourcing.Images = None,
    kind: sourcing.Kind = "auto",
    mapping: sourcing.Map = None,
    unit: sourcing.Unit = None,
    subset: sourcing.Subset = None,
    strict: sourcing.Strict = False,
    dry_run: DryRun = False,
    force: Annotated[
        bool, typer.Option("--force", help="Delete even over 5% of the documents.")
    ] = False,
    device: options.Device = None,
    batch_size: options.BatchSize = None,
    workers: options.Workers = None,
    yes: options.Yes = False,
) -> None:
    """Make a knowledge base say what SOURCE says: encode what changed, delete what vanished."""
    from rag_vqa.cli.building import Build
    from rag_vqa.cli.models import open_to_write

    run: Run = ctx.obj
    settings = run.settings(
        retriever__device=device, retriever__batch_size=batch_size, retriever__workers=workers
    )
    given = sourcing.Sourcing(source, images, kind, tuple(mapping or ()), unit, subset, strict)
    job = Build(run, given, out)
    job.open()
    with stopping(), open_to_write(run, settings, out, yes) as kb:
        job.survey(dry_run)
        raise typer.Exit(job.sync(kb, settings, dry_run, force))


app.command()(kb_change.delete)
app.command(name="list")(kb_look.list_)
app.command()(kb_look.show)
app.command()(kb_look.stats)
app.command()(kb_look.verify)
app.command()(kb_change.compact)
app.command()(kb_change.snapshot)
app.command()(kb_change.merge)
