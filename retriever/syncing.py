"""Makes a knowledge base say what a source says: what changed is encoded, what vanished deleted.

It knows how a source is compared and when deleting would be rash. What a document goes through is
adding.py's. In memory are ids and hashes, never the documents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rag_vqa.errors import UsageError
from rag_vqa.formats.document import Rejected
from rag_vqa.retriever.adding import Adding
from rag_vqa.retriever.given import identity
from rag_vqa.retriever.store import Store
from rag_vqa.types import Document

_RASH = 0.05  # share of the documents; a source that was cut short would delete more than that
_DELETED = 1000  # documents of one commit


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What became of each document; of a dry run, what would.

    Attributes:
        changed: of other content than before; `encoded` counts the passages that this cost.
        kept: not in the source, and not deleted: records without an id were refused, and may be
            these.
        rejected: refused, with reasons. What is stored under their ids stays.
        missing_images, held: see AddReport.
        rash: over 5% of the documents are not in the source, which needs `force`.
    """

    added: int
    changed: int
    deleted: int
    unchanged: int
    kept: int = 0
    encoded: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    missing_images: list[tuple[str, str]] = field(default_factory=list)
    held: int = 0
    rash: bool = False


def sync(
    store: Store,
    adding: Adding,
    records: Iterable[Document | Mapping[str, Any]],
    refused: Sequence[Rejected],
    dry_run: bool,
    force: bool,
    on_progress: Callable[[int], None] | None,
) -> SyncReport:
    """See `KnowledgeBase.sync`. Deletions come last: interrupted before, nothing is lost."""
    before, _ = store.count()
    if not (isinstance(records, Iterator) or dry_run or force):
        there = {identity(record) for record in records} | {refusal.id for refusal in refused}
        if None not in there:  # else nothing will be deleted
            _check(len(_vanished(store, there)), before, "nothing was changed")
    adding.holds = True
    adding.take_all(records, on_progress)
    report = adding.report
    rejected = [*refused, *report.rejected]
    vanished = _vanished(store, {*adding.given, *(refusal.id for refusal in rejected)})
    kept = 0
    if any(refusal.id is None for refusal in rejected):
        vanished, kept = [], len(vanished)
    rash = len(vanished) > _RASH * before
    if not dry_run:
        if not force:
            _check(len(vanished), before, "none was deleted; what was added and changed is kept")
        for start in range(0, len(vanished), _DELETED):
            store.delete(vanished[start : start + _DELETED])
    return SyncReport(
        report.added, report.replaced, len(vanished), report.unchanged, kept, report.encoded,
        rejected, report.missing_images, report.held, rash,
    )  # fmt: skip


def _vanished(store: Store, there: set[str | None]) -> list[str]:
    stored = store.db.stream("SELECT id FROM documents ORDER BY row")
    return [identity for (identity,) in stored if identity not in there]


def _check(vanished: int, before: int, done: str) -> None:
    if vanished > _RASH * before:
        raise UsageError(
            f"{vanished:,} of {before:,} documents are not in the source, over {_RASH:.0%}: "
            f"{done}. If they are to go, add --force."
        )
