"""`rag-vqa eval`: run benchmarks, score answers, look at runs.

Knows which verbs there are. Does not know what they do: each is a file beside this one.
"""

from __future__ import annotations

import typer

from rag_vqa.cli.eval import compare, report, run, score, show

app = typer.Typer(no_args_is_help=True, help="Run benchmarks, score answers, inspect runs.")
app.command()(run.run)
app.command()(run.merge)
app.command()(score.score)
app.command()(show.show)
app.command()(compare.compare)
app.command()(report.report)
app.command()(run.hits)
