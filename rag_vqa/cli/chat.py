"""`rag-vqa chat`: question after question. Each stands alone; an image stays until changed."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from rag_vqa.cli import options
from rag_vqa.cli.output import one_line, print_answer
from rag_vqa.cli.run import Run
from rag_vqa.errors import RagVqaError, UsageError

_HELP = "A question, /image FILE, /image (none), or /quit"


def chat(
    ctx: typer.Context,
    path: options.KnowledgeBasePath,
    image: options.Image = None,
    k: options.K = None,
    where: options.Where = None,
    instruction: options.Instruction = None,
    template: options.Template = None,
    language: options.Language = None,
    filter: options.Filter = None,
    retriever: options.Retriever = None,
    reader: options.Reader = None,
    server: options.Server = None,
    quantization: options.Quantization = None,
    device: options.Device = None,
    max_new_tokens: options.MaxNewTokens = None,
    max_pixels: options.MaxPixels = None,
    max_images: options.MaxImages = None,
    index: options.Index = None,
    hybrid: options.Hybrid = None,
    sections: options.Sections = None,
    yes: options.Yes = False,
) -> None:
    """Ask question after question; the models stay loaded.

    Each question stands alone. /image FILE changes the picture, /quit ends.
    """
    from rag_vqa.cli.models import open_pipeline, question

    run: Run = ctx.obj
    if run.json:
        raise UsageError("chat has no --json. One answer as JSON: rag-vqa ask KB QUESTION --json")
    settings = options.settings_of(ctx)
    picture, only = options.image_file(image), options.where_filter(where)
    rag = open_pipeline(run, settings, path, where=only, yes=yes)
    run.note(_HELP)
    while (line := _next_line(run)) is not None and line != "/quit":
        try:  # a line that fails does not end the chat
            if line.split()[:1] == ["/image"]:
                picture = _picture(line)
            elif line.startswith("/"):
                run.note(_HELP)
            elif line:
                query = question(settings, line, picture)
                print_answer(rag, query, where=only, quiet=run.quiet)
        except RagVqaError as error:
            print(f"error: {one_line(str(error))}", file=sys.stderr)


def _picture(line: str) -> Path | None:
    name = line.removeprefix("/image").strip()
    return options.image_file(Path(name).expanduser() if name else None)


def _next_line(run: Run) -> str | None:
    if sys.stdin.isatty() and not run.quiet:
        print("> ", end="", file=sys.stderr, flush=True)
    line = sys.stdin.readline()
    return line.strip() if line else None
