"""`rag-vqa kb delete|compact|snapshot|merge`: what needs no retriever."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from rag_vqa.cli import options
from rag_vqa.cli.output import print_json
from rag_vqa.cli.run import Run


def delete(
    ctx: typer.Context,
    path: options.KnowledgeBasePath,
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Of documents.")],
) -> None:
    """Remove documents by id. Ids that are not there are no error."""
    from rag_vqa.cli.models import open_knowledge_base

    run: Run = ctx.obj
    with open_knowledge_base(path) as kb:
        gone, left = kb.delete(ids), len(kb)
    if run.json:
        return print_json({"path": str(path), "deleted": gone, "documents": left})
    unknown = len(set(ids)) - gone
    more = f" · {unknown:,} of these ids were not there" if unknown else ""
    run.note(f"{path}: {gone:,} deleted, {left:,} documents left{more}")
    return None


def compact(ctx: typer.Context, path: options.KnowledgeBasePath) -> None:
    """Free the disk of what was deleted. Searches go on meanwhile."""
    from rag_vqa.cli.models import open_knowledge_base

    run: Run = ctx.obj
    with open_knowledge_base(path) as kb:
        freed = kb.compact()
    if run.json:
        return print_json({"path": str(path), **asdict(freed)})
    run.note(
        f"{path}: {freed.bytes / 1e6:,.1f} MB freed, of {freed.rows:,} deleted passages and "
        f"{freed.pictures:,} pictures"
    )
    return None


def snapshot(
    ctx: typer.Context,
    path: options.KnowledgeBasePath,
    to: Annotated[Path, typer.Argument(metavar="COPY", help="A folder that is not there yet.")],
) -> None:
    """Copy the last commit to a new folder, while others read and write."""
    from rag_vqa.cli.models import open_knowledge_base

    run: Run = ctx.obj
    with open_knowledge_base(path) as kb:
        kb.snapshot(to)
    with open_knowledge_base(to) as copy:
        documents = len(copy)
    if run.json:
        return print_json({"path": str(to), "documents": documents})
    run.note(f"{to}: {documents:,} documents")
    return None


def merge(
    ctx: typer.Context,
    parts: Annotated[list[Path], typer.Argument(metavar="PART...", help="In their order.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="KB", help="What they become.")],
) -> None:
    """Make one knowledge base of several, without encoding: what one build would have made."""
    from contextlib import ExitStack

    from rag_vqa.cli.building import IN_PART, check_output
    from rag_vqa.cli.models import open_knowledge_base
    from rag_vqa.cli.parts import merged
    from rag_vqa.retriever.merging import check

    run: Run = ctx.obj
    check_output(out)
    for part in parts:
        options.existing(part, "knowledge base", "Name the parts in their order.")
    with ExitStack() as stack:  # what cannot be merged is told before anything is written
        first, *others = (stack.enter_context(open_knowledge_base(part)) for part in parts)
        for other in others:
            check(first.store, other.store)
    report = merged(out, parts)
    with open_knowledge_base(out) as kb:
        documents = len(kb)
    for refusal in report.rejected:
        run.note(f"refused: {refusal.reason}")
    if run.json:
        counts = {"added": report.added, "unchanged": report.unchanged}
        refused = [refusal.id for refusal in report.rejected]
        print_json({"path": str(out), **counts, "refused": refused, "documents": documents})
    else:
        run.note(f"{out}: {documents:,} documents of {len(parts)} parts")
    if report.rejected:
        raise typer.Exit(IN_PART)
