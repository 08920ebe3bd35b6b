"""`rag-vqa eval score`: score a file of predictions by a benchmark's own rules.

Knows flags and how scores are printed. Does not know the rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from rag_vqa.cli import options
from rag_vqa.cli.context import CommandContext
from rag_vqa.cli.output import print_json
from rag_vqa.formatting import format_table


def score(
    ctx: typer.Context,
    benchmark: Annotated[
        str, typer.Argument(metavar="infoseek|evqa", help="Benchmark whose rules to use.")
    ],
    predictions: Annotated[
        Path,
        typer.Option(metavar="JSONL", help="Rows with prediction and data_id (evqa: id)."),
    ],
    references: Annotated[
        Path,
        typer.Option(metavar="FILE", help="The benchmark's questions: JSONL, or evqa's CSV."),
    ],
    qtypes: Annotated[
        Path | None, typer.Option(metavar="JSONL", help="infoseek: types of the questions.")
    ] = None,
    cell: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Score only this row of a run's answers.jsonl."),
    ] = None,
    scorer: Annotated[
        str | None,
        typer.Option(metavar="strict|official", help="infoseek: official accepts files with gaps."),
    ] = None,
    bem: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="evqa: a BERT classifier: folder, id, id@revision."),
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="Device of --bem: auto, cpu, cuda, cuda:1, mps.")
    ] = None,
    yes: options.Yes = False,
) -> None:
    """Score a file of predictions as a benchmark does; refuse rows that do not match.

    evqa: the id of a prediction is the number of its question's row in the CSV, from 0. Without
    --bem the score is exact match only, which is not the official score.
    """
    from rag_vqa.jobs.score import PredictionOptions, score_predictions

    context: CommandContext = ctx.obj
    files = PredictionOptions(
        benchmark=benchmark,
        predictions=predictions,
        references=references,
        qtypes=qtypes,
        cell=cell,
        scorer=scorer,
        bem=bem,
        device=device,
        yes=yes,
    )
    result = score_predictions(files, context.settings(), context)
    if context.json:
        print_json(result)
        return
    print(format_table([{"score": name, "": value} for name, value in _score_lines(result)]))


def _score_lines(result: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Names and values of a tree of results, in order."""
    lines: list[tuple[str, str]] = []
    for name, value in result.items():
        path = f"{prefix} {name}".strip()
        lines += _score_lines(value, path) if isinstance(value, Mapping) else [(path, str(value))]
    return lines
