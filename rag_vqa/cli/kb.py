"""`rag-vqa kb build`, `add` and `sync`: from documents to a knowledge base.

Knows flags, exit codes and what is printed. Does not know what a build does (jobs/build.py,
sharded_build.py, sync.py).
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rag_vqa.cli import kb_maintenance, kb_show, options
from rag_vqa.cli.context import CommandContext
from rag_vqa.cli.output import print_json
from rag_vqa.errors import EXIT_FAILED, EXIT_PARTIAL, UsageError
from rag_vqa.jobs.document_source import (
    MISSING_IMAGES_FILE,
    REJECTS_FILE,
    Shard,
    SourceOptions,
)
from rag_vqa.jobs.signals import raise_on_signals

if TYPE_CHECKING:
    from rag_vqa.jobs.build import BuildReport

app = typer.Typer(no_args_is_help=True, help="Build and maintain knowledge bases.")

Out = Annotated[Path, typer.Option("--out", "-o", metavar="KB", help="The knowledge base.")]


@app.callback()
def _kb() -> None:
    """Build and maintain knowledge bases."""


@app.command()
@options.with_settings("retriever", "show", options.ENCODING)
@options.with_source
def build(
    ctx: typer.Context,
    source: SourceOptions,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="KB", help="Folder to build it in.")],
    split: Annotated[
        str | None, typer.Option(metavar="window|none", help="How to divide long texts.")
    ] = None,
    codes_only: Annotated[
        bool,
        typer.Option(
            "--codes-only", help="Keep only int8 codes: a third of the tokens' disk space."
        ),
    ] = False,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Build only this shard; see kb merge.")
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Show how the first documents would be read; build nothing."
        ),
    ] = False,
    devices: Annotated[
        str | None,
        typer.Option(metavar="all|LIST", help="Build one shard on each: all, or cuda:0,cuda:1."),
    ] = None,
    engine: Annotated[
        str, typer.Option(metavar="local|ray", help="ray: build on the cluster of RAY_ADDRESS.")
    ] = "local",
    yes: options.Yes = False,
) -> None:
    """Encode documents into a knowledge base. The same command continues a build that stopped."""
    from rag_vqa.jobs.build import BuildOptions, build_knowledge_base

    context: CommandContext = ctx.obj
    settings = options.settings_from_options(ctx)
    _check_build_flags(engine, devices, shard, dry_run)
    keep_tokens = False if codes_only else None
    asked = BuildOptions(source, out, split, keep_tokens, Shard.parse(shard), yes)
    with _job_signals(context):
        if dry_run:
            from rag_vqa.jobs.build_preview import preview_build

            lines = preview_build(asked, settings, context, shutil.get_terminal_size().columns - 1)
            print_json({"preview": lines}) if context.json else print("\n".join(lines))
            return
        if engine == "ray":
            from rag_vqa.jobs.ray_cluster import build_on_cluster

            report = build_on_cluster(asked, settings, context)
        elif devices is not None:
            from rag_vqa.devices import parse_devices
            from rag_vqa.jobs.sharded_build import build_on_devices

            report = build_on_devices(asked, parse_devices(devices), settings, context)
        else:
            report = build_knowledge_base(asked, settings, context)
    _print_build(context, report, is_shard=asked.shard.count > 1)


@app.command()
@options.with_settings("show", options.ENCODING)
@options.with_source
def add(ctx: typer.Context, source: SourceOptions, out: Out, yes: options.Yes = False) -> None:
    """Add documents to a knowledge base that exists. Equal documents cost nothing."""
    from rag_vqa.jobs.build import AddOptions, add_documents

    context: CommandContext = ctx.obj
    settings = options.settings_from_options(ctx)
    with _job_signals(context):
        report = add_documents(AddOptions(source, out, yes), settings, context)
    _print_build(context, report)


@app.command()
@options.with_settings("show", options.ENCODING)
@options.with_source
def sync(
    ctx: typer.Context,
    source: SourceOptions,
    out: Out,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Report what would change, and change nothing.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Delete even more than 5% of the documents.")
    ] = False,
    yes: options.Yes = False,
) -> None:
    """Make a knowledge base hold what SOURCE holds: encode what changed, delete what vanished."""
    from rag_vqa.jobs.sync import SyncOptions, sync_knowledge_base

    context: CommandContext = ctx.obj
    settings = options.settings_from_options(ctx)
    with _job_signals(context):
        asked = SyncOptions(source, out, dry_run, force, yes)
        found = asdict(sync_knowledge_base(asked, settings, context))
    names = ("added", "changed", "renamed", "deleted", "unchanged", "refused")
    counts = {name: found[name] for name in names if found[name] or name != "renamed"}
    if context.json:
        print_json(found)
    else:
        _note_counts(context, out, found["documents"], counts, lists_refused=not dry_run)
    _note_pictures(context, out, found["images"], found["missing_images"])
    if found["refused"]:
        kept = found["added"] or found["changed"] or found["unchanged"]
        raise typer.Exit(EXIT_PARTIAL if kept else EXIT_FAILED)


@contextmanager
def _job_signals(context: CommandContext) -> Iterator[None]:
    """While a job runs, signals stop it after its last commit; --quiet hides warnings."""
    with warnings.catch_warnings(), raise_on_signals():
        if context.quiet:
            warnings.simplefilter("ignore")
        yield


def _check_build_flags(engine: str, devices: str | None, shard: str | None, dry_run: bool) -> None:
    """Raise UsageError for flags that do not go together."""
    if engine not in ("local", "ray"):
        raise UsageError(f"--engine {engine}: give local or ray.")
    flags = {"--devices": devices, "--engine ray": engine == "ray", "--shard": shard}
    given = [name for name, value in flags.items() if value]
    if len(given) > 1 or (dry_run and (devices or engine == "ray")):
        both = " and ".join([*given, *["--dry-run"] * dry_run][:2])
        raise UsageError(f"{both} do not go together: leave out one of them.")


def _print_build(context: CommandContext, report: BuildReport, is_shard: bool = False) -> None:
    """Print what was built and what to do next. Exits with 1 if every document was refused."""
    out = report.path
    names = ("added", "replaced", "unchanged", "refused")
    counts = {name: getattr(report, name) for name in names}
    if context.json:
        more = ("documents", "images", "missing_images", "without_images")
        print_json({"path": str(out), **counts, **{name: getattr(report, name) for name in more}})
    else:
        _note_counts(context, out, report.documents, counts)
    _note_pictures(context, out, report.images, report.missing_images)
    # A shard may consist of refused documents alone; merging shows what the build keeps.
    if not (is_shard or report.has_kept_any):
        context.note(
            f"Every document was refused. Correct what {out / REJECTS_FILE} lists, then: "
            f"rag-vqa kb add SOURCE --out {out}"
        )
        raise typer.Exit(EXIT_FAILED)
    if not context.json:
        context.note(f'Ask it: rag-vqa ask {out} "…" --image FILE')
    if report.refused:
        raise typer.Exit(EXIT_PARTIAL)


def _note_pictures(context: CommandContext, out: Path, kept: int, unusable: int) -> None:
    """What became of the pictures, if not all of them could be used."""
    if unusable:
        context.note(
            f"pictures: {kept:,} kept · {unusable:,} unusable, whose documents were kept without "
            f"them if they have a text → {out / MISSING_IMAGES_FILE}"
        )


def _note_counts(
    context: CommandContext,
    out: Path,
    documents: int,
    counts: Mapping[str, Any],
    lists_refused: bool = True,
) -> None:
    changes = " · ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    refused = f" → {out / REJECTS_FILE}" if lists_refused and counts["refused"] else ""
    context.note(f"{out}: {documents:,} documents ({changes or 'nothing new'}{refused})")


app.command()(kb_maintenance.delete)
app.command(name="list")(kb_maintenance.list_)
app.command()(kb_show.show)
app.command()(kb_maintenance.stats)
app.command()(kb_maintenance.verify)
app.command()(kb_maintenance.compact)
app.command()(kb_maintenance.snapshot)
app.command()(kb_maintenance.merge)
