"""The specification of a run: everything that its hits and answers depend on, except the cells.

Stored when the run begins; a run can only be resumed with the same one. Knows names, digests and
versions. Does not know how anything is computed.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rag_vqa.eval.run.conditions import Cell
from rag_vqa.eval.run.ledger import json_digest
from rag_vqa.prompts.template import template_source
from rag_vqa.storage.fingerprint import check_unchanged
from rag_vqa.types import Example

if TYPE_CHECKING:
    from rag_vqa.pipeline import RagVqa
    from rag_vqa.retriever.knowledge_base import KnowledgeBase

_RECORDED_PACKAGES = ("torch", "transformers", "bitsandbytes")
BATCH_SIZE = 32  # questions: stored together, and given to the reader together
SERVED_BATCH_SIZE = 128  # with a reader behind servers: each server answers 16 at once


class QuestionSet(Protocol):
    """The questions of a run; see `rag_vqa.formats.question_set`."""

    @property
    def name(self) -> str: ...

    @property
    def split(self) -> str: ...

    @property
    def scorer(self) -> str: ...

    @property
    def files(self) -> Mapping[str, str]: ...

    @property
    def missing_policy(self) -> str: ...

    @property
    def skipped_count(self) -> int: ...

    def examples(self) -> Iterator[Example]: ...


def describe_run(
    questions: QuestionSet,
    kb: KnowledgeBase | None,
    rag: RagVqa | None,
    *,
    depth: int,
    where: Mapping[str, Any] | None = None,
    instruction: str | None = None,
    hits: str = "",
    batch: int = BATCH_SIZE,
) -> dict[str, Any]:
    """Everything that hits and answers depend on, except the cells.

    Args:
        kb: None if nothing is searched.
        rag: None if nothing is answered.
        depth: number of documents retrieved for each question.
        hits: digest of the TREC run that replaces retrieval; "" if there is none.
    """
    return {
        "questions": {
            "name": questions.name,
            "split": questions.split,
            "scorer": questions.scorer,
            "files": dict(questions.files),
            "missing": questions.missing_policy,
        },
        "knowledge_base": None if kb is None else describe_knowledge_base(kb),
        "retrieval": None
        if kb is None
        else _describe_retrieval(kb, depth, where, instruction, hits),
        "reader": None if rag is None else _describe_reader(rag),
        "filter": None if rag is None else rag.filter_name or "none",
        "batch": batch,
        "versions": {name: version(name) for name in ("rag-vqa", *_RECORDED_PACKAGES)},
        "machine": platform.machine(),
    }


def describe_knowledge_base(kb: KnowledgeBase) -> dict[str, Any]:
    """Name, counts and a digest over all documents of a knowledge base."""
    documents, passages = kb.store.count()
    return {
        "name": kb.path.resolve().name,
        "digest": kb.store.db.meta("digest"),
        "documents": documents,
        "passages": passages,
        "splitting": kb.manifest.splitting,
    }


def _describe_retrieval(
    kb: KnowledgeBase,
    depth: int,
    where: Mapping[str, Any] | None,
    instruction: str | None,
    hits: str,
) -> dict[str, Any]:
    made = kb.manifest
    own = {
        "retriever": Path(made.source).name if Path(made.source).is_dir() else made.source,
        "revision": made.revision,
        "fingerprint": made.fingerprint,
        "options": dict(made.options),
        "method": kb.method,
        "engine": kb.retriever.choice.engine,
        "instruction": instruction,
        "where": dict(where) if where else None,
    }
    return {"hits": hits, "depth": depth} if hits else {**own, "depth": depth}


def _describe_reader(rag: RagVqa) -> dict[str, Any]:
    reader = rag.reader
    limits = {"images": reader.limits.images, "context": reader.limits.context}
    return {
        "name": reader.name,
        "settings": dict(reader.settings),
        "limits": limits,
        "language": rag.language,
    }


def template_digests(cells: tuple[Cell, ...]) -> dict[str, str]:
    """Digests of the templates' texts, by name."""
    return {cell.template: json_digest(template_source(cell.template)) for cell in cells}


def fill_open_fields(spec: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """A spec whose None values are taken from another one.

    Retrieval alone names no reader, and answers without retrieval name no knowledge base. A run
    may get either later.

    >>> fill_open_fields({"reader": None, "batch": 32}, {"reader": {"name": "a"}, "batch": 8})
    {'reader': {'name': 'a'}, 'batch': 32}
    """
    return {name: other.get(name) if value is None else value for name, value in spec.items()}


def check_same_run(begun: Mapping[str, Any], asked: Mapping[str, Any], folder: object) -> None:
    """Refuse to resume a run with another specification.

    Raises:
        UsageError: names every value that differs.
    """
    hint = "Start another run with --out, or use the same options."
    check_unchanged(folder, begun, asked, hint)
