"""`rag-vqa doctor`: what this machine has, what is broken, the command that mends it."""

from __future__ import annotations

from dataclasses import asdict

import typer

from rag_vqa.cli.output import one_line, print_json, style
from rag_vqa.cli.run import Run


def doctor(ctx: typer.Context) -> None:
    """Look at this machine: what works, what is broken, what mends it."""
    from rag_vqa.cli.checks import findings

    run: Run = ctx.obj
    found = findings()
    if run.json:
        print_json([asdict(finding) for finding in found])
    else:
        for finding in found:
            mark = style("ok ", "good") if finding.good else style("BAD", "bad")
            print(f"{mark}  {finding.name:<18} {one_line(finding.detail)}")
            if finding.mend:
                print(f"     {'':<18} → {finding.mend}")
    raise typer.Exit(0 if all(finding.good for finding in found) else 1)
