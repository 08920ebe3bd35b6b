"""`rag-vqa kb show`: one document, and how it was cut into passages.

Knows what is printed, and what is left out on a terminal. Loads no model: tokens are counted by the
retriever's tokenizer, if its files are on this machine.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from textwrap import indent, wrap
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rag_vqa.cli import options
from rag_vqa.cli.context import CommandContext
from rag_vqa.cli.output import cite_page, print_json
from rag_vqa.errors import UsageError
from rag_vqa.formatting import did_you_mean, escape_invisible, one_line
from rag_vqa.jobs.build_preview import describe_picture
from rag_vqa.serialization import document_json

if TYPE_CHECKING:
    from rag_vqa.retriever.store.document_content import DocumentPassages
    from rag_vqa.types import Passage

CountTokens = Callable[[str], int] | None
# On a terminal; a pipe and --json get everything.
MOST_PASSAGES, MOST_PASSAGE_LINES, MOST_TEXT_LINES, MOST_SECTIONS = 6, 3, 12, 16


def show(
    ctx: typer.Context,
    path: options.KnowledgeBasePath,
    identity: Annotated[str, typer.Argument(metavar="ID", help="Id of a document.")],
) -> None:
    """Show one document with its passages, which searches find."""
    from rag_vqa.jobs.models import open_knowledge_base
    from rag_vqa.retriever.modeling.token_counter import find_token_counter

    context: CommandContext = ctx.obj
    with open_knowledge_base(path) as kb:
        found, sections = kb.show(identity), kb.section_ids(identity)
        if found is None and not sections:
            near = did_you_mean(identity, (each.id for each in islice(kb.list(), 10_000)))
            raise UsageError(
                f"{path} holds no document {one_line(identity)!r}.{near} "
                f"See: rag-vqa kb list {path}"
            )
        made = kb.manifest
        count = find_token_counter(made.source, made.revision or None, made.options)
        parts = (kb.show(each) for each in sections)
        pieces = [part for part in (found, *parts) if part is not None]
    if context.json and found is not None:
        more = {"sections": sections} if sections else {}
        print_json({**_shown_json(found, count), **more})
    elif context.json:
        print_json({"id": identity, "documents": [_shown_json(part, count) for part in pieces]})
    else:
        lines = (
            _document_lines(found, count)
            if found is not None
            else [f"id: {one_line(identity)} (a document of {len(pieces):,} sections)"]
        )
        print("\n".join([*lines, *_section_lines(pieces if found is None else pieces[1:])]))


def _shown_json(found: DocumentPassages, count: CountTokens) -> dict[str, Any]:
    passages = [
        {
            "position": passage.position,
            "text": passage.text,
            "tokens": None if count is None else count(passage.text),
            "image": passage.image,
        }
        for passage in found.passages
    ]
    return {**document_json(found.document), "passages": passages}


def _document_lines(found: DocumentPassages, count: CountTokens) -> Iterator[str]:
    """Its fields, its text, and its passages; on a terminal no text that the passages repeat."""
    document, passages = found.document, found.passages
    for name, value in document_json(document).items():
        if value and name not in ("text", "retrieval_text"):
            for line in _field_lines(value):
                yield f"{name}: {one_line(line)}"
    for name in ("text", "retrieval_text"):
        text = getattr(document, name)
        if text and (document.retrieval_text or not _is_terminal()):
            yield f"\n{name}:"
            yield from _bounded_lines(text, MOST_TEXT_LINES)
    yield f"\n{_count_passages(passages, count)}"
    listed = passages[:MOST_PASSAGES] if _is_terminal() else passages
    for passage in listed:
        yield f"\n{_passage_line(passage, count)}"
        yield from _bounded_lines(passage.text, MOST_PASSAGE_LINES)
    if len(passages) > len(listed):
        yield f"\n… and {len(passages) - len(listed):,} more passages: --json shows all"


def _section_lines(sections: Sequence[DocumentPassages]) -> Iterator[str]:
    """The sections of a document: id, heading, page, and how many passages and pictures."""
    if not sections:
        return
    yield f"\n{_format_count(len(sections), 'section')}"
    listed = sections[:MOST_SECTIONS] if _is_terminal() else sections
    for each in listed:
        document = each.document
        pictures = len(document.images)
        page = cite_page(document).partition(" of ")[0]
        parts = [
            document.section,
            page,
            _format_count(len(each.passages), "passage"),
            _format_count(pictures, "picture") if pictures else "",
        ]
        yield f"{one_line(document.id)}"
        yield f"  {one_line(' · '.join(part for part in parts if part))}"
    if len(sections) > len(listed):
        yield f"… and {len(sections) - len(listed):,} more sections: --json shows all"


def _count_passages(passages: Sequence[Passage], count: CountTokens) -> str:
    tokens = "" if count is None else f" · {sum(count(p.text) for p in passages):,} tokens"
    return f"{_format_count(len(passages), 'passage')}{tokens}"


def _format_count(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"


def _passage_line(passage: Passage, count: CountTokens) -> str:
    """Number, tokens and picture of a passage."""
    parts = [f"passage {passage.position}"]
    if count is not None:
        parts.append(f"{count(passage.text)} tokens")
    if passage.image is not None:
        parts.append(describe_picture(passage.image))
    return " · ".join(parts)


def _bounded_lines(text: str, most: int) -> Iterator[str]:
    """The text, indented; on a terminal its first lines, as wide as that, without blank ones."""
    if not _is_terminal():
        yield indent(escape_invisible(text), "  ")
        return
    width = max(20, shutil.get_terminal_size().columns - 2)
    head = escape_invisible(text[: most * width + 1])
    lines = [line for each in head.split("\n") for line in wrap(each, width)]
    yield from (f"  {line}" for line in lines[:most])
    if len(lines) > most or len(head) < len(text):
        yield f"  … ({len(text):,} characters)"


def _is_terminal() -> bool:
    return sys.stdout.isatty()


def _field_lines(value: Any) -> list[str]:
    """Lines that show a field's value: pictures by name, metadata as `--where` takes it."""
    if isinstance(value, dict):
        listed = ((name, v if isinstance(v, list) else [v]) for name, v in value.items())
        return [
            f"{name}={v if isinstance(v, str) else json.dumps(v)}"
            for name, vs in listed
            for v in vs
        ]
    return [str(part) for part in (value if isinstance(value, list) else [value])]
