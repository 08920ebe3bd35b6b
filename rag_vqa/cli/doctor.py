"""`rag-vqa doctor`: what this machine has, what is broken, and the command that mends it.

Knows its flags and what is printed. Does not know what is checked (jobs/diagnosis.py) or how memory
is predicted (jobs/memory_fit.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from rag_vqa.cli import options
from rag_vqa.cli.context import CommandContext
from rag_vqa.cli.output import print_json, style
from rag_vqa.errors import EXIT_DONE, EXIT_FAILED, UsageError
from rag_vqa.formatting import one_line

if TYPE_CHECKING:
    from rag_vqa.jobs.diagnosis import Finding
    from rag_vqa.jobs.memory_fit import MemoryFit

FitPreset = Annotated[
    str | None,
    typer.Option(
        "--fit", metavar="PRESET", help="Compute whether a preset fits this machine; nothing loads."
    ),
]
FitBatchSize = Annotated[
    int,
    typer.Option(
        "--batch-size", metavar="N", min=1, help="With --fit: number of questions at once."
    ),
]


@options.with_settings(
    "k", "filter", "retriever", "reader", "quantization", "device", "max_pixels", "max_images"
)
def doctor(
    ctx: typer.Context,
    fit: FitPreset = None,
    questions: FitBatchSize = 1,
) -> None:
    """Check this machine: what works, what is broken, and how to repair it.

    --reader MODEL alone: check whether hostile texts can become control tokens of that reader.
    """
    context: CommandContext = ctx.obj
    if fit is not None:
        from rag_vqa.jobs.memory_fit import predict_fit

        settings = options.settings_from_options(ctx, preset=fit)
        found = predict_fit(settings, questions)
        _print_fit(found, context.json)
        raise typer.Exit(EXIT_DONE if found.fits else EXIT_FAILED)
    _refuse_without_fit(ctx)
    findings = _run_checks(context, ctx.params["reader"])
    print_findings(findings, context.json)
    raise typer.Exit(EXIT_DONE if all(each.good for each in findings) else EXIT_FAILED)


def _run_checks(context: CommandContext, reader: str | None) -> list[Finding]:
    if reader is None:
        from rag_vqa.jobs.diagnosis import check_machine

        return check_machine()
    from rag_vqa.jobs.diagnosis import check_reader

    settings = context.settings({"reader.model": reader})
    return check_reader(reader, settings.reader.revision, settings.offline)


def _refuse_without_fit(ctx: typer.Context) -> None:
    """Raise UsageError for options that would have no effect without --fit."""
    alone = {"fit", "reader", "questions"}
    given = [name for name, value in ctx.params.items() if value is not None and name not in alone]
    given += ["batch_size"] if ctx.params["questions"] != 1 else []
    if given:
        flags = ", ".join(f"-{n}" if n == "k" else f"--{n.replace('_', '-')}" for n in given)
        raise UsageError(f"{flags} needs a preset. Name one: rag-vqa doctor --fit PRESET")


def print_findings(findings: Sequence[Finding], as_json: bool) -> None:
    """Print what was checked, a line each, with the command that mends it."""
    if as_json:
        print_json([asdict(finding) for finding in findings])
        return
    for finding in findings:
        mark = style("ok ", "good") if finding.good else style("BAD", "bad")
        print(f"{mark}  {finding.name:<18} {one_line(finding.detail)}")
        if finding.mend:
            print(f"     {'':<18} → {finding.mend}")


def _print_fit(fit: MemoryFit, as_json: bool) -> None:
    """Print the parts, their sum, the free memory, and what would make it fit."""
    if as_json:
        verdict = {"fits": fit.fits, "spare": fit.spare, "verdict": fit.verdict}
        print_json({**asdict(fit), "total": fit.total, **verdict})
        return
    print(f"{fit.preset} · {one_line(fit.reader)} · at the longest prompt, on {fit.device}")
    for name, count in fit.needs.items():
        print(f"     {name:<18} {count / 1e9:6.2f} GB")
    if fit.served:
        print(f"     {'reader':<18} {0:6.2f} GB, servers run it (reader.servers)")
    from rag_vqa.memory import MARGIN

    mark = style("ok ", "good") if fit.fits else style("BAD", "bad")
    need = f"{fit.total / 1e9:6.2f} GB, and {MARGIN:.0%} in reserve,"
    sums = f"{need} of {fit.free / 1e9:.2f} GB free: {fit.verdict}"
    print(f"{mark}  {'together':<18} {sums}")
    if fit.elsewhere:
        print(f"     {'beside the GPU':<18} {fit.elsewhere / 1e9:6.2f} GB of the machine's memory")
    if fit.note:
        print(f"     {'':<18} {fit.note}")
    if not fit.fits:
        print(f"     {'':<18} → {fit.mend or 'no setting makes it fit'}")
