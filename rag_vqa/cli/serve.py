"""`rag-vqa serve`: HTTP and a web page over one knowledge base."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from rag_vqa.cli import options
from rag_vqa.cli.context import CommandContext


@options.with_settings(options.RETRIEVAL, options.READING, without=("instruction",))
def serve(
    ctx: typer.Context,
    path: options.KnowledgeBasePath,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Holds the token that clients send; or RAG_VQA_TOKEN."),
    ] = None,
    public: Annotated[
        bool, typer.Option("--public", help="Ask and search without the token.")
    ] = False,
    allowed_host: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A name it is reached by.")
    ] = None,
    fetch_images: Annotated[
        bool, typer.Option("--fetch-images", help="Fetch pictures of questions by their address.")
    ] = False,
    root_path: Annotated[str, typer.Option(metavar="/PATH", help="Where a proxy puts it.")] = "",
    log_questions: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write questions down; the page says so.")
    ] = None,
    keep_days: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Of what is written down. [30]")
    ] = None,
    gallery: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Questions that the page offers: JSONL.")
    ] = None,
    yes: options.Yes = False,
) -> None:
    """Serve a knowledge base: a web page, and HTTP as OpenAI's clients speak it.

    Other addresses than 127.0.0.1 need a token.
    """
    from rag_vqa.jobs.serve import ServeOptions, check_server_installed, run_server
    from rag_vqa.server.access import Access, check_hosts, read_token

    run: CommandContext = ctx.obj
    with exit_cleanly_on_sigterm():
        check_server_installed()
        settings = options.settings_from_options(ctx)
        token = read_token(token_file, os.environ.get("RAG_VQA_TOKEN"))
        access = Access(host, token, public, check_hosts(allowed_host or ()))
        place = ServeOptions(port, root_path, log_questions, keep_days, gallery, fetch_images)
        run_server(run, settings, path, access, place, yes)


@contextmanager
def exit_cleanly_on_sigterm() -> Iterator[None]:
    """SIGTERM before the server runs ends the process with exit code 0, as it does afterwards."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
