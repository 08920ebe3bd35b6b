"""`rag-vqa eval run`, `merge` and `hits`: make a run, put its shards together, export its hits.

Knows flags and messages. Does not know how questions are answered (`rag_vqa.jobs.evaluate`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rag_vqa.cli import options
from rag_vqa.cli.context import CommandContext
from rag_vqa.errors import UsageError

BenchmarkName = Annotated[
    str, typer.Argument(metavar="BENCHMARK", help="infoseek, evqa, m2kr, mbeir, or own.")
]
Data = Annotated[Path, typer.Argument(metavar="DIR", help="Its folder; of own, the JSONL.")]
Out = Annotated[
    Path, typer.Option("--out", "-o", metavar="RUN", help="Folder of the run; goes on if there.")
]


@options.with_settings(options.RETRIEVAL, options.READING)
def run(
    ctx: typer.Context,
    benchmark: BenchmarkName,
    data: Data,
    out: Out,
    kb: Annotated[Path | None, typer.Option("--kb", metavar="KB", help="Knowledge base.")] = None,
    conditions: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="Of none,retrieved,filtered,oracle; or retrieval."),
    ] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option("--grid", metavar="AXIS=LIST", help="k=1,3,5 or prompt=short,mine.jinja"),
    ] = None,
    split: Annotated[str | None, typer.Option(metavar="NAME", help="Part of it.")] = None,
    task: Annotated[str | None, typer.Option(metavar="NAME", help="Of m2kr and mbeir.")] = None,
    images: Annotated[Path | None, typer.Option(metavar="DIR", help="Its pictures.")] = None,
    missing: Annotated[
        str | None,
        typer.Option(metavar="fail|skip|text-only", help="Questions whose picture is missing."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(metavar="N", help="The first N questions alone.")
    ] = None,
    shard: Annotated[str | None, typer.Option(metavar="i/n", help="Part i; then merge.")] = None,
    devices: Annotated[
        str | None, typer.Option(metavar="LIST", help="all, or cuda:0,cuda:1: a shard each.")
    ] = None,
    hits: Annotated[
        Path | None, typer.Option(metavar="TREC", help="Hits from this file; no searching.")
    ] = None,
    repeat: Annotated[int, typer.Option(metavar="N", help="Answer N times; what changes?")] = 1,
    plan: Annotated[bool, typer.Option("--plan", help="Ask a few, say what all take.")] = False,
    minimum: Annotated[
        list[str] | None,
        typer.Option("--min", metavar="NAME=SHARE", help="accuracy=.8: exit 1 below."),
    ] = None,
    bem: Annotated[
        str | None, typer.Option(metavar="MODEL", help="evqa: BERT answer equivalence.")
    ] = None,
    where: options.Where = None,
    yes: options.Yes = False,
) -> None:
    """Ask all questions, score the answers, say why the wrong ones are wrong. Resumable.

    Conditions stand side by side: none (no documents), retrieved (the first k), filtered (what
    --filter keeps of them), oracle (those that hold the answer).
    """
    from rag_vqa.jobs.evaluate import EvaluateOptions, evaluate

    code = evaluate(
        ctx.obj,
        options.settings_from_options(ctx),
        EvaluateOptions(
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
        ),
    )
    if code:
        raise typer.Exit(code)


def merge(
    ctx: typer.Context,
    parts: Annotated[list[Path], typer.Argument(metavar="PART…", help="Runs of the shards.")],
    out: Out,
) -> None:
    """Put the shards of a run together: what one run makes."""
    from rag_vqa.eval.run.ledger import Ledger
    from rag_vqa.eval.run.shards import merge_shards as merge_parts

    run: CommandContext = ctx.obj
    missing = merge_parts(out, parts)
    if missing:
        run.note(f"{missing:,} rows are missing: run the other shards, and merge all of them anew.")
    with Ledger(out) as ledger:
        run.note(f"{ledger.meta('total'):,} questions. Score them: rag-vqa eval report {out}")
    if missing:
        raise typer.Exit(4)


def hits(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The TREC run.")],
) -> None:
    """Write what was retrieved as a TREC run."""
    from rag_vqa.eval.run.ledger import Ledger
    from rag_vqa.eval.run.retrieval_stage import export_trec
    from rag_vqa.storage import atomic

    run: CommandContext = ctx.obj
    if out.exists():
        raise UsageError(f"{out} exists. Give another name.")
    begun = out.with_name(f"{out.name}.begun")
    with Ledger(folder) as ledger:
        count = atomic.write_lines(out, export_trec(ledger), partial=begun)
    run.note(f"{count:,} hits → {out}")
