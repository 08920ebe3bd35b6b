"""`rag-vqa eval run`, `merge` and `hits`: make a run, put its shards together, export its hits.

Knows flags and messages. Does not know how questions are answered (`rag_vqa.jobs.evaluate`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rag_vqa.cli import options
from rag_vqa.cli.context import CommandContext
from rag_vqa.cli.eval.report import format_scores
from rag_vqa.cli.output import print_json
from rag_vqa.errors import EXIT_FAILED, EXIT_PARTIAL, UsageError

if TYPE_CHECKING:
    from rag_vqa.jobs.score import RunScores

Out = Annotated[
    Path, typer.Option("--out", "-o", metavar="RUN", help="Output folder; resumes a run in it.")
]


@options.with_settings(options.RETRIEVAL, options.READING)
def run(
    ctx: typer.Context,
    benchmark: Annotated[
        str, typer.Argument(metavar="BENCHMARK", help="infoseek, evqa, m2kr, mbeir, or own.")
    ],
    data: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder of the benchmark; JSONL file of own.")
    ],
    out: Out,
    kb: Annotated[Path | None, typer.Option("--kb", metavar="KB", help="Knowledge base.")] = None,
    conditions: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="Some of none,retrieved,filtered,oracle; or retrieval."),
    ] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option("--grid", metavar="AXIS=LIST", help="k=1,3,5 or prompt=short,mine.jinja"),
    ] = None,
    split: Annotated[
        str | None, typer.Option(metavar="NAME", help="Split of the benchmark.")
    ] = None,
    task: Annotated[str | None, typer.Option(metavar="NAME", help="Task of m2kr or mbeir.")] = None,
    images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the pictures.")
    ] = None,
    missing: Annotated[
        str | None,
        typer.Option(
            metavar="fail|skip|text-only", help="What to do with questions without their picture."
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(metavar="N", help="Run only the first N questions.")
    ] = None,
    shard: Annotated[
        str | None, typer.Option(metavar="i/n", help="Run shard i of n; merge them later.")
    ] = None,
    devices: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="Run one shard on each: all, or cuda:0,cuda:1."),
    ] = None,
    hits: Annotated[
        Path | None,
        typer.Option(metavar="TREC", help="Use the hits of this file instead of searching."),
    ] = None,
    repeat: Annotated[
        int, typer.Option(metavar="N", help="Repeat each answer N times and report what changes.")
    ] = 1,
    plan: Annotated[
        bool, typer.Option("--plan", help="Answer a few questions and estimate the time for all.")
    ] = False,
    minimum: Annotated[
        list[str] | None,
        typer.Option(
            "--min", metavar="NAME=SHARE", help="Exit with 1 if a score is lower: accuracy=.8."
        ),
    ] = None,
    bem: Annotated[
        str | None, typer.Option(metavar="MODEL", help="evqa: BERT answer equivalence.")
    ] = None,
    where: options.Where = None,
    yes: options.Yes = False,
) -> None:
    """Answer all questions, score the answers, find out why the wrong ones are wrong. Resumable.

    Each run compares conditions: none (no documents), retrieved (the first k), filtered (those
    that --filter keeps), oracle (the documents that hold the answer).
    """
    from rag_vqa.jobs.evaluate import EvaluationOptions, run_evaluation
    from rag_vqa.jobs.signals import raise_on_signals

    context: CommandContext = ctx.obj
    evaluation = EvaluationOptions(
        benchmark=benchmark,
        data=data,
        out=out,
        kb=kb,
        conditions=conditions,
        grid=tuple(grid or ()),
        split=split,
        task=task,
        images=images,
        missing=missing,
        limit=limit,
        shard=shard,
        devices=devices,
        hits=hits,
        repeat=repeat,
        plan=plan,
        minimum=tuple(minimum or ()),
        bem=bem,
        where=options.parse_where(where),
        yes=yes,
    )
    with raise_on_signals():
        report = run_evaluation(evaluation, options.settings_from_options(ctx), context)
    if report.scores is not None:
        _print_scores(context, report.scores)
    elif report.failed:
        context.note(f"{report.failed:,} rows failed. The same command tries them again.")
        raise typer.Exit(EXIT_PARTIAL)


def _print_scores(context: CommandContext, scores: RunScores) -> None:
    """Print tables or JSON, and end with the exit code that the scores ask for."""
    from rag_vqa.eval.results.result_files import FAILURES

    if context.json:
        print_json(scores.results)
    else:
        print(format_scores(scores))
    context.note(f"Report: {scores.page}")
    if scores.failed_rows:
        file = scores.folder / FAILURES
        context.note(
            f"{scores.failed_rows:,} rows failed, see {file}. The same command tries them again."
        )
    for line in scores.below:
        context.warn(line)
    if scores.below:
        raise typer.Exit(EXIT_FAILED)
    if scores.failed_rows or scores.missing_rows:
        raise typer.Exit(EXIT_PARTIAL)


def merge(
    ctx: typer.Context,
    parts: Annotated[list[Path], typer.Argument(metavar="PART…", help="Folders of the shards.")],
    out: Out,
) -> None:
    """Merge the shards of a run into what one run makes."""
    from rag_vqa.eval.run.ledger import Ledger
    from rag_vqa.eval.run.shards import merge_shards

    context: CommandContext = ctx.obj
    missing = merge_shards(out, parts)
    if missing:
        context.note(f"{missing:,} rows are missing. Run the other shards, then merge all again.")
    with Ledger(out) as ledger:
        questions = ledger.meta("total")
    context.note(f"{questions:,} questions. Score them: rag-vqa eval report {out}")
    if missing:
        raise typer.Exit(EXIT_PARTIAL)


def hits(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Output file.")],
) -> None:
    """Write the hits of a run as a TREC run."""
    from rag_vqa.eval.run.ledger import Ledger
    from rag_vqa.eval.run.retrieval_stage import export_trec
    from rag_vqa.storage import atomic

    context: CommandContext = ctx.obj
    if out.exists():
        raise UsageError(f"{out} exists. Give another name.")
    unfinished = out.with_name(f"{out.name}.begun")
    with Ledger(folder) as ledger:
        count = atomic.write_lines(out, export_trec(ledger), partial=unfinished)
    context.note(f"{count:,} hits → {out}")
