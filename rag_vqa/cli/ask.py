"""Verbs that ask the reader: `rag-vqa ask`, `rag-vqa chat` and `rag-vqa prompt show`.

Knows their flags, the lines that chat understands, and in which order things are printed. Does not
know how an answer is made (pipeline.py) or how it looks (output.py).
"""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from rag_vqa.cli import options
from rag_vqa.cli.context import CommandContext
from rag_vqa.cli.output import NO_EVIDENCE, answer_json, print_answer, print_json, print_no_hits
from rag_vqa.errors import RagVqaError, UsageError
from rag_vqa.formatting import escape_invisible, one_line

_CHAT_HELP = "Type a question, /image FILE, /image (no picture), or /quit"
prompt_app = typer.Typer(no_args_is_help=True, help="Show the prompt of a reader.")


@options.with_settings(options.RETRIEVAL, options.READING)
def ask(
    ctx: typer.Context,
    path: options.KnowledgeBasePath,
    text: options.Question,
    image: options.Image = None,
    where: options.Where = None,
    show_thinking: options.ShowThinking = False,
    yes: options.Yes = False,
) -> None:
    """Answer a question, with numbered evidence."""
    from rag_vqa.jobs.models import make_query, open_pipeline

    context: CommandContext = ctx.obj
    settings = options.settings_from_options(ctx)
    picture, only = options.require_image_file(image), options.parse_where(where)
    query = make_query(settings, options.require_question(text), picture)
    rag = open_pipeline(settings, path, context, where=only, yes=yes)
    if context.json:
        answer = rag.ask(query.text, query.image, instruction=query.instruction, where=only)
        if settings.k and not answer.hits:
            print_no_hits(rag, only, NO_EVIDENCE)
        print_json(answer_json(answer))
    else:
        print_answer(rag, query, where=only, quiet=context.quiet, show_thinking=show_thinking)


@options.with_settings(options.RETRIEVAL, options.READING)
def chat(
    ctx: typer.Context,
    path: options.KnowledgeBasePath,
    image: options.Image = None,
    where: options.Where = None,
    show_thinking: options.ShowThinking = False,
    yes: options.Yes = False,
) -> None:
    """Ask question after question; the models stay loaded.

    Each question stands alone. /image FILE changes the picture, /quit ends.
    """
    from rag_vqa.jobs.models import make_query, open_pipeline

    context: CommandContext = ctx.obj
    if context.json:
        raise UsageError("chat has no --json. One answer as JSON: rag-vqa ask KB QUESTION --json")
    settings = options.settings_from_options(ctx)
    picture, only = options.require_image_file(image), options.parse_where(where)
    rag = open_pipeline(settings, path, context, where=only, yes=yes)
    context.note(_CHAT_HELP)
    while (line := _read_line(context)) is not None and line != "/quit":
        try:  # a line that fails does not end the chat
            if line.split()[:1] == ["/image"]:
                picture = _parse_image_line(line)
            elif line.startswith("/"):
                context.note(_CHAT_HELP)
            elif line:
                query = make_query(settings, line, picture)
                print_answer(
                    rag, query, where=only, quiet=context.quiet, show_thinking=show_thinking
                )
        except RagVqaError as error:
            print(f"error: {one_line(str(error))}", file=sys.stderr)


def _parse_image_line(line: str) -> Path | None:
    name = line.removeprefix("/image").strip()
    return options.require_image_file(Path(name).expanduser() if name else None)


def _read_line(context: CommandContext) -> str | None:
    if sys.stdin.isatty() and not context.quiet:
        print("> ", end="", file=sys.stderr, flush=True)
    line = sys.stdin.readline()
    return line.strip() if line else None


@prompt_app.command()
@options.with_settings(
    options.RETRIEVAL,
    options.READING,
    without=("retriever", "quantization", "device", "max_new_tokens", "index"),
)
def show(
    ctx: typer.Context,
    path: options.KnowledgeBasePath,
    text: options.Question,
    image: options.Image = None,
    where: options.Where = None,
    yes: options.Yes = False,
) -> None:
    """Print the exact prompt, without asking.

    The reader loads, because its limits and its chat template shape the prompt.
    """
    from rag_vqa.jobs.models import make_query, open_pipeline

    context: CommandContext = ctx.obj
    settings = options.settings_from_options(ctx)
    picture, only = options.require_image_file(image), options.parse_where(where)
    query = make_query(settings, options.require_question(text), picture)
    rag = open_pipeline(settings, path, context, where=only, yes=yes)
    hits = rag.select([query], rag.retrieve([query], where=only))[0]
    if not hits and rag.k:
        print_no_hits(rag, only)
    prompt = rag.prompt(query, hits)
    exact = rag.reader.render(prompt)
    if context.json:
        kept = [hit.document.id for hit in prompt.kept]
        print_json({"prompt": exact, "kept": kept, "dropped": dict(prompt.dropped)})
    else:
        print(escape_invisible(exact))
