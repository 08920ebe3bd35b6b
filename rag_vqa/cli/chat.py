"""`rag-vqa chat`: question after question. Each stands alone; an image stays until changed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from rag_vqa.cli import options
from rag_vqa.cli.output import one_line, print_answer
from rag_vqa.cli.run import Run
from rag_vqa.errors import RagVqaError, UsageError
from rag_vqa.types import Query

if TYPE_CHECKING:
    from rag_vqa.pipeline import RagVqa

_HELP = "A question, /image FILE, /image (none), or /quit"


def chat(
    ctx: typer.Context,
    path: options.KnowledgeBasePath,
    image: options.Image = None,
    k: options.K = None,
    template: options.Template = None,
    retriever: options.Retriever = None,
    reader: options.Reader = None,
    quantization: options.Quantization = None,
    yes: options.Yes = False,
) -> None:
    """Ask question after question; the models stay loaded.

    Each question stands alone. /image FILE changes the picture, /quit ends.
    """
    from rag_vqa.cli.models import open_pipeline

    run: Run = ctx.obj
    if run.json:
        raise UsageError("chat has no --json. One answer as JSON: rag-vqa ask KB QUESTION --json")
    settings = run.settings(
        k=k, prompt__template=template, retriever__model=retriever, reader__model=reader,
        reader__quantization=quantization,
    )  # fmt: skip
    picture = options.image_file(image)
    rag = open_pipeline(run, settings, path, yes=yes)
    run.note(_HELP)
    while (line := _next_line(run)) not in (None, "/quit"):
        picture = _turn(run, rag, line or "", picture, settings.retriever.instruction)


def _turn(
    run: Run, rag: RagVqa, line: str, picture: Path | None, instruction: str | None
) -> Path | None:
    """One line: answered, or the picture it names. A line that fails does not end the chat."""
    try:
        if line.startswith("/image"):
            name = line.removeprefix("/image").strip()
            return options.image_file(Path(name).expanduser() if name else None)
        if line.startswith("/"):
            run.note(_HELP)
        elif line:
            print_answer(rag, Query(line, picture, instruction), quiet=run.quiet)
    except RagVqaError as error:
        print(f"error: {one_line(str(error))}", file=sys.stderr)
    return picture


def _next_line(run: Run) -> str | None:
    if sys.stdin.isatty() and not run.quiet:
        print("> ", end="", file=sys.stderr, flush=True)
    line = sys.stdin.readline()
    return line.strip() if line else None
