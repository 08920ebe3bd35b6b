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
    path: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
    identity: Annotated[str, typer.Argument(metavar="ID", help="Id of a question.")],
    cell: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only this row of the table.")
    ] = None,
) -> None:
    """Show one question: hits, evidence, answers, scores, and why an answer is wrong.

    A ✓ marks gold documents. With --cell, the prompt is shown as the reader saw it.
    """
    from rag_vqa.eval.report import question_view
    from rag_vqa.eval.run.ledger import Ledger

    context: CommandContext = ctx.obj
    with Ledger(path) as ledger:
        view = question_view.question_view(ledger, identity, cell)
    if context.json:
        return print_json(_view_json(view))
    _print_question(view)
    for answer in view.answers:
        _print_answer(answer, prompt=len(view.answers) == 1)
    if len(view.answers) > 1:
        context.note("To see the prompt: --cell NAME")
    return None


def _print_question(view: QuestionView) -> None:
    from rag_vqa.eval.report.question_view import question_picture

    example = view.example
    image = question_picture(example)
    lines = {
        "question": example.query.text,
        "image": str(image) if image else f"missing: {example.missing}" if example.missing else "",
        "kind": " · ".join(part for part in (example.kind, example.split) if part),
        "gold": " | ".join(example.answers) or ("unanswerable" if example.unanswerable else ""),
        "right": f"{', '.join(example.relevant)} ({example.level})" if example.relevant else "",
        "failed": view.error,
    }
    for name, value in lines.items():
        if value:
            print(f"{name:<9} {one_line(value)}")
    if view.found:
        print(f"\nfound ({len(view.found)}, the first {min(_LISTED, len(view.found))})")
        for rank, hit in enumerate(view.found[:_LISTED], 1):
            print(f"{rank:>4} {_hit_line(hit)}")
        _print_first_gold(view.found)


def _print_first_gold(hits: Sequence[EvidenceView]) -> None:
    """Print the first gold document if it is too deep to be listed."""
    rank = next((rank for rank, hit in enumerate(hits, 1) if hit.right), 0)
    if rank > _LISTED:
        print(f"{rank:>4} {_hit_line(hits[rank - 1])}")
    elif not rank:
        print("     none of them is right")


def _hit_line(hit: EvidenceView) -> str:
    mark = style("✓", "good") if hit.right else " "
    score = "" if hit.score is None else f"  {hit.score:.4f}"
    dropped = f"  not shown: {one_line(hit.dropped)}" if hit.dropped else ""
    return f"{mark} {one_line(hit.id)}{score}{dropped}"


def _print_answer(view: AnswerView, prompt: bool) -> None:
    print(f"\n── {one_line(view.cell.name)}")
    row = view.answer
    if row is None:
        return print(f"no answer: {one_line(view.error)}")
    for hit in view.evidence:
        print(f"{f'[{hit.number}]' if hit.number else '':>4} {_hit_line(hit)}")
    if prompt:
        print(f"\n{escape_invisible(view.prompt)}\n")
    print(f"answer    {one_line(row.answer['prediction']) or '(empty)'}")
    if row.score is None:
        return print("score     none: the question has no reference answer")
    verdict = style(row.cause, "bad") if row.cause else style("right", "good")
    searched = row.cause and row.cell.condition in ("retrieved", "filtered")
    rank = f", right document at {row.gold.rank}" if searched and row.gold.rank else ""
    gap = f", {row.gold.gap:.4f} below the last one shown" if row.gold.gap is not None else ""
    return print(f"score     {row.score:g}  {verdict}{rank}{gap}")


def _view_json(view: QuestionView) -> dict[str, Any]:
    from rag_vqa.eval.results.result_files import answer_line
    from rag_vqa.eval.run.ledger import example_json

    return {
        "question": example_json(view.example),
        "error": view.error,
        "found": [asdict(hit) for hit in view.found],
        "cells": [
            {
                "cell": answer.cell.name,
                "error": answer.error,
                "answer": answer_line(answer.answer) if answer.answer else None,
                "evidence": [asdict(hit) for hit in answer.evidence],
                "prompt": answer.prompt,
            }
            for answer in view.answers
        ],
    }
