"""Verbs on a finished knowledge base: list, stats, verify, delete, compact, snapshot, merge.

Knows their flags and what they print. None of them loads a retriever.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rag_vqa.cli import options
from rag_vqa.cli.context import CommandContext
from rag_vqa.cli.output import print_json
from rag_vqa.errors import EXIT_FAILED, EXIT_PARTIAL, UsageError
from rag_vqa.formatting import escape_invisible, one_line
from rag_vqa.jobs import document_source
from rag_vqa.serialization import document_json

if TYPE_CHECKING:
    from rag_vqa.types import Document

Limit = Annotated[int, typer.Option("--limit", "-n", metavar="N", help="List at most N documents.")]


def list_(
    ctx: typer.Context,
    path: options.KnowledgeBasePath,
    where: options.Where = None,
    limit: Limit = 50,
    after: Annotated[
        str | None, typer.Option(metavar="ID", help="Start after this document.")
    ] = None,
) -> None:
    """List documents in the order in which they were first added."""
    from rag_vqa.jobs.models import open_knowledge_base

    context: CommandContext = ctx.obj
    if limit < 1:
        raise UsageError(f"--limit {limit}: give at least 1.")
    with open_knowledge_base(path) as kb:
        only = options.parse_where(where)
        found = list(kb.list(only, limit + 1, after))
        if notice := "" if found else kb.describe_no_match(only):
            print(escape_invisible(notice), file=sys.stderr)
    shown, more = found[:limit], len(found) > limit
    if context.json:
        return print_json([document_json(document) for document in shown])
    for document in shown:
        print(_document_line(document))
    if more:
        context.note(f"There are more. Continue with: --after {one_line(shown[-1].id)}")
    return None


def stats(ctx: typer.Context, path: options.KnowledgeBasePath) -> None:
    """Show counts and sizes."""
    from rag_vqa.jobs.models import open_knowledge_base

    context: CommandContext = ctx.obj
    with open_knowledge_base(path) as kb:
        found = asdict(kb.stats())
    if context.json:
        return print_json(found)
    for name, value in found.items():
        shown = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else value
        shown = one_line(", ".join(value)) if isinstance(value, tuple) else shown
        print(f"{name:<12} {shown}")
    return None


def verify(ctx: typer.Context, path: options.KnowledgeBasePath) -> None:
    """Verify all checksums. Exits with 1 if anything is damaged."""
    from rag_vqa.jobs.models import open_knowledge_base

    context: CommandContext = ctx.obj
    with open_knowledge_base(path) as kb:
        damage, documents = kb.verify(), len(kb)
    if context.json:
        print_json({"sound": not damage, "documents": documents,
                    "damage": [asdict(found) for found in damage]})  # fmt: skip
    else:
        for found in damage:
            place = "" if found.offset is None else f", byte {found.offset}"
            print(f"{found.file}{place}: {one_line(found.what)}")
        print(f"{documents:,} documents: {'damaged' if damage else 'sound'}")
    if damage:
        context.note(f"Restore it from a copy, or rebuild it: rag-vqa kb build SOURCE --out {path}")
        raise typer.Exit(EXIT_FAILED)


def _document_line(document: Document) -> str:
    named = [one_line(part) for part in (document.title, document.section) if part.strip()]
    count = len(document.images)
    pictures = f"  [{count} image{'s' * (count > 1)}]" if count else ""
    return f"{one_line(document.id)}  {' · '.join(named)}{pictures}".rstrip()


def delete(
    ctx: typer.Context,
    path: options.KnowledgeBasePath,
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of documents.")],
) -> None:
    """Delete documents by id. Unknown ids are no error."""
    from rag_vqa.jobs.models import open_knowledge_base

    context: CommandContext = ctx.obj
    with open_knowledge_base(path) as kb:
        gone, left = kb.delete(ids), len(kb)
    if context.json:
        return print_json({"path": str(path), "deleted": gone, "documents": left})
    unknown = len(set(ids)) - gone
    more = f" · {unknown:,} of these ids do not exist" if unknown else ""
    context.note(f"{path}: {gone:,} deleted, {left:,} documents left{more}")
    return None


def compact(ctx: typer.Context, path: options.KnowledgeBasePath) -> None:
    """Free the disk space of deleted documents. Searches continue meanwhile."""
    from rag_vqa.jobs.models import open_knowledge_base

    context: CommandContext = ctx.obj
    with open_knowledge_base(path) as kb:
        freed = kb.compact()
    if context.json:
        return print_json({"path": str(path), **asdict(freed)})
    context.note(
        f"{path}: freed {freed.bytes / 1e6:,.1f} MB, of {freed.rows:,} deleted passages and "
        f"{freed.pictures:,} pictures"
    )
    return None


def snapshot(
    ctx: typer.Context,
    path: options.KnowledgeBasePath,
    to: Annotated[Path, typer.Argument(metavar="COPY", help="A new folder.")],
) -> None:
    """Copy the last commit to a new folder. Others may read and write meanwhile."""
    from rag_vqa.jobs.models import open_knowledge_base

    context: CommandContext = ctx.obj
    with open_knowledge_base(path) as kb:
        kb.snapshot(to)
    with open_knowledge_base(to) as copy:
        documents = len(copy)
    if context.json:
        return print_json({"path": str(to), "documents": documents})
    context.note(f"{to}: {documents:,} documents")
    return None


def merge(
    ctx: typer.Context,
    parts: Annotated[list[Path], typer.Argument(metavar="PART...", help="Shards, in their order.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="KB", help="The merged knowledge base.")
    ],
) -> None:
    """Merge shards into what one build would have made, without encoding."""
    from contextlib import ExitStack

    from rag_vqa.jobs.build import check_output_folder
    from rag_vqa.jobs.models import open_knowledge_base
    from rag_vqa.jobs.sharded_build import merge_shards
    from rag_vqa.retriever.sync_and_merge import check_mergeable

    context: CommandContext = ctx.obj
    check_output_folder(out)
    for part in parts:
        document_source.require_path(part, "knowledge base", "Name the parts in their order.")
    with ExitStack() as stack:  # checked before anything is written
        first, *others = (stack.enter_context(open_knowledge_base(part)) for part in parts)
        for other in others:
            check_mergeable(first.store, other.store)
    report = merge_shards(out, parts)
    with open_knowledge_base(out) as kb:
        documents = len(kb)
    for refusal in report.rejected:
        context.note(f"refused: {refusal.reason}")
    if context.json:
        counts = {"added": report.added, "unchanged": report.unchanged}
        refused = [refusal.id for refusal in report.rejected]
        print_json({"path": str(out), **counts, "refused": refused, "documents": documents})
    else:
        context.note(f"{out}: {documents:,} documents of {len(parts)} shards")
    if report.rejected:
        raise typer.Exit(EXIT_PARTIAL)
