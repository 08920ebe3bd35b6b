"""`rag-vqa eval compare`: print the paired difference between two runs.

Knows flags and the printed table. Does not know how runs are compared (`rag_vqa.jobs.compare`).
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rag_vqa.cli.context import CommandContext
from rag_vqa.cli.output import print_json
from rag_vqa.errors import UsageError
from rag_vqa.formatting import format_table, one_line

if TYPE_CHECKING:
    from rag_vqa.jobs.compare import Comparison, Side

_LISTED = 20  # ids of each kind; --json has them all


def compare(
    ctx: typer.Context,
    a: Annotated[Path, typer.Argument(metavar="A", help="Folder of a run.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another run, or the same one.")],
    cell: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="A row of the table, or recall@K. Give it twice for A and B."
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Compare even if knowledge base, split or scorer differ."),
    ] = False,
) -> None:
    """Compare two runs question by question: the difference B - A, and which answers changed."""
    from rag_vqa.jobs.compare import compare_runs

    context: CommandContext = ctx.obj
    names = list(cell or [])
    if len(names) > 2:
        raise UsageError(f"--cell is given {len(names)} times: give it once for each run.")
    cell_a, cell_b = (names[0], names[-1]) if names else (None, None)
    comparison = compare_runs(a, b, cell_a, cell_b, force)
    if context.json:
        return print_json(asdict(comparison))
    for difference in comparison.differs:
        context.note(f"the runs differ: {one_line(difference)}")
    if comparison.left_out:
        context.note(
            f"{comparison.left_out:,} questions are left out: one of the two was chosen on them"
        )
    return _print_comparison(comparison)


def _print_comparison(comparison: Comparison) -> None:
    from rag_vqa.eval.report.result_tables import interval, percent

    print(format_table([_side_row("A", comparison.a), _side_row("B", comparison.b)]))
    print(
        f"\nB - A: {100 * comparison.difference:+.1f} points {interval(comparison.ci95)}, "
        f"95% paired, {comparison.n:,} questions in common"
    )
    for name, ids in (("right → wrong", comparison.lost), ("wrong → right", comparison.won)):
        more = f" … and {len(ids) - _LISTED:,} more: --json" if len(ids) > _LISTED else ""
        listed = " ".join(map(one_line, ids[:_LISTED]))
        share = percent(len(ids) / comparison.n)
        print(f"{name}: {len(ids):,} ({share}%)  {listed}{more}".rstrip())


def _side_row(name: str, side: Side) -> dict[str, str]:
    from rag_vqa.eval.report.result_tables import interval, percent

    return {
        "": name,
        "run": one_line(side.run),
        "cell": one_line(side.cell),
        "n": f"{side.n:,}",
        "%": percent(side.value),
        "95% interval": interval(side.ci95),
    }
