"""Syncs a knowledge base with a source: encodes what changed, deletes what vanished.

Knows the options and what to report. Does not know how documents are compared
(retriever/sync_and_merge.py), nor how they are encoded.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rag_vqa.demo_limits import report_retriever_limits
from rag_vqa.formatting import one_line
from rag_vqa.jobs import models
from rag_vqa.jobs.build import (
    COMMIT_BATCHES,
    continue_message,
    keep_index,
    report_survey,
    write_refused,
)
from rag_vqa.jobs.document_source import MISSING_IMAGES_FILE, SourceOptions, SourceReader
from rag_vqa.jobs.shown_choice import choose_shown, remember_shown
from rag_vqa.jobs.signals import JobStopped
from rag_vqa.progress import LOG, Reporter

if TYPE_CHECKING:
    from rag_vqa.retriever.knowledge_base import KnowledgeBase, SyncReport
    from rag_vqa.settings_schema import Settings


@dataclass(frozen=True)
class SyncOptions:
    """Options of a sync.

    Attributes:
        dry_run: report what would change, and change nothing.
        force: delete even more than 5% of the documents.
        yes: download missing models without asking.
    """

    source: SourceOptions
    out: Path
    dry_run: bool = False
    force: bool = False
    yes: bool = False


@dataclass(frozen=True)
class SyncSummary:
    """Counts of documents: what the sync did with each, or would do after a dry run.

    Attributes:
        documents: number of documents in the knowledge base now.
        encoded: number of passages that were encoded.
        renamed: documents whose text and pictures have another id now; not encoded again.
        regained: how many of `changed` only got back a picture that was missing before.
        stayed: how many refused records have the id of a document here, which stays as it was.
        held: documents that stay as they were, because their pictures are missing.
        images: pictures of the documents that the source holds.
        missing_images: pictures that could not be used; missing.csv has the reasons.
        rash: more than 5% of the documents would be deleted, which needs `force`.
    """

    path: Path
    added: int
    changed: int
    deleted: int
    unchanged: int
    refused: int
    documents: int
    encoded: int
    renamed: int
    regained: int
    stayed: int
    held: int
    images: int
    missing_images: int
    rash: bool
    dry_run: bool


def sync_knowledge_base(
    options: SyncOptions, settings: Settings | None = None, reporter: Reporter = LOG
) -> SyncSummary:
    """Make a knowledge base hold what the source holds.

    Raises:
        UsageError: among others, more than 5% would be deleted without `force`.
        JobStopped: a signal or ^C; what was committed is safe.
        Mismatch, Missing, BadInput: as `build_knowledge_base`.
    """
    from rag_vqa.settings import load_settings

    settings = settings or load_settings()
    reader = SourceReader(options.source)
    with models.open_for_writing(settings, options.out, reporter, yes=options.yes) as kb:
        found = report_survey(reader, None if options.dry_run else options.out, reporter)
        report_retriever_limits(kb.manifest.source, found.texts, reporter)
        shown = choose_shown(reader, found, settings, kb, reporter)
        if not options.dry_run:
            remember_shown(kb, shown)
        try:
            with reporter.progress("compare", reader.total) as advance:
                report = kb.sync(
                    reader,
                    dry_run=options.dry_run,
                    force=options.force,
                    rejected=reader.rejected,
                    batch_size=COMMIT_BATCHES * settings.retriever.batch_size,
                    on_progress=advance,
                    strict=options.source.strict,
                )
        except (KeyboardInterrupt, JobStopped) as stop:
            raise JobStopped.after(stop, continue_message(kb)) from None
        return _finish_sync(kb, options, report, reporter)


def _finish_sync(
    kb: KnowledgeBase, options: SyncOptions, report: SyncReport, reporter: Reporter
) -> SyncSummary:
    if not options.dry_run:
        write_refused(options.out, report.rejected, report.missing_images)
        keep_index(kb, reporter)
    if report.kept:
        reporter.note(
            f"{report.kept:,} documents are not in the source and were kept: records without "
            "an id were refused, and may be these"
        )
    if report.renamed:
        old, new = map(one_line, report.renamed[0])
        others = f", and {len(report.renamed) - 1:,} more" if len(report.renamed) > 1 else ""
        reporter.note(f"renamed, with the same text and pictures: {old} → {new}{others}")
    if report.regained:
        reporter.note(f"{report.regained:,} changed documents got back a picture that was missing")
    if report.stayed:
        reporter.note(
            f"{report.stayed:,} refused documents stay as they are stored: delete them with "
            "rag-vqa kb delete, or mend their records"
        )
    if report.held:
        reporter.note(
            f"{report.held:,} documents stay as they were: their pictures are missing "
            f"→ {options.out / MISSING_IMAGES_FILE}"
        )
    if options.dry_run and report.rash:
        reporter.note("over 5% of the documents would be deleted, which needs --force")
    return SyncSummary(
        options.out,
        report.added,
        report.changed,
        report.deleted,
        report.unchanged,
        len(report.rejected),
        len(kb),
        report.encoded,
        len(report.renamed),
        report.regained,
        report.stayed,
        report.held,
        report.images,
        len(report.missing_images),
        report.rash,
        options.dry_run,
    )
