"""Sync a knowledge base with a source, or merge other knowledge bases into it.

Sync encodes what changed and deletes what the source no longer has. Merge takes documents with
their tokens, so that nothing is encoded again, and shards become what one build makes. Knows how
documents are compared, when a deletion is suspiciously large, and which knowledge bases may be
merged. Does not know how a document is ingested (ingest.py). Holds ids and hashes in memory, never
the documents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from rag_vqa.errors import Mismatch, UsageError
from rag_vqa.formats.document import Record, Rejected
from rag_vqa.formatting import quote_value
from rag_vqa.retriever.ingest import Ingest
from rag_vqa.retriever.ingest_batch import AddReport, UnusableImage, document_id
from rag_vqa.retriever.store.document_content import EncodedDocument, make_content
from rag_vqa.retriever.store.document_store import Store
from rag_vqa.retriever.store.segments import RowReader
from rag_vqa.retriever.stored_copies import match_renamed
from rag_vqa.types import Document

_SUSPICIOUS_SHARE = 0.05  # of the documents; a truncated source would delete more than this
_DELETE_DOCUMENTS = 1000  # in one commit
_MERGE_DOCUMENTS = 256  # in one commit


@dataclass(frozen=True, slots=True)
class SyncReport:
    """The outcome for each document; after a dry run, what would happen to it.

    Attributes:
        changed: documents with new content; `encoded` counts the passages encoded for them.
        renamed: old and new ids of documents that have the same text and pictures under another
            id; they are neither added nor deleted ones, and keep their tokens, unless their title
            changed, too.
        regained: how many of `changed` only got back a picture that was missing before.
        stayed: how many rejected records have the id of a stored document, which stays as it was.
        kept: documents that are not in the source but were not deleted, because a rejected record
            has no id and may be any of them.
        rejected: rejected records, with reasons. Documents stored under their ids stay.
        missing_images, images, held: see AddReport.
        rash: over 5% of the documents are not in the source, so deleting them needs `force`.
    """

    added: int
    changed: int
    deleted: int
    unchanged: int
    kept: int = 0
    encoded: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    missing_images: list[UnusableImage] = field(default_factory=list)
    held: int = 0
    rash: bool = False
    images: int = 0
    renamed: list[tuple[str, str]] = field(default_factory=list)
    regained: int = 0
    stayed: int = 0


def sync_documents(
    store: Store,
    ingest: Ingest,
    records: Iterable[Document | Mapping[str, Any]],
    rejected_records: Sequence[Rejected],
    dry_run: bool,
    force: bool,
    on_progress: Callable[[int], None] | None,
) -> SyncReport:
    """See `KnowledgeBase.sync`. Deletions come last: an interruption before them loses nothing."""
    before, _ = store.count()
    ingest.syncs = True
    if not isinstance(records, Iterator):
        scanned = ingest.trial()
        same, all_named = _scan(scanned, records)
        lost, _ = _lost_documents(store, scanned, rejected_records)
        if same and not lost and not rejected_records:
            if on_progress is not None:
                on_progress(len(scanned.seen))
            return SyncReport(0, 0, 0, scanned.report.unchanged, images=scanned.report.images)
        all_named = all_named and all(one.id is not None for one in rejected_records)
        if _is_rash(len(lost), before) and all_named and not (dry_run or force):
            trial = ingest.trial()  # with the contents, which tell renamed documents
            trial.add_all(records, None)
            lost, _ = _lost_documents(store, trial, rejected_records)
            _check_deletions(len(lost), before, "nothing was changed")
    ingest.add_all(records, on_progress)
    report = ingest.report
    rejected = [*rejected_records, *report.rejected]
    lost, renamed = _lost_documents(store, ingest, rejected_records)
    kept = 0
    if any(one.id is None for one in rejected):
        lost, renamed, kept = [], [], len(lost) + len(renamed)
    rash = _is_rash(len(lost), before)
    if not dry_run:
        if not force:
            _check_deletions(
                len(lost), before, "none was deleted; what was added and changed is kept"
            )
        gone = [*lost, *(old for old, _ in renamed)]
        for start in range(0, len(gone), _DELETE_DOCUMENTS):
            store.delete(gone[start : start + _DELETE_DOCUMENTS])
    return SyncReport(
        added=report.added - len(renamed),
        changed=report.replaced,
        deleted=len(lost),
        unchanged=report.unchanged,
        kept=kept,
        encoded=report.encoded,
        rejected=rejected,
        missing_images=report.missing_images,
        images=report.images,
        held=report.held,
        rash=rash,
        renamed=renamed,
        regained=report.regained,
        stayed=sum(store.stored_hashes(one.id) is not None for one in rejected if one.id),
    )


def _scan(trial: Ingest, records: Iterable[Document | Mapping[str, Any]]) -> tuple[bool, bool]:
    """Read a source without its pictures, for ids, and for a report if nothing has changed.

    Returns whether all documents are stored as they are, as far as that shows without reading
    pictures whose files have changed; and whether all have ids.
    """
    same = all_named = True
    for record in records:
        if isinstance(record, Record) and trial.is_unchanged(record):
            continue
        same, identity = False, document_id(record)
        if identity is None:
            all_named = False
        else:
            trial.seen.setdefault(identity, b"")
    trial.close()
    return same, all_named


def _lost_documents(
    store: Store, ingest: Ingest, rejected: Sequence[Rejected]
) -> tuple[list[str], list[tuple[str, str]]]:
    """Ids of stored documents whose content the source no longer has, and renamed documents."""
    refused = {one.id for one in (*rejected, *ingest.report.rejected)}
    missing = _missing_ids(store, set(ingest.seen), refused)
    documents = (found[1] for identity in missing if (found := store.document(identity)))
    renamed = match_renamed(ingest.added, documents) if ingest.added else []
    moved = {old for old, _ in renamed}
    return [identity for identity in missing if identity not in moved], renamed


def _missing_ids(store: Store, ids: Set[str | None], refused: Set[str | None]) -> list[str]:
    """Ids of stored documents that are neither among `ids` nor sections of refused documents."""
    stored = store.db.stream("SELECT id FROM documents ORDER BY row")
    return [
        identity
        for (identity,) in stored
        if identity not in ids
        and identity not in refused
        and identity.partition("#")[0] not in refused
    ]


def _is_rash(missing: int, before: int) -> bool:
    return missing > _SUSPICIOUS_SHARE * before


def _check_deletions(missing: int, before: int, outcome: str) -> None:
    if _is_rash(missing, before):
        raise UsageError(
            f"{missing:,} of {before:,} documents are not in the source, over "
            f"{_SUSPICIOUS_SHARE:.0%}: {outcome}. To delete them, add --force."
        )


def merge_documents(into: Store, other: Store, report: AddReport) -> None:
    """Copy all documents of `other`; equal ones count as unchanged.

    Rejects a document whose id exists with other content. After an interruption the same call
    resumes.

    Raises:
        Mismatch: the two were built with other retrievers or options.
        CorruptKnowledgeBase: `other` is damaged.
    """
    check_mergeable(into, other)
    with other.db.snapshot():
        rows = RowReader(other.db, other.segments)
        found = other.all_documents()
        while part := list(islice(found, _MERGE_DOCUMENTS)):
            taken = (_copy_document(into, other, rows, *pair, report) for pair in part)
            batch = [new for new in taken if new is not None]
            into.put(batch)
            report.added += len(batch)


def check_mergeable(into: Store, other: Store) -> None:
    """Refuse to merge stores that differ in more than the path of their retriever.

    Raises:
        Mismatch: they differ.
    """
    mine = into.manifest
    theirs = replace(other.manifest, source=mine.source, revision=mine.revision)
    if replace(theirs, options=mine.options) != mine:
        raise Mismatch(
            f"{other.folder} was built with other options than {into.folder}: another retriever, "
            "another splitting, or fp16 tokens kept in one only. Build it again with the same ones."
        )


def _copy_document(
    into: Store, other: Store, reader: RowReader, row: int, document: Document, report: AddReport
) -> EncodedDocument | None:
    """A document with its tokens; copies its pictures. None if it is not to be merged."""
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
    tokens, codes = reader.rows(np.array([key for key, _ in keyed], np.int64))
    ((length, cut),) = other.db.rows("SELECT tokens, cut FROM documents WHERE row = ?", [row])
    return EncodedDocument(here, content, passages, tokens, codes, length, cut)
