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
from rag_vqa.errors import UsageError
from rag_vqa.formatting import format_table


@options.with_settings("device")
def score(
    ctx: typer.Context,
    benchmark: Annotated[str, typer.Argument(metavar="infoseek|evqa", help="Whose rules.")],
    predictions: Annotated[
        Path, typer.Option(metavar="JSONL", help="Rows of prediction and data_id (evqa: id).")
    ],
    references: Annotated[
        Path, typer.Option(metavar="FILE", help="The benchmark's questions: JSONL, or evqa's CSV.")
    ],
    qtypes: Annotated[
        Path | None, typer.Option(metavar="JSONL", help="infoseek: types of the questions.")
    ] = None,
    cell: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of a run's answers.jsonl: this row's.")
    ] = None,
    scorer: Annotated[
        str | None,
        typer.Option(metavar="strict|official", help="infoseek: official takes files with gaps."),
    ] = None,
    bem: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="evqa: a BERT classifier: folder, id, id@revision."),
    ] = None,
    yes: options.Yes = False,
) -> None:
    """Score a file of predictions as a benchmark does; what does not fit is refused, with counts.

    evqa: the id of a prediction is the number of its question's row in the CSV, from 0. Without
    --bem the score is exact match alone, and not the official one.
    """
    from rag_vqa.eval.scoring import make_scorer
    from rag_vqa.formats.benchmark import PredictionFiles, Scorer, benchmarks_for

    run: CommandContext = ctx.obj
    device = ctx.params["device"]
    known = {found.name: found for found in benchmarks_for("evaluation") if found.score_file}
    if benchmark not in known:
        raise UsageError(f"eval score {benchmark}: give one of {', '.join(known)}.")
    found = known[benchmark]
    assert found.score_file is not None
    given = {"qtypes": qtypes, "scorer": scorer}
    _refuse({f"--{n}": v for n, v in given.items() if n not in found.score_options}, benchmark)
    if not found.takes_bem:
        _refuse({"--bem": bem, "--device": device, "--yes": yes or None}, benchmark)
    elif bem is None:
        _refuse({"--device": device, "--yes": yes or None}, f"{benchmark} without --bem")
        run.note("no --bem: exact match only, which is not the official score")

    def open_scorer() -> Scorer:
        settings = run.settings()
        if bem is not None:
            from rag_vqa.eval.bem import split_revision
            from rag_vqa.jobs.download_consent import ask_before_download

            models = [split_revision(bem)]
            ask_before_download(models, run, offline=settings.offline, yes=yes)
        device_name = device or "auto"
        return make_scorer(found.scorer, bem=bem, device=device_name, offline=settings.offline)

    files = PredictionFiles(
        predictions=predictions, references=references, cell=cell, qtypes=qtypes, scorer=scorer
    )
    result = found.score_file(files, open_scorer)
    if cut := result.get("bem_truncated"):
        run.note(f"{cut} answers were cut for BEM, which reads 512 tokens")
    _print(run, result)


def _refuse(given: Mapping[str, object], benchmark: str) -> None:
    for option, value in given.items():
        if value is not None:
            raise UsageError(f"{option} does not belong to eval score {benchmark}: leave it out.")


def _print(run: CommandContext, result: Mapping[str, Any]) -> None:
    if run.json:
        print_json(result)
        return
    print(format_table([{"score": name, "": value} for name, value in _lines(result)]))


def _lines(result: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    """Names and values of a tree of results, in order."""
    lines: list[tuple[str, str]] = []
    for name, value in result.items():
        path = f"{before} {name}".strip()
        lines += _lines(value, path) if isinstance(value, Mapping) else [(path, str(value))]
    return lines
