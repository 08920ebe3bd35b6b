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
from rag_vqa.formatting import one_line

if TYPE_CHECKING:
    from rag_vqa.jobs.diagnosis import Finding
    from rag_vqa.jobs.memory_fit import MemoryFit

FitPreset = Annotated[
    str | None,
    typer.Option("--fit", metavar="PRESET", help="Does it fit here? Computed, nothing loads."),
]
FitBatchSize = Annotated[
    int, typer.Option("--batch-size", metavar="N", min=1, help="With --fit: questions at once.")
]


@options.with_settings(
    "k", "filter", "retriever", "reader", "quantization", "device", "max_pixels", "max_images"
)
def doctor(
    ctx: typer.Context,
    fit: FitPreset = None,
    questions: FitBatchSize = 1,
) -> None:
    """Look at this machine: what works, what is broken, what mends it.

    --reader MODEL alone: whether hostile texts can become control tokens of that reader.
    """
    run: CommandContext = ctx.obj
    if fit is not None:
        from rag_vqa.jobs.memory_fit import predict_fit as fitted

        settings = options.settings_from_options(ctx, preset=fit)
        found = fitted(settings, questions)
        _print_fit(found, run.json)
        raise typer.Exit(0 if found.fits else 1)
    _refuse_without_fit(ctx)
    findings = _run_checks(run, ctx.params["reader"])
    _print_findings(findings, run.json)
    raise typer.Exit(0 if all(finding.good for finding in findings) else 1)


def _run_checks(run: CommandContext, reader: str | None) -> list[Finding]:
    if reader is None:
        from rag_vqa.jobs.diagnosis import check_machine

        return check_machine()
    from rag_vqa.jobs.diagnosis import check_reader

    settings = run.settings({"reader.model": reader})
    return check_reader(reader, settings.reader.revision, settings.offline)


def _refuse_without_fit(ctx: typer.Context) -> None:
    """Options that say nothing without --fit are refused, not ignored."""
    from rag_vqa.errors import UsageError

    alone = {"fit", "reader", "questions"}
    given = [name for name, value in ctx.params.items() if value is not None and name not in alone]
    given += ["batch_size"] if ctx.params["questions"] != 1 else []
    if given:
        flags = ", ".join(f"-{n}" if n == "k" else f"--{n.replace('_', '-')}" for n in given)
        raise UsageError(f"{flags}: of what? Name a preset: rag-vqa doctor --fit PRESET")


def _print_findings(found: Sequence[Finding], as_json: bool) -> None:
    if as_json:
        print_json([asdict(finding) for finding in found])
        return
    for finding in found:
        mark = style("ok ", "good") if finding.good else style("BAD", "bad")
        print(f"{mark}  {finding.name:<18} {one_line(finding.detail)}")
        if finding.mend:
            print(f"     {'':<18} → {finding.mend}")


def _print_fit(found: MemoryFit, as_json: bool) -> None:
    """The parts, their sum, what is free, and what would make it fit."""
    if as_json:
        verdict = {"fits": found.fits, "spare": found.spare, "verdict": found.verdict}
        print_json({**asdict(found), "total": found.total, **verdict})
        return
    print(f"{found.preset} · {one_line(found.reader)} · at the longest prompt, on {found.device}")
    for name, count in found.needs.items():
        print(f"     {name:<18} {count / 1e9:6.2f} GB")
    if found.served:
        print(f"     {'reader':<18} {0:6.2f} GB, it runs behind reader.servers")
    mark = style("ok ", "good") if found.fits else style("BAD", "bad")
    sums = f"{found.total / 1e9:6.2f} GB of {found.free / 1e9:.2f} GB free: {found.verdict}"
    print(f"{mark}  {'together':<18} {sums}")
    if found.elsewhere:
        print(
            f"     {'beside the GPU':<18} {found.elsewhere / 1e9:6.2f} GB of the machine's memory"
        )
    if found.note:
        print(f"     {'':<18} {found.note}")
    if not found.fits:
        print(f"     {'':<18} → {found.mend or 'nothing that can be set here makes it fit'}")
