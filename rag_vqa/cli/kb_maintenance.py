"""Verbs on a finished knowledge base: list, show, stats, verify, delete, compact, snapshot, merge.

Knows their flags and what they print. None of them loads a retriever.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rag_vqa.cli import options
from rag_vqa.cli.context import CommandContext
from rag_vqa.cli.output import print_json
from rag_vqa.errors import UsageError
from rag_vqa.formatting import escape_invisible, one_line
from rag_vqa.jobs import document_source

if TYPE_CHECKING:
    from rag_vqa.types import Document

Limit = Annotated[int, typer.Option("--limit", "-n", metavar="N", help="No more than these.")]


def list_(
    ctx: typer.Context,
    path: options.KnowledgeBasePath,
    where: options.Where = None,
    limit: Limit = 50,
    after: Annotated[str | None, typer.Option(metavar="ID", help="Those behind it.")] = None,
) -> None:
    """List documents, in the order of their first adding."""
    from rag_vqa.jobs.models import open_knowledge_base

    run: CommandContext = ctx.obj
    if limit < 1:
        raise UsageError(f"--limit {limit}: give at least 1.")
    with open_knowledge_base(path) as kb:
        found = list(kb.list(options.parse_where(where), limit + 1, after))
    shown, more = found[:limit], len(found) > limit
    if run.json:
        return print_json([document_json(document) for document in shown])
    for document in shown:
        print(_document_line(document))
    if more:
        run.note(f"There are more. Go on: --after {one_line(shown[-1].id)}")
    return None


def show(
    ctx: typer.Context,
    path: options.KnowledgeBasePath,
    identity: Annotated[str, typer.Argument(metavar="ID", help="Of a document.")],
) -> None:
    """Show one document whole, with the passages that it is found by."""
    from rag_vqa.jobs.models import open_knowledge_base

    run: CommandContext = ctx.obj
    with open_knowledge_base(path) as kb:
        found = kb.show(identity)
    if found is None:
        raise UsageError(
            f"{path} holds no document {one_line(identity)!r}. See: rag-vqa kb list {path}"
        )
    document, passages = found.document, found.passages
    if run.json:
        said = [{"text": p.text, "image": p.image} for p in passages]
        return print_json({**document_json(document), "passages": said})
    for name, value in document_json(document).items():
        if value and name != "text":
            for line in _field_lines(value):
                print(f"{name}: {one_line(line)}")
    print(f"\n{escape_invisible(document.text)}")
    for passage in passages:
        image = f" + {passage.image!s}" if passage.image is not None else ""
        print(f"\npassage {passage.position}{image}\n{escape_invisible(passage.text)}")
    return None


def stats(ctx: typer.Context, path: options.KnowledgeBasePath) -> None:
    """Counts and sizes."""
    from rag_vqa.jobs.models import open_knowledge_base

    run: CommandContext = ctx.obj
    with open_knowledge_base(path) as kb:
        found = asdict(kb.stats())
    if run.json:
        return print_json(found)
    for name, value in found.items():
        said = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else value
        print(f"{name:<12} {said}")
    return None


def verify(ctx: typer.Context, path: options.KnowledgeBasePath) -> None:
    """Compute every checksum again. Ends with 1 if anything is not as it was written."""
    from rag_vqa.jobs.models import open_knowledge_base

    run: CommandContext = ctx.obj
    with open_knowledge_base(path) as kb:
        damage, documents = kb.verify(), len(kb)
    if run.json:
        print_json({"sound": not damage, "documents": documents,
                    "damage": [asdict(found) for found in damage]})  # fmt: skip
    else:
        for found in damage:
            place = "" if found.offset is None else f", byte {found.offset}"
            print(f"{found.file}{place}: {one_line(found.what)}")
        print(f"{documents:,} documents: {'damaged' if damage else 'sound'}")
    if damage:
        run.note(f"Restore it from a copy, or build it again: rag-vqa kb build SOURCE --out {path}")
        raise typer.Exit(1)


def document_json(document: Document) -> dict[str, Any]:
    """A document as one JSON object."""
    return {
        "id": document.id,
        "title": document.title,
        "section": document.section,
        "text": document.text,
        "retrieval_text": document.retrieval_text,
        "images": [str(image) for image in document.images],
        "parent": document.parent,
        "url": document.url,
        "metadata": dict(document.metadata),
    }


def _field_lines(value: Any) -> list[str]:
    """A field's value, a line each: pictures by name, metadata as `--where` takes it."""
    if isinstance(value, dict):
        return [f"{name}={v if isinstance(v, str) else json.dumps(v)}" for name, v in value.items()]
    return [str(part) for part in (value if isinstance(value, list) else [value])]


def _document_line(document: Document) -> str:
    named = [one_line(part) for part in (document.title, document.section) if part.strip()]
    count = len(document.images)
    pictures = f"  [{count} image{'s' * (count > 1)}]" if count else ""
    return f"{one_line(document.id)}  {' · '.join(named)}{pictures}".rstrip()


def delete(
    ctx: typer.Context,
    path: options.KnowledgeBasePath,
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Of documents.")],
) -> None:
    """Remove documents by id. Ids that are not there are no error."""
    from rag_vqa.jobs.models import open_knowledge_base

    run: CommandContext = ctx.obj
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
    from rag_vqa.jobs.models import open_knowledge_base

    run: CommandContext = ctx.obj
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
    from rag_vqa.jobs.models import open_knowledge_base

    run: CommandContext = ctx.obj
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

    from rag_vqa.errors import EXIT_PARTIAL
    from rag_vqa.jobs.build import check_output_folder
    from rag_vqa.jobs.models import open_knowledge_base
    from rag_vqa.jobs.sharded_build import merge_shards
    from rag_vqa.retriever.sync_and_merge import check_mergeable

    run: CommandContext = ctx.obj
    check_output_folder(out)
    for part in parts:
        document_source.require_path(part, "knowledge base", "Name the parts in their order.")
    with ExitStack() as stack:  # what cannot be merged is told before anything is written
        first, *others = (stack.enter_context(open_knowledge_base(part)) for part in parts)
        for other in others:
            check_mergeable(first.store, other.store)
    report = merge_shards(out, parts)
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
        raise typer.Exit(EXIT_PARTIAL)
