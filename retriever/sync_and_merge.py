"""Sync a knowledge base with a source, or merge other knowledge bases into it.

Sync encodes what changed and deletes what the source no longer has. Merge takes documents with
their tokens, so that nothing is encoded again, and shards become what one build makes. Knows how
documents are compared, when a deletion is suspiciously large, and which knowledge bases may be
merged. Does not know how a document is ingested (ingest.py). Holds ids and hashes in memory, never
the documents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from rag_vqa.errors import Mismatch, UsageError
from rag_vqa.formats.document import Rejected
from rag_vqa.formatting import quote_value
from rag_vqa.retriever.ingest import Ingest
from rag_vqa.retriever.ingest_batch import AddReport, document_id
from rag_vqa.retriever.store.document_content import EncodedDocument, make_content
from rag_vqa.retriever.store.document_store import Store
from rag_vqa.retriever.store.segments import RowReader
from rag_vqa.types import Document

_SUSPICIOUS_SHARE = (
    0.05  # share of the documents; a source that was cut short would delete more than that
)
_DELETE_DOCUMENTS = 1000  # documents of one commit
_MERGE_DOCUMENTS = 256  # documents of one commit


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


def sync_documents(
    store: Store,
    adding: Ingest,
    records: Iterable[Document | Mapping[str, Any]],
    refused: Sequence[Rejected],
    dry_run: bool,
    force: bool,
    on_progress: Callable[[int], None] | None,
) -> SyncReport:
    """See `KnowledgeBase.sync`. Deletions come last: interrupted before, nothing is lost."""
    before, _ = store.count()
    if not (isinstance(records, Iterator) or dry_run or force):
        there = {document_id(record) for record in records} | {refusal.id for refusal in refused}
        if None not in there:  # else nothing will be deleted
            _check_deletions(len(_missing_ids(store, there)), before, "nothing was changed")
    adding.holds = True
    adding.take_all(records, on_progress)
    report = adding.report
    rejected = [*refused, *report.rejected]
    vanished = _missing_ids(store, {*adding.given, *(refusal.id for refusal in rejected)})
    kept = 0
    if any(refusal.id is None for refusal in rejected):
        vanished, kept = [], len(vanished)
    rash = len(vanished) > _SUSPICIOUS_SHARE * before
    if not dry_run:
        if not force:
            _check_deletions(
                len(vanished), before, "none was deleted; what was added and changed is kept"
            )
        for start in range(0, len(vanished), _DELETE_DOCUMENTS):
            store.delete(vanished[start : start + _DELETE_DOCUMENTS])
    return SyncReport(
        report.added, report.replaced, len(vanished), report.unchanged, kept, report.encoded,
        rejected, report.missing_images, report.held, rash,
    )  # fmt: skip


def _missing_ids(store: Store, there: set[str | None]) -> list[str]:
    stored = store.db.stream("SELECT id FROM documents ORDER BY row")
    return [identity for (identity,) in stored if identity not in there]


def _check_deletions(vanished: int, before: int, done: str) -> None:
    if vanished > _SUSPICIOUS_SHARE * before:
        raise UsageError(
            f"{vanished:,} of {before:,} documents are not in the source, "
            f"over {_SUSPICIOUS_SHARE:.0%}: "
            f"{done}. If they are to go, add --force."
        )


def merge_documents(into: Store, other: Store, report: AddReport) -> None:
    """Take all documents of `other`; equal ones count as unchanged, an id of other content is
    rejected. Interrupted, the same call goes on.

    Raises:
        Mismatch: the two were not built alike.
        CorruptKnowledgeBase: what would be taken is damaged.
    """
    check_mergeable(into, other)
    with other.db.snapshot():
        places = RowReader(other.db, other.segments)
        found = other.all_documents()
        while part := list(islice(found, _MERGE_DOCUMENTS)):
            taken = (_take_document(into, other, places, *pair, report) for pair in part)
            batch = [new for new in taken if new is not None]
            into.put(batch)
            report.added += len(batch)


def check_mergeable(into: Store, other: Store) -> None:
    """What two stores must share: all but the name that the retriever was loaded by.

    Raises:
        Mismatch: they do not.
    """
    mine = into.manifest
    named = replace(other.manifest, source=mine.source, revision=mine.revision)
    if replace(named, options=mine.options) != mine:
        raise Mismatch(
            f"{other.folder} was not built as {into.folder} was: with another retriever or "
            "splitting, or tokens are kept in one only. Build it again with the same options."
        )


def _take_document(
    into: Store, other: Store, places: RowReader, row: int, document: Document, report: AddReport
) -> EncodedDocument | None:
    """A document with its tokens, its pictures copied; None if it is not to be taken."""
    names = [Path(str(image)) for image in document.images]
    here = replace(document, images=tuple(into.image_path(path.name) for path in names))
    content, stored = make_content(here), into.stored_hashes(document.id)
    if stored is not None:
        if stored[0] == content.hash:
            report.unchanged += 1
        else:
            reason = f"the id {quote_value(document.id)} of {other.folder} has other content here."
            report.rejected.append(Rejected(None, document.id, reason))
        return None
    for path in names:
        into.pictures.keep_copy(path)
    keyed = other.passages_of(row)
    passages = [
        replace(p, image=None if p.image is None else into.image_path(Path(str(p.image)).name))
        for _, p in keyed
    ]
    tokens, codes = places.rows(np.array([key for key, _ in keyed], np.int64))
    ((length, cut),) = other.db.rows("SELECT tokens, cut FROM documents WHERE row = ?", [row])
    return EncodedDocument(here, content, passages, tokens, codes, length, cut)
