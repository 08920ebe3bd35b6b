"""`rag-vqa eval`: scores that can be trusted."""

from __future__ import annotations

import typer

from rag_vqa.cli import eval_score

app = typer.Typer(no_args_is_help=True, help="Scores of answers and of retrieval.")
app.command()(eval_score.score)
