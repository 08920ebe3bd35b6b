"""`rag-vqa kb build`, `add` and `sync`: from documents to a knowledge base.

Knows flags and exit codes. Does not know what a build does (jobs/build.py, sharded_build.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rag_vqa.cli import kb_maintenance, options
from rag_vqa.cli.context import CommandContext
from rag_vqa.jobs.document_source import Shard, SourceOptions
from rag_vqa.jobs.signals import raise_on_signals

app = typer.Typer(no_args_is_help=True, help="Documents → knowledge base, and its care.")

Out = Annotated[Path, typer.Option("--out", "-o", metavar="KB", help="The knowledge base.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]


@app.callback()
def _kb() -> None:
    """Documents → knowledge base, and its care."""


@app.command()
@options.with_settings("retriever", options.ENCODING)
@options.with_source
def build(
    ctx: typer.Context,
    source: SourceOptions,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="KB", help="Where to put it.")],
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
    devices: Annotated[
        str | None, typer.Option(metavar="all|LIST", help="One process each: cuda:0,cuda:1 …")
    ] = None,
    engine: Annotated[
        str, typer.Option(metavar="local|ray", help="ray: on a cluster, see RAY_ADDRESS.")
    ] = "local",
    yes: options.Yes = False,
) -> None:
    """Encode documents into a knowledge base. Interrupted, the same command goes on."""
    from rag_vqa.jobs import build as jobs_build
    from rag_vqa.jobs.models import check_models, choose_retriever, load_encoder
    from rag_vqa.retriever.compatibility import resolve_splitting
    from rag_vqa.retriever.knowledge_base import KnowledgeBase

    run: CommandContext = ctx.obj
    settings = options.settings_from_options(ctx)
    if split is not None:
        resolve_splitting(split)
    jobs_build.check_output_folder(out)
    split_up = jobs_build.is_sharded_build(engine, devices, shard, dry_run)
    job = jobs_build.BuildJob(run, source, out, Shard.parse(shard))
    job.open()
    kept = False if codes_only else None
    wanted, built_with = choose_retriever(settings, out, run, split=split, keep_tokens=kept)
    with raise_on_signals():
        job.survey(dry_run)
        check_models([wanted], settings, run, yes=yes, built_with=built_with)
        if split_up:
            raise typer.Exit(job.in_parts(settings, wanted, split, kept, devices))
        encoder = load_encoder(settings, *wanted, built_with)
        if dry_run:
            return job.preview(encoder, split or "window")
        job.plan(encoder, split or "window", not codes_only)
        with KnowledgeBase.create(out, encoder, exist_ok=True, split=split, keep_tokens=kept) as kb:
            raise typer.Exit(job.add(kb, settings))


@app.command()
@options.with_settings(options.ENCODING)
@options.with_source
def add(
    ctx: typer.Context,
    source: SourceOptions,
    out: Out,
    yes: options.Yes = False,
) -> None:
    """Add documents to a knowledge base that is there; equal ones cost nothing."""
    from rag_vqa.jobs.build import BuildJob
    from rag_vqa.jobs.models import open_for_writing

    run: CommandContext = ctx.obj
    settings = options.settings_from_options(ctx)
    job = BuildJob(run, source, out)
    job.open()
    with raise_on_signals(), open_for_writing(settings, out, run, yes=yes) as kb:
        job.survey()
        raise typer.Exit(job.add(kb, settings))


@app.command()
@options.with_settings(options.ENCODING)
@options.with_source
def sync(
    ctx: typer.Context,
    source: SourceOptions,
    out: Out,
    dry_run: DryRun = False,
    force: Annotated[
        bool, typer.Option("--force", help="Delete even over 5% of the documents.")
    ] = False,
    yes: options.Yes = False,
) -> None:
    """Make a knowledge base say what SOURCE says: encode what changed, delete what vanished."""
    from rag_vqa.jobs.build import BuildJob
    from rag_vqa.jobs.models import open_for_writing

    run: CommandContext = ctx.obj
    settings = options.settings_from_options(ctx)
    job = BuildJob(run, source, out)
    job.open()
    with raise_on_signals(), open_for_writing(settings, out, run, yes=yes) as kb:
        job.survey(dry_run)
        raise typer.Exit(job.sync(kb, settings, dry_run, force))


app.command()(kb_maintenance.delete)
app.command(name="list")(kb_maintenance.list_)
app.command()(kb_maintenance.show)
app.command()(kb_maintenance.stats)
app.command()(kb_maintenance.verify)
app.command()(kb_maintenance.compact)
app.command()(kb_maintenance.snapshot)
app.command()(kb_maintenance.merge)
