"""`rag-vqa search`: retrieval alone."""

from __future__ import annotations

from typing import Annotated

import typer

from rag_vqa.cli import options
from rag_vqa.cli.explaining import PAIRS, explained_json, print_explained
from rag_vqa.cli.output import print_hits, print_json, say_none
from rag_vqa.cli.run import Run
from rag_vqa.errors import UsageError
from rag_vqa.integrations.evidence import hit_json


def search(
    ctx: typer.Context,
    path: options.KnowledgeBasePath,
    text: Annotated[str, typer.Argument(metavar="[TEXT]", help="What to look for.")] = "",
    image: options.Image = None,
    k: options.K = None,
    where: options.Where = None,
    instruction: options.Instruction = None,
    retriever: options.Retriever = None,
    device: options.Device = None,
    index: options.Index = None,
    hybrid: options.Hybrid = None,
    sections: options.Sections = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Also what matched: words, pictures (approximate).")
    ] = False,
    yes: options.Yes = False,
) -> None:
    """Find documents by text, by image, or by both.

    No reader is loaded.
    """
    from rag_vqa.cli.models import open_pipeline, question

    run: Run = ctx.obj
    settings = options.settings_of(ctx)
    picture, only = options.image_file(image), options.where_filter(where)
    if not text.strip() and picture is None:
        raise UsageError("Nothing to look for: give a text, --image, or both.")
    if hybrid and not text.strip():
        raise UsageError("--hybrid looks for words, and an image has none: give a text too.")
    if not settings.k:
        raise UsageError("-k 0: a search needs at least 1.")
    rag = open_pipeline(run, settings, path, where=only, yes=yes, read=False)
    hits = rag.search(text, picture, instruction=settings.retriever.instruction, where=only)
    if not hits:
        say_none(rag, only)
    if explain:
        query = question(settings, text, picture)
        found = [rag.explain(query, hit.passage, PAIRS) for hit in hits]
        if run.json:
            print_json([explained_json(*pair) for pair in zip(hits, found, strict=True)])
        else:
            print_explained(text, hits, found)
    elif run.json:
        print_json([hit_json(hit) for hit in hits])
    else:
        print_hits(hits)
