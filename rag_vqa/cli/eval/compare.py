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
    a: Annotated[Path, typer.Argument(metavar="A", help="A run.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another, or the same one.")],
    cell: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A row of its table, or recall@K; twice: A's, then B's."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also where knowledge base, split or scorer differ.")
    ] = False,
) -> None:
    """Compare two runs question by question: the difference B - A, and what changed sides."""
    from rag_vqa.jobs import compare as jobs_compare

    run: CommandContext = ctx.obj
    names = list(cell or [])
    if len(names) > 2:
        raise UsageError(f"--cell is given {len(names)} times: at most once for each run.")
    first, last = (names[0], names[-1]) if names else (None, None)
    found = jobs_compare.compare(a, b, first, last, force)
    if run.json:
        return print_json(asdict(found))
    for line in found.differs:
        run.note(f"not the same: {one_line(line)}")
    if found.left_out:
        run.note(f"{found.left_out:,} questions are left out: one of the two was chosen on them")
    return _print(found)


def _print(found: Comparison) -> None:
    from rag_vqa.eval.report.result_tables import interval, percent

    print(format_table([_row("A", found.a), _row("B", found.b)]))
    print(
        f"\nB - A: {100 * found.difference:+.1f} points {interval(found.ci95)}, "
        f"95% paired, {found.n:,} questions in common"
    )
    for name, ids in (("right → wrong", found.lost), ("wrong → right", found.won)):
        more = f" … and {len(ids) - _LISTED:,} more: --json" if len(ids) > _LISTED else ""
        listed = " ".join(map(one_line, ids[:_LISTED]))
        share = percent(len(ids) / found.n)
        print(f"{name}: {len(ids):,} ({share}%)  {listed}{more}".rstrip())


def _row(name: str, side: Side) -> dict[str, str]:
    from rag_vqa.eval.report.result_tables import interval, percent

    return {
        "": name,
        "run": one_line(side.run),
        "cell": one_line(side.cell),
        "n": f"{side.n:,}",
        "%": percent(side.value),
        "95% interval": interval(side.ci95),
    }
