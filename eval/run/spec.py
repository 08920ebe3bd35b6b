"""The specification of a run: its cells, and everything else that its hits and answers depend on.

A cell is one way of answering all questions: a condition (no documents, retrieved, filtered,
oracle), k and a template. A grid of values makes cells. The specification is stored when the run
begins; a run can only be resumed with the same one. Knows names, digests and versions. Does not
know how anything is computed.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, get_args

from rag_vqa.errors import UsageError
from rag_vqa.eval.run.ledger import json_digest
from rag_vqa.prompts.template import template_source
from rag_vqa.retriever.search.filter_language import plain_where
from rag_vqa.storage.fingerprint import check_unchanged
from rag_vqa.types import Example, Where

if TYPE_CHECKING:
    from rag_vqa.pipeline import RagVqa
    from rag_vqa.retriever.knowledge_base import KnowledgeBase

Condition: TypeAlias = Literal["none", "retrieved", "filtered", "oracle"]
CONDITIONS: tuple[Condition, ...] = get_args(Condition)
RETRIEVAL = "retrieval"  # in place of conditions: nothing is answered
_CONDITIONS_WITH_K = ("retrieved", "filtered")
_AXES = {"k": "1,3,5", "prompt": "short,answer"}  # with an example
_RECORDED_PACKAGES = ("torch", "transformers", "bitsandbytes")
BATCH_SIZE = 32  # questions: stored together, and given to the reader together
SERVED_BATCH_SIZE = 128  # with a reader behind servers: each server answers 16 at once


@dataclass(frozen=True, slots=True)
class Cell:
    """One row of the table.

    Attributes:
        condition: "none": no documents. "retrieved": the first k. "filtered": those of the first
            k that `RagVqa.select` keeps. "oracle": the documents that hold the answer.
        k: number of documents retrieved, and the maximum for "oracle"; 0 for "none".
        template: name or path of a template of `rag_vqa.prompts`; "closed-book" for "none".
        repeat: 0 for the first answer, 1 for the second, and so on: shows how much a server's
            answers vary.
    """

    condition: Condition
    k: int
    template: str
    repeat: int = 0

    @property
    def name(self) -> str:
        """The cell's name in tables and files, unique within a run.

        >>> Cell("retrieved", 3, "short").name, Cell("none", 0, "closed-book").name
        ('retrieved k=3 short', 'none')
        """
        again = f" #{self.repeat + 1}" if self.repeat else ""
        if self.condition == "none":
            return f"none{again}"
        k = f" k={self.k}" if self.condition in _CONDITIONS_WITH_K else ""
        return f"{self.condition}{k} {self.label}{again}"

    @property
    def label(self) -> str:
        """The template's file name, without the folder, which differs from machine to machine."""
        return Path(self.template).name


def make_cells(
    conditions: Sequence[str],
    k: int,
    template: str,
    grid: Mapping[str, Sequence[str]] | None = None,
    repeat: int = 1,
) -> tuple[Cell, ...]:
    """The cells of a run, without duplicates, in the order of the table.

    Args:
        conditions: some of CONDITIONS. ["retrieval"] gives no cells: nothing is answered.
        k, template: used where the grid names no other value.
        grid: `{"k": ["1", "3"], "prompt": ["short", "mine.jinja"]}`.
        repeat: number of times that each cell is answered.

    Raises:
        UsageError: an unknown condition or axis, or an invalid value.
    """
    grid = dict(grid or {})
    unknown = [name for name in grid if name not in _AXES]
    if unknown:
        raise UsageError(f"--grid {unknown[0]}=…: take one of {', '.join(_AXES)}.")
    empty = [name for name, values in grid.items() if not values]
    if empty:
        raise UsageError(f"--grid {empty[0]}=: give values, as {empty[0]}={_AXES[empty[0]]}")
    if repeat < 1:
        raise UsageError(f"--repeat {repeat}: give at least 1.")
    if list(conditions) == [RETRIEVAL]:
        if grid or repeat > 1:
            raise UsageError(
                f"--conditions {RETRIEVAL} answers nothing: leave out --grid and --repeat."
            )
        return ()
    for condition in conditions:
        if condition not in CONDITIONS:
            known = ", ".join([*CONDITIONS, RETRIEVAL])
            raise UsageError(
                f"--conditions {condition}: choose from {known} ({RETRIEVAL} only alone)."
            )
    searched = any(condition != "none" for condition in conditions)
    depths = [_parse_depth(value) for value in grid.get("k", [str(k)])] if searched else [0]
    templates = grid.get("prompt", [template])
    labels = [Path(name).name for name in dict.fromkeys(templates)]
    for label in labels:
        if labels.count(label) > 1:
            raise UsageError(
                f"Two templates are called {label}, and a cell is named after its template. "
                "Rename one."
            )
    cells = [
        cell
        for again in range(repeat)
        for condition in CONDITIONS
        if condition in conditions
        for cell in _cells_of_condition(condition, depths, templates, again)
    ]
    return tuple(dict.fromkeys(cells))


def _cells_of_condition(
    condition: Condition, depths: Sequence[int], templates: Sequence[str], repeat: int
) -> list[Cell]:
    if condition == "none":
        return [Cell("none", 0, "closed-book", repeat)]
    if condition == "oracle":
        return [Cell("oracle", max(depths), template, repeat) for template in templates]
    return [Cell(condition, k, template, repeat) for template in templates for k in depths]


def _parse_depth(value: str) -> int:
    if not value.isdecimal() or int(value) < 1:
        raise UsageError(
            f"k = {value}: give 1 or more. To answer without documents: --conditions none."
        )

    return int(value)


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
    where: Where | None = None,
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
    shown = kb.shown_names
    return {
        "name": kb.path.resolve().name,
        "digest": kb.store.db.meta("digest"),
        "documents": documents,
        "passages": passages,
        "splitting": kb.manifest.splitting,
        **({"shown": list(shown)} if shown else {}),
    }


def _describe_retrieval(
    kb: KnowledgeBase,
    depth: int,
    where: Where | None,
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
        "where": plain_where(where),
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


def check_same_run(stored: Mapping[str, Any], requested: Mapping[str, Any], folder: object) -> None:
    """Refuse to resume a run with another specification.

    Raises:
        UsageError: names every value that differs.
    """
    hint = "Start another run with --out, or use the same options."
    check_unchanged(folder, stored, requested, hint)
