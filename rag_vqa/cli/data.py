"""`rag-vqa data`: check the questions and pictures of a benchmark before a run uses them.

Knows flags, exit codes and what is printed. Does not know the files of benchmarks (formats/).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rag_vqa.cli.context import CommandContext
from rag_vqa.cli.output import print_json
from rag_vqa.errors import BadInput, Missing, UsageError
from rag_vqa.formatting import one_line

if TYPE_CHECKING:
    from rag_vqa.formats.question_set import CheckedQuestions

app = typer.Typer(no_args_is_help=True, help="Check the questions of benchmarks, and your own.")
_SHOWN_NAMES = 5  # names of missing pictures; all are in the manifest
_POLICIES = ("fail", "skip", "text-only")


@app.callback()
def _data() -> None:
    """Check the questions of benchmarks, and your own."""


@app.command()
def check(
    ctx: typer.Context,
    benchmark: Annotated[
        str, typer.Argument(metavar="BENCHMARK", help="infoseek, evqa, m2kr, mbeir or own.")
    ],
    path: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder of its files, or your own JSONL file.")
    ],
    images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the photos.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="val, test …")] = None,
    task: Annotated[
        str | None, typer.Option(help="Task of m2kr or mbeir: oven, oven_task8 …")
    ] = None,
    missing: Annotated[
        str,
        typer.Option(
            metavar="|".join(_POLICIES), help="What to do with questions whose photo is missing."
        ),
    ] = "fail",
) -> None:
    """Check which files and photos of a benchmark are there, and record it for runs.

    Exits with 3 if a photo is missing and --missing is fail, with 1 if a row is refused.
    """
    from rag_vqa.cli.progress import progress
    from rag_vqa.formats import question_set
    from rag_vqa.jobs import document_source

    context: CommandContext = ctx.obj
    if missing not in _POLICIES:
        raise UsageError(f"--missing {missing}: give {', '.join(_POLICIES)}.")
    if images is not None:
        document_source.require_folder(images, "--images")
    with progress("look through the questions", None, quiet=context.quiet) as advance:
        found = question_set.check_questions(
            benchmark, path, split=split, images=images,
            missing=missing,  # type: ignore[arg-type] # checked above
            task=task, on_progress=advance,
        )  # fmt: skip
    _print_check(context, found)
    if found.refused:
        raise BadInput(
            f"{len(found.refused):,} rows are refused, so a run would refuse the file. "
            "Correct or remove them."
        )
    if found.found.missing and missing == "fail":
        raise Missing(
            f"{len(found.found.missing):,} photos are missing. Get them, or continue without: "
            "--missing text-only asks such questions without their photo, skip leaves them out."
        )


@app.command()
def demo(
    ctx: typer.Context,
    format: Annotated[
        str, typer.Argument(metavar="infoseek|evqa|own", help="Format of the files.")
    ],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")],
) -> None:
    """Write the demo's flag world as a benchmark's files: questions, photos, documents."""
    from rag_vqa.demo.benchmark_export import export_benchmark

    context: CommandContext = ctx.obj
    counts = export_benchmark(format, folder)  # type: ignore[arg-type] # checked there
    if context.json:
        print_json({"folder": folder, "questions": counts})
        return
    print(f"{folder}: {', '.join(f'{n:,} questions of {half}' for half, n in counts.items())}")
    context.note(f"Next:  rag-vqa data check {format} {folder} --split test")


def _print_check(context: CommandContext, checked: CheckedQuestions) -> None:
    found = checked.found
    if context.json:
        shown = found.model_dump(exclude={"names"})
        print_json({"name": checked.name, "split": checked.split, **shown,
                    "causes": list(checked.causes), "remarks": dict(checked.remarks),
                    "refused": list(checked.refused), "manifest": checked.path})  # fmt: skip
        return
    lost = found.questions - found.with_picture - found.without_picture
    bare = f" · {found.without_picture:,} without a photo" if found.without_picture else ""
    print(f"{checked.name} {checked.split}: {found.questions:,} questions · "
          f"{found.with_picture:,} with photo{bare} · {lost:,} whose photo is missing")  # fmt: skip
    for remark, count in sorted(checked.remarks.items()):
        print(f"note: {count:,} rows are {remark}")
    for reason in checked.refused[:_SHOWN_NAMES]:
        print(f"refused: {one_line(reason)}")
    if len(checked.refused) > _SHOWN_NAMES:
        print(f"and {len(checked.refused) - _SHOWN_NAMES:,} more, all listed by --json")
    for name in found.missing[:_SHOWN_NAMES]:
        print(f"missing: {one_line(str(Path(found.images) / name))}")
    if len(found.missing) > _SHOWN_NAMES:
        print(f"and {len(found.missing) - _SHOWN_NAMES:,} more, all named in {checked.path}")
    for cause in checked.causes:
        print(f"likely: {one_line(cause)}")
    context.note(f"recorded for runs: {checked.path}")
