"""`rag-vqa kb list|show|stats|verify`: what a knowledge base holds, and whether it is sound."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rag_vqa.cli import options
from rag_vqa.cli.output import one_line, print_json, visible
from rag_vqa.cli.run import Run
from rag_vqa.errors import UsageError

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
    from rag_vqa.cli.models import open_knowledge_base

    run: Run = ctx.obj
    if limit < 1:
        raise UsageError(f"--limit {limit}: give at least 1.")
    with open_knowledge_base(path) as kb:
        found = list(kb.list(options.where_filter(where), limit + 1, after))
    shown, more = found[:limit], len(found) > limit
    if run.json:
        return print_json([document_json(document) for document in shown])
    for document in shown:
        print(_line(document))
    if more:
        run.note(f"There are more. Go on: --after {one_line(shown[-1].id)}")
    return None


def show(
    ctx: typer.Context,
    path: options.KnowledgeBasePath,
    identity: Annotated[str, typer.Argument(metavar="ID", help="Of a document.")],
) -> None:
    """Show one document whole, with the passages that it is found by."""
    from rag_vqa.cli.models import open_knowledge_base

    run: Run = ctx.obj
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
            for line in _plain(value):
                print(f"{name}: {one_line(line)}")
    print(f"\n{visible(document.text)}")
    for passage in passages:
        image = f" + {passage.image!s}" if passage.image is not None else ""
        print(f"\npassage {passage.position}{image}\n{visible(passage.text)}")
    return None


def stats(ctx: typer.Context, path: options.KnowledgeBasePath) -> None:
    """Counts and sizes."""
    from rag_vqa.cli.models import open_knowledge_base

    run: Run = ctx.obj
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
    from rag_vqa.cli.models import open_knowledge_base

    run: Run = ctx.obj
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


def _plain(value: Any) -> list[str]:
    """A field's value, a line each: pictures by name, metadata as `--where` takes it."""
    if isinstance(value, dict):
        return [f"{name}={v if isinstance(v, str) else json.dumps(v)}" for name, v in value.items()]
    return [str(part) for part in (value if isinstance(value, list) else [value])]


def _line(document: Document) -> str:
    named = [one_line(part) for part in (document.title, document.section) if part.strip()]
    count = len(document.images)
    pictures = f"  [{count} image{'s' * (count > 1)}]" if count else ""
    return f"{one_line(document.id)}  {' · '.join(named)}{pictures}".rstrip()
