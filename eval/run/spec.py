"""What a run depends on, written down when it begins; whoever goes on with it must mean the same.

Knows names, digests and versions. Does not know how anything is computed.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rag_vqa.errors import UsageError
from rag_vqa.eval.run.cells import Cell
from rag_vqa.eval.run.records import digest
from rag_vqa.prompts.template import source_of
from rag_vqa.types import Example

if TYPE_CHECKING:
    from rag_vqa.pipeline import RagVqa
    from rag_vqa.retriever.knowledge_base import KnowledgeBase

_PACKAGES = ("torch", "transformers", "bitsandbytes")
BATCH = 32  # questions: the unit of resume, and of what a reader is given at once
SERVED_BATCH = 128  # of a reader behind servers: each of several answers 16 at once


class QuestionSet(Protocol):
    """What a run asks; see `rag_vqa.formats.questions`."""

    @property
    def name(self) -> str: ...

    @property
    def split(self) -> str: ...

    @property
    def scorer(self) -> str: ...

    @property
    def files(self) -> Mapping[str, str]: ...

    @property
    def missing(self) -> str: ...

    @property
    def skipped(self) -> int: ...

    def examples(self) -> Iterator[Example]: ...


def spec_of(
    questions: QuestionSet,
    kb: KnowledgeBase | None,
    rag: RagVqa | None,
    *,
    depth: int,
    where: Mapping[str, Any] | None = None,
    instruction: str | None = None,
    hits: str = "",
    batch: int = BATCH,
) -> dict[str, Any]:
    """Everything that hits and answers depend on, but the cells.

    Args:
        rag: None where nothing is answered.
        depth: documents retrieved for each question.
        hits: digest of a file that hits are taken from in place of retrieving.
    """
    spec: dict[str, Any] = {
        "questions": {
            "name": questions.name,
            "split": questions.split,
            "scorer": questions.scorer,
            "files": dict(questions.files),
            "missing": questions.missing,
        },
        "knowledge_base": None if kb is None else knowledge_base(kb),
        "retrieval": None if kb is None else _retrieval(kb, depth, where, instruction, hits),
        "reader": None if rag is None else _reader(rag),
        "filter": None if rag is None else rag.filter_name or "none",
        "batch": batch,
        "versions": {name: version(name) for name in ("rag-vqa", *_PACKAGES)},
        "machine": platform.machine(),
    }
    return spec


def knowledge_base(kb: KnowledgeBase) -> dict[str, Any]:
    """Which documents: by name, by a digest over all of them, and by count."""
    documents, passages = kb.store.count()
    return {
        "name": kb.path.resolve().name,
        "digest": kb.store.db.meta("digest"),
        "documents": documents,
        "passages": passages,
        "splitting": kb.manifest.splitting,
    }


def _retrieval(
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


def _reader(rag: RagVqa) -> dict[str, Any]:
    reader = rag.reader
    limits = {"images": reader.limits.images, "context": reader.limits.context}
    return {
        "name": reader.name,
        "settings": dict(reader.settings),
        "limits": limits,
        "language": rag.language,
    }


def templates(cells: tuple[Cell, ...]) -> dict[str, str]:
    """Digest of the text of each template that the cells name."""
    return {cell.template: digest(source_of(cell.template)) for cell in cells}


def completed(spec: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """A spec with what it leaves open taken from another: retrieval alone names no reader, and
    questions without retrieval no knowledge base; a run may get either later.

    >>> completed({"reader": None, "batch": 32}, {"reader": {"name": "a"}, "batch": 8})
    {'reader': {'name': 'a'}, 'batch': 32}
    """
    return {name: other.get(name) if value is None else value for name, value in spec.items()}


def check_same(begun: Mapping[str, Any], asked: Mapping[str, Any], folder: object) -> None:
    """Refuse to go on with a run as another.

    Raises:
        UsageError: names the first value that differs.
    """
    for name, there, here in _differences(begun, asked, ""):
        raise UsageError(
            f"{folder} was begun with {name} = {_short(there)}, asked for {_short(here)}. "
            "Begin another with --out, or ask as then."
        )


def _differences(
    begun: Mapping[str, Any], asked: Mapping[str, Any], prefix: str
) -> Iterator[tuple[str, Any, Any]]:
    for name in sorted(begun.keys() | asked.keys()):
        there, here = begun.get(name), asked.get(name)
        if isinstance(there, Mapping) and isinstance(here, Mapping):
            yield from _differences(there, here, f"{prefix}{name}.")
        elif there != here:
            yield prefix + name, there, here


def _short(value: object, limit: int = 60) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
