"""`rag-vqa train` and `train mine`: train a retriever, tune its query encoder, mine negatives.

Knows flags and what is printed at the end. Does not know how anything is trained.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rag_vqa.cli import options
from rag_vqa.cli.context import CommandContext
from rag_vqa.cli.output import print_json
from rag_vqa.errors import EXIT_PARTIAL, UsageError
from rag_vqa.formatting import format_table

if TYPE_CHECKING:
    from rag_vqa.jobs.train import TrainingReport
    from rag_vqa.jobs.tune import RecallChange, TuningReport

app = typer.Typer(help="Train a retriever, or tune its query encoder.")


@app.callback(invoke_without_command=True)
def train(
    ctx: typer.Context,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="Output folder; resumes training in it."),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option("--from", metavar="MODEL", help="ReT model: a folder, a hub id, or demo."),
    ] = None,
    pairs: Annotated[
        Path | None, typer.Option(metavar="JSONL", help="Questions with their documents.")
    ] = None,
    documents: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Documents that the pairs name by id.")
    ] = None,
    side: Annotated[
        str | None,
        typer.Option(metavar="query|both", help="query: knowledge bases stay valid."),
    ] = None,
) -> None:
    """Train by the settings of --config FILE; the same command resumes.

    With --from, --pairs and --side query: tune the query encoder on a few hundred pairs, with
    built-in settings. The result is kept if held-out pairs show that it is better.
    """
    from rag_vqa.jobs.signals import defer_signals

    if ctx.invoked_subcommand is not None:
        return
    context: CommandContext = ctx.obj
    # Other processes of a launcher say nothing.
    quiet = context.quiet or os.environ.get("RANK", "0") != "0"
    with defer_signals(quiet) as stop_requested:
        if pairs is not None:
            _tune(context, start, pairs, documents, side, out, stop_requested)
        elif documents is not None:
            raise UsageError("--documents belongs to --pairs; in a file: data.train, documents.")
        else:
            _train(context, out, start, side, stop_requested)


def _train(
    context: CommandContext, out: Path | None, start: str | None, side: str | None, stop: Any
) -> None:
    from rag_vqa.jobs.train import TrainingOptions, run_training

    if context.flags.get("preset"):
        raise UsageError("train has no presets: name a checkpoint with --from, or in the file.")
    # For --offline. The file holds other settings: those of a training.
    replace(context, file=None, assignments=()).settings()
    training = TrainingOptions(
        file=context.file,
        assignments=context.assignments,
        out=out,
        start=start,
        side=side,
        seed=context.flags.get("seed"),
        sources={"flags": _flag_pairs},
    )
    report = run_training(training, context, stop)
    if report.stopped:
        _end_stopped(context, report)
    if report.is_main:
        _print_training(context, report)


def _flag_pairs(settings: Any) -> Any:
    from rag_vqa.demo.training.flag_pairs import flag_source

    return flag_source(settings)


def _tune(
    context: CommandContext,
    start: str | None,
    pairs: Path,
    documents: Path | None,
    side: str | None,
    out: Path | None,
    stop: Any,
) -> None:
    from rag_vqa.jobs.tune import TuningOptions, run_query_tuning

    if start is None or out is None or side != "query":
        raise UsageError(
            "--pairs tunes only the query encoder: add --from MODEL --side query --out DIR. To "
            "train both sides on pairs, name them in a file: --config train.yaml"
        )
    if context.file is not None or context.assignments or context.flags.get("preset"):
        raise UsageError("--pairs has built-in settings: leave out --config, --set and --preset.")
    context.settings()  # for --offline, before anything uses the network
    seed = context.flags.get("seed") or 0
    tuning = TuningOptions(start=start, pairs=pairs, out=out, documents=documents, seed=seed)
    report = run_query_tuning(tuning, context, stop)
    if report.stopped:
        _end_stopped(context, report)
    if report.is_main:
        _print_tuning(context, start, report)


def _end_stopped(context: CommandContext, report: TrainingReport | TuningReport) -> None:
    if report.is_main:
        context.note(f"Stopped after {report.steps:,} steps, saved. The same command goes on.")
    raise typer.Exit(EXIT_PARTIAL)


def _print_training(context: CommandContext, report: TrainingReport) -> None:
    folder, best = report.folder, report.best
    if context.json:
        print_json({"out": str(folder), "steps": report.steps, "best": dict(best)})
    elif best:
        figures = ", ".join(f"{name} {value:.4f}" for name, value in best.items() if name != "step")
        print(f"Best at step {best['step']:,.0f} ({figures}): {folder}")
    else:
        print(f"{report.steps:,} steps: {folder}")


def _print_tuning(context: CommandContext, start: str, report: TuningReport) -> None:
    best = report.best
    if context.json:
        recall = [change.as_json() for change in report.changes]
        print_json({"kept": str(best or start), "gain": best is not None, "recall": recall})
        return
    print(format_table([_recall_row(change) for change in report.changes]))
    if best is None:
        print(f"No gain that {report.changes[0].pairs} held-out pairs can show: keep {start}.")
    else:
        print(f"Tuned: {best}. Knowledge bases stay valid: --retriever {best}")


def _recall_row(change: RecallChange) -> dict[str, str]:
    return {
        "recall": f"@{change.k}",
        "before": f"{change.before:.3f}",
        "after": f"{change.after:.3f}",
        "difference, 95%": f"{change.low:+.3f} … {change.high:+.3f}",
        "n": str(change.pairs),
        "among": f"{change.passages:,} passages",
    }


@app.command()
@options.with_settings("instruction", "retriever", "device", "index")
def mine(
    ctx: typer.Context,
    path: options.KnowledgeBasePath,
    questions: Annotated[
        Path, typer.Option(metavar="PATH", help="Rows to train on: a file or a folder.")
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="FILE", help="Output file, one line a row."),
    ],
    format: Annotated[
        str,
        typer.Option(metavar="NAME", help="Row format: pairs, m2kr, mbeir, infoseek or evqa."),
    ] = "pairs",
    split: Annotated[
        str | None, typer.Option(metavar="NAME", help="Split of a folder. [default: train]")
    ] = None,
    task: Annotated[str | None, typer.Option(metavar="NAME", help="Task of m2kr or mbeir.")] = None,
    images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the rows' pictures.")
    ] = None,
    count: Annotated[
        int, typer.Option("-k", metavar="N", min=1, help="Number of negatives for each row.")
    ] = 50,
    skip: Annotated[
        int,
        typer.Option(
            "--skip-top", metavar="N", min=0, help="Leave out the N nearest wrong documents."
        ),
    ] = 0,
    answers: Annotated[
        bool,
        typer.Option("--answers", help="Treat documents that contain an answer's text as right."),
    ] = False,
    yes: options.Yes = False,
) -> None:
    """Find hard negatives: documents that look right for a row and are not.

    If it is stopped, the same command resumes.
    """
    from rag_vqa.jobs.mine import MiningOptions, run_mining
    from rag_vqa.jobs.signals import raise_on_signals

    context: CommandContext = ctx.obj
    mining = MiningOptions(
        kb=path,
        questions=questions,
        out=out,
        format=format,
        split=split,
        task=task,
        images=images,
        count=count,
        skip=skip,
        answers=answers,
        yes=yes,
    )
    with raise_on_signals():
        report = run_mining(mining, options.settings_from_options(ctx), context)
    if report.fewer:
        context.note(
            f"{report.fewer:,} rows have fewer than {count} negatives: no more were found."
        )
    if report.refused:
        context.note(f"{len(report.refused):,} rows left out, the first: {report.refused[0]}")
    context.note(f"{report.rows:,} rows → {out}")
