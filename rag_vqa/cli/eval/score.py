"""`rag-vqa eval score`: score a file of predictions by a benchmark's own rules.

Knows flags and how scores are printed. Does not know the rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import typer

from rag_vqa.cli import options
from rag_vqa.cli.context import CommandContext
from rag_vqa.cli.output import print_json
from rag_vqa.errors import UsageError
from rag_vqa.formatting import format_table


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
    device: options.Device = None,
    yes: options.Yes = False,
) -> None:
    """Score a file of predictions as a benchmark does; what does not fit is refused, with counts.

    evqa: the id of a prediction is the number of its question's row in the CSV, from 0. Without
    --bem the score is exact match alone, and not the official one.
    """
    run: CommandContext = ctx.obj
    if benchmark == "infoseek":
        _refuse({"--bem": bem, "--device": device, "--yes": yes or None}, benchmark)
        _print(run, _infoseek(predictions, references, qtypes, scorer or "strict", cell))
    elif benchmark == "evqa":
        _refuse({"--qtypes": qtypes, "--scorer": scorer}, benchmark)
        _print(run, _evqa(run, predictions, references, cell, bem, device, yes))
    else:
        raise UsageError(f"eval score {benchmark}: take infoseek or evqa.")


def _refuse(given: Mapping[str, object], benchmark: str) -> None:
    for option, value in given.items():
        if value is not None:
            raise UsageError(f"{option} does not belong to eval score {benchmark}: leave it out.")


def _infoseek(
    predictions: Path, references: Path, qtypes: Path | None, scorer: str, cell: str | None
) -> Any:
    from rag_vqa.eval.infoseek import score_file

    if qtypes is None:
        raise UsageError("eval score infoseek needs --qtypes FILE, as infoseek_val_qtype.jsonl.")
    kind = cast(Literal["strict", "official"], scorer)
    return score_file(predictions, references, qtypes, kind, cell)


def _evqa(
    run: CommandContext,
    predictions: Path,
    references: Path,
    cell: str | None,
    bem: str | None,
    device: str | None,
    yes: bool,
) -> dict[str, Any]:
    from rag_vqa.eval import evqa
    from rag_vqa.eval.scoring import make_scorer

    if bem is None:
        _refuse({"--device": device, "--yes": yes or None}, "evqa without --bem")
        run.note("no --bem: exact match only, which is not the official score")
    asked = evqa.read_predictions(predictions, references, cell)
    settings = run.settings()
    offline = settings.offline
    if bem is not None:
        from rag_vqa.eval.bem import split_revision
        from rag_vqa.jobs.download_consent import ask_before_download

        named = [split_revision(bem)]
        ask_before_download(named, offline=offline, yes=yes, cache=settings.cache_dir)
    made = make_scorer("evqa", bem=bem, device=device or "auto", offline=offline)
    result = evqa.score_predictions(asked, made)
    if cut := result.get("bem_truncated"):
        run.note(f"{cut} answers were cut for BEM, which reads 512 tokens")
    return result


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
