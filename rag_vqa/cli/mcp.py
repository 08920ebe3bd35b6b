"""`rag-vqa mcp`: an MCP server over a knowledge base, on stdin and stdout.

Knows its flags, and how the server ends. Does not know the tools (integrations/mcp.py). Apart,
though short, because each verb is one file.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Annotated

import typer

from rag_vqa.cli import options
from rag_vqa.cli.context import CommandContext
from rag_vqa.cli.output import print_interrupted
from rag_vqa.errors import EXIT_INTERRUPTED, UsageError
from rag_vqa.jobs import document_source

Images = Annotated[
    Path | None,
    typer.Option("--images", metavar="DIR", help="Let clients name pictures below this folder."),
]


@options.with_settings(options.RETRIEVAL, options.READING)
def mcp(
    ctx: typer.Context,
    path: options.KnowledgeBasePath,
    images: Images = None,
    yes: options.Yes = False,
) -> None:
    """Serve the tools search and ask to an MCP client, over stdin and stdout.

    The client starts this command and ends it by closing stdin. ^C ends it too.
    """
    from rag_vqa.integrations.mcp import make_mcp_server
    from rag_vqa.jobs.models import open_pipeline

    # Clients keep stderr as a log, where bars would fill it. Read when huggingface_hub is imported.
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    run: CommandContext = ctx.obj
    if run.json:
        raise UsageError("mcp has no --json: its output is the MCP protocol. Drop --json.")
    folder = None if images is None else document_source.require_folder(images, "--images")
    settings = options.settings_from_options(ctx)
    # Clients wait a few seconds for the first reply, less than models take to load.
    rag = open_pipeline(settings, path, run, yes=yes, warm=False)
    mcp_server = make_mcp_server(rag, folder, settings.retriever.instruction)
    former = signal.signal(signal.SIGINT, _exit_at_once)
    try:
        mcp_server.run()
    finally:
        signal.signal(signal.SIGINT, former)


def _exit_at_once(number: int, frame: object) -> None:
    """Exit without waiting for threads: one of them waits for the next line of stdin. Nothing is
    lost, because nothing is written."""
    print_interrupted()
    os._exit(EXIT_INTERRUPTED)
