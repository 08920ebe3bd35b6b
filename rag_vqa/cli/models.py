"""`rag-vqa models`: download models, list them, find them, delete them, check them.

Knows flags and what is printed. Does not know the hub (hub/), nor what a model is for (jobs/).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from rag_vqa.checkpoints import CHECKPOINTS, embedded_model
from rag_vqa.cli import options
from rag_vqa.cli.context import CommandContext
from rag_vqa.cli.doctor import print_findings
from rag_vqa.cli.output import print_json
from rag_vqa.errors import EXIT_DONE, EXIT_FAILED, UsageError
from rag_vqa.formatting import format_bytes, format_table, one_line

if TYPE_CHECKING:
    from rag_vqa.jobs.download_consent import PulledModel
    from rag_vqa.jobs.model_inventory import ModelOnDisk

app = typer.Typer(
    no_args_is_help=True, help="Download models, list them, find them, delete them, check them."
)
Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="PRESET|MODEL…", help="A preset, a hub id, or MODEL@REVISION."),
]


@app.callback()
def _models() -> None:
    """Download models, list them, find them, delete them, check them."""


@app.command()
def pull(
    ctx: typer.Context,
    names: Names = None,
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="DIR", help="Copy them to DIR for a machine without network."),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="DIR", help="Take them from DIR, which --to wrote."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print sizes and licences; download nothing.")
    ] = False,
    yes: options.Yes = False,
) -> None:
    """Download presets and models, all of their files, after one question.

    A download that was cut goes on where it stopped: run the same command again.
    HF_HOME is the folder of models, HF_ENDPOINT a mirror, HF_TOKEN or `hf auth
    login` a token, HTTPS_PROXY a proxy. MODEL@REVISION pins a commit or a tag.
    Without network: `--to DIR` where there is one, `--from DIR` on the other machine.
    """
    from rag_vqa.jobs import download_consent

    context: CommandContext = ctx.obj
    settings = context.settings()
    names = names or []
    if source is not None:
        if to is not None or dry_run:
            raise UsageError("--from copies into the cache. Leave out --to and --dry-run.")
        pulled = download_consent.read_models(names, source, context)
    elif dry_run:
        _print_plan(context, names)
        return
    elif to is not None:
        pulled = download_consent.write_models(
            names, to, context, offline=settings.offline, yes=yes
        )
        context.note(f"On the other machine: rag-vqa models pull --from {one_line(str(to))}")
    else:
        pulled = download_consent.pull_models(names, context, offline=settings.offline, yes=yes)
    _print_pulled(context, pulled)


def _print_plan(context: CommandContext, names: Sequence[str]) -> None:
    from rag_vqa.hub.model_cache import cache_folder
    from rag_vqa.jobs import download_consent

    planned = download_consent.plan_downloads(download_consent.resolve_names(names))
    place = cache_folder()
    free = download_consent.free_bytes(place)
    total = sum(each.missing for each in planned)
    if context.json:
        print_json({
            "models": [
                {
                    "model": each.model, "commit": each.repository.commit, "size": each.size,
                    "missing": each.missing, "gated": each.repository.gated,
                    "licence": download_consent.licence_of(each.repository),
                    "files": [asdict(file) for file in each.files],
                }
                for each in planned
            ],
            "missing": total, "folder": place, "free": free,
        })  # fmt: skip
        return
    for line in download_consent.describe_plan(planned):
        print(line)
    print(
        f"Together {format_bytes(total)}, into {one_line(str(place))} ({format_bytes(free)} free)"
    )
    if total:
        context.note(f"Next:  rag-vqa models pull {' '.join(names)}")


def _print_pulled(context: CommandContext, pulled: Sequence[PulledModel]) -> None:
    if context.json:
        print_json([asdict(each) for each in pulled])
        return
    if not pulled:
        print("The embedded models are part of the package: nothing to download.")
        return
    print(
        format_table(
            [
                {
                    "model": one_line(each.model),
                    "commit": each.commit[:12],
                    "size": format_bytes(each.size),
                    "downloaded": format_bytes(each.downloaded) if each.downloaded else "-",
                }
                for each in pulled
            ]
        )
    )


@app.command("list")
def list_command(ctx: typer.Context) -> None:
    """List the models in the hub's cache, whether they are complete, and which presets can run."""
    from rag_vqa.hub.model_cache import cache_folder
    from rag_vqa.jobs.model_inventory import list_models, preset_states
    from rag_vqa.presets import PRESETS

    context: CommandContext = ctx.obj
    context.settings()
    models, presets = list_models(), preset_states()
    if context.json:
        print_json({"folder": cache_folder(), "models": [asdict(each) for each in models],
                    "presets": presets})  # fmt: skip
        return
    rows = [_model_row(each) for each in models]
    rows += [_embedded_row(role) for role in ("retriever", "reader")]
    print(format_table(rows))
    print()
    print("preset demo: in the package")
    for name, missing in presets.items():
        count = f"{len(missing)} of {len(PRESETS[name].models)} models missing"
        state = f"{count}: rag-vqa models pull {name}" if missing else "complete"
        print(f"preset {name}: {state}")
    whole = sum({each.model: each.size for each in models}.values())
    context.note(f"{format_bytes(whole)} in {one_line(str(cache_folder()))}")
    if any(each.state == "unfinished" for each in models):
        context.note("To go on with an unfinished download: rag-vqa models pull MODEL")


def _model_row(found: ModelOnDisk) -> dict[str, str]:
    known = CHECKPOINTS.get(found.model)
    wants_no_weights = known is not None and not known.parameters
    states = {
        "complete": "complete",
        "processor": "complete" if wants_no_weights else "no weights",
        "unfinished": "unfinished",
        "partial": "no weights",
    }
    return {
        "model": one_line(found.model),
        "commit": found.commit[:8] or "-",
        "kind": one_line(found.kind) or "-",
        "size": format_bytes(found.size),
        "last used": found.last_used or "-",
        "state": states[found.state],
    }


def _embedded_row(role: Literal["retriever", "reader"]) -> dict[str, str]:
    files = [path for path in embedded_model(role).iterdir() if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    return {"model": f"demo ({role})", "commit": "-", "kind": "embedded",
            "size": format_bytes(size), "last used": "-", "state": "in the package"}  # fmt: skip


@app.command()
def path(
    ctx: typer.Context,
    name: Annotated[
        str, typer.Argument(metavar="MODEL", help="A hub id, MODEL@REVISION, or a preset.")
    ],
) -> None:
    """Print the folder of a model, for scripts; of a preset, one folder a line."""
    from rag_vqa.jobs.model_inventory import find_model_folders

    context: CommandContext = ctx.obj
    context.settings()
    folders = find_model_folders(name)
    if context.json:
        print_json(folders)
        return
    for folder in folders:
        print(folder)


@app.command()
def rm(
    ctx: typer.Context,
    names: Annotated[
        list[str], typer.Argument(metavar="PRESET|MODEL…", help="A preset or a hub id.")
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete without asking.")] = False,
) -> None:
    """Delete models from the hub's cache, after a question; folders of yours are never touched."""
    from rag_vqa.jobs.model_inventory import remove_models

    context: CommandContext = ctx.obj
    context.settings()
    removed = remove_models(names, context, yes=yes)
    if context.json:
        print_json(removed)
        return
    for model, size in removed.items():
        print(f"deleted {one_line(model)}, {format_bytes(size)}")


@app.command()
def check(
    ctx: typer.Context,
    name: Annotated[
        str, typer.Argument(metavar="MODEL|DIR", help="A hub id, MODEL@REVISION, DIR, or a preset.")
    ],
) -> None:
    """Say whether this version can read a model, from its small files and its weights' headers.

    Downloads kilobytes, not the weights. The exit code is 1 if the model cannot be read.
    """
    from rag_vqa.jobs.model_check import check_models

    context: CommandContext = ctx.obj
    settings = context.settings()
    checks = check_models(name, context, offline=settings.offline)
    if context.json:
        print_json([{**asdict(each), "good": each.good} for each in checks])
    else:
        for each in checks:
            print(f"{one_line(each.model)} · {each.role} · {format_bytes(each.size)}")
            print_findings(each.findings, False)
            use = f"--{each.role} {one_line(each.model)}"
            print(f"It can be read: {use}" if each.good else "It cannot be read by this version.")
    raise typer.Exit(EXIT_DONE if all(each.good for each in checks) else EXIT_FAILED)
