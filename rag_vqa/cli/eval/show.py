"""`rag-vqa eval show`: print everything that a run recorded about one question.

Knows how it looks on a terminal and as JSON. Does not know where it is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rag_vqa.cli.context import CommandContext
from rag_vqa.cli.output import print_json, style
from rag_vqa.formatting import escape_invisible, one_line

if TYPE_CHECKING:
    from rag_vqa.eval.report.question_view import AnswerView, EvidenceView, QuestionView

_LISTED = 10  # hits; --json has them all


def show(
    ctx: typer.Context,
    path: Annotated[Path, typer.Argument(metavar="RUN", help="A run.")],
    identity: Annotated[str, typer.Argument(metavar="ID", help="Of a question.")],
    cell: Annotated[
        str | None, typer.Option(metavar="NAME", help="This row of the table alone.")
    ] = None,
) -> None:
    """Show one question: what was found, what the reader was given, what it said, why it is wrong.

    Right documents are marked ✓. The prompt as the reader saw it is shown where one cell is named.
    """
    from rag_vqa.eval.report import question_view
    from rag_vqa.eval.run.ledger import Ledger

    run: CommandContext = ctx.obj
    with Ledger(path) as ledger:
        found = question_view.question_view(ledger, identity, cell)
    if run.json:
        return print_json(_json(found))
    _print_question(found)
    for told in found.told:
        _print_told(told, prompt=len(found.told) == 1)
    if len(found.told) > 1:
        run.note("With the prompt: --cell NAME")
    return None


def _print_question(found: QuestionView) -> None:
    from rag_vqa.eval.report.question_view import question_picture

    example = found.example
    image = question_picture(example)
    lines = {
        "question": example.query.text,
        "image": str(image) if image else f"missing: {example.missing}" if example.missing else "",
        "kind": " · ".join(part for part in (example.kind, example.split) if part),
        "gold": " | ".join(example.answers) or ("unanswerable" if example.unanswerable else ""),
        "right": f"{', '.join(example.relevant)} ({example.level})" if example.relevant else "",
        "failed": found.error,
    }
    for name, value in lines.items():
        if value:
            print(f"{name:<9} {one_line(value)}")
    if found.found:
        print(f"\nfound ({len(found.found)}, the first {min(_LISTED, len(found.found))})")
        for rank, hit in enumerate(found.found[:_LISTED], 1):
            print(f"{rank:>4} {_hit(hit)}")
        _print_first_right(found.found)


def _print_first_right(found: Sequence[EvidenceView]) -> None:
    """Where the first right one is, if it is too deep to be listed."""
    rank = next((rank for rank, hit in enumerate(found, 1) if hit.right), 0)
    if rank > _LISTED:
        print(f"{rank:>4} {_hit(found[rank - 1])}")
    elif not rank:
        print("     none of them is right")


def _hit(hit: EvidenceView) -> str:
    mark = style("✓", "good") if hit.right else " "
    score = "" if hit.score is None else f"  {hit.score:.4f}"
    dropped = f"  not shown: {one_line(hit.dropped)}" if hit.dropped else ""
    return f"{mark} {one_line(hit.id)}{score}{dropped}"


def _print_told(told: AnswerView, prompt: bool) -> None:
    print(f"\n── {one_line(told.cell.name)}")
    row = told.answer
    if row is None:
        return print(f"no answer: {one_line(told.error)}")
    for hit in told.evidence:
        print(f"{f'[{hit.number}]' if hit.number else '':>4} {_hit(hit)}")
    if prompt:
        print(f"\n{escape_invisible(told.prompt)}\n")
    verdict = style(row.cause, "bad") if row.cause else style("right", "good")
    sought = row.cause and row.cell.condition in ("retrieved", "filtered")
    place = f", right document at {row.found.rank}" if sought and row.found.rank else ""
    gap = f", {row.found.gap:.4f} below the last one shown" if row.found.gap is not None else ""
    print(f"answer    {one_line(row.answer['prediction']) or '(empty)'}")
    if row.score is None:
        return print("score     none: the question does not say what is right")
    return print(f"score     {row.score:g}  {verdict}{place}{gap}")


def _json(found: QuestionView) -> dict[str, Any]:
    from rag_vqa.eval.results.result_files import answer_line
    from rag_vqa.eval.run.ledger import example_json

    return {
        "question": example_json(found.example),
        "error": found.error,
        "found": [asdict(hit) for hit in found.found],
        "cells": [
            {
                "cell": told.cell.name,
                "error": told.error,
                "answer": answer_line(told.answer) if told.answer else None,
                "evidence": [asdict(hit) for hit in told.evidence],
                "prompt": told.prompt,
            }
            for told in found.told
        ],
    }
