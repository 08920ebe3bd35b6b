"""`rag-vqa eval`: scores that can be trusted."""

from __future__ import annotations

import typer

from rag_vqa.cli import eval_compare, eval_merge, eval_report, eval_run, eval_score, eval_show

app = typer.Typer(no_args_is_help=True, help="Scores of answers and of retrieval.")
app.command()(eval_run.run)
app.command()(eval_merge.merge)
app.command()(eval_score.score)
app.command()(eval_show.show)
app.command()(eval_compare.compare)
app.command()(eval_report.report)
app.command()(eval_merge.hits)
