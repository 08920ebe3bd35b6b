"""`rag-vqa serve`: HTTP and a web page over one knowledge base.

Knows its flags, the example questions of the demo, and how SIGTERM ends the process. Does not know
the order of a start (jobs/serve.py) or what a server answers (server/).
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rag_vqa.cli import options
from rag_vqa.cli.ask_command import write_ask_command
from rag_vqa.cli.context import CommandContext

if TYPE_CHECKING:
    from rag_vqa.retriever.knowledge_base import KnowledgeBase
    from rag_vqa.server.service import GalleryQuestion


@options.with_settings(options.RETRIEVAL, options.READING, without=("instruction",))
def serve(
    ctx: typer.Context,
    path: options.KnowledgeBasePath,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0: any free port.")
    ] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Read the token of clients from this file, not RAG_VQA_TOKEN."
        ),
    ] = None,
    public: Annotated[
        bool, typer.Option("--public", help="Allow asking and searching without the token.")
    ] = False,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Host name that clients use for this server."),
    ] = None,
    fetch_images: Annotated[
        bool, typer.Option("--fetch-images", help="Fetch pictures of questions from the web.")
    ] = False,
    root_path: Annotated[
        str, typer.Option(metavar="/PATH", help="Path under which a proxy serves it.")
    ] = "",
    log_questions: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write questions to this folder; the page says so."),
    ] = None,
    keep_days: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Delete logged questions after N days. [30]"),
    ] = None,
    gallery: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="JSON lines of questions that the page offers."),
    ] = None,
    title: Annotated[
        str, typer.Option(metavar="TEXT", help="Title of the page, such as your museum's name.")
    ] = "",
    yes: options.Yes = False,
) -> None:
    """Serve a knowledge base as a web page and an OpenAI-compatible HTTP API.

    Addresses other than 127.0.0.1 need a token.
    """
    from rag_vqa.jobs.serve import ServeOptions, check_server_installed, serve_knowledge_base
    from rag_vqa.server.access import read_token

    run: CommandContext = ctx.obj
    with exit_cleanly_on_sigterm():
        check_server_installed()
        settings = options.settings_from_options(ctx)
        serve_options = ServeOptions(
            kb=path,
            host=host,
            port=port,
            token=read_token(token_file, os.environ.get("RAG_VQA_TOKEN")),
            public=public,
            allowed_hosts=tuple(allowed_host or ()),
            root_path=root_path,
            fetch_images=fetch_images,
            log_questions=log_questions,
            keep_days=keep_days,
            gallery=gallery,
            title=title,
            command=write_ask_command(path, settings, public),
            log_requests=not run.quiet,
            yes=yes,
        )
        serve_knowledge_base(serve_options, settings, run, default_gallery=demo_gallery)


def demo_gallery(kb: KnowledgeBase) -> Sequence[GalleryQuestion]:
    """Photos of flags, if this is the knowledge base of `rag-vqa demo --kb`."""
    from rag_vqa.demo.gallery import page_questions
    from rag_vqa.server.service import GalleryQuestion

    return [GalleryQuestion(*question) for question in page_questions(kb)]


@contextmanager
def exit_cleanly_on_sigterm() -> Iterator[None]:
    """SIGTERM before the server runs ends the process with exit code 0, as it does afterwards."""
    former = signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)
