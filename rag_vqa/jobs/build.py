"""Builds a knowledge base or adds to it: survey the source, estimate, encode, list what is refused.

Knows the steps and the lists of refused documents. Does not know how a document is encoded or
stored (retriever/), nor how a build is divided among processes (sharded_build.py).
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from rag_vqa.demo_limits import report_retriever_limits
from rag_vqa.errors import UsageError
from rag_vqa.formats.document import Rejected
from rag_vqa.formatting import shorten_line
from rag_vqa.jobs import models
from rag_vqa.jobs.build_estimate import estimate_build
from rag_vqa.jobs.document_source import (
    MISSING_IMAGES_FILE,
    REJECTS_FILE,
    Shard,
    SourceOptions,
    SourceReader,
    describe_source,
)
from rag_vqa.jobs.download_consent import ModelRevision
from rag_vqa.jobs.models import BuiltWith
from rag_vqa.jobs.shown_choice import choose_shown, open_existing, remember_shown
from rag_vqa.jobs.signals import JobStopped
from rag_vqa.jobs.source_mistakes import check_pictures, report_other_documents
from rag_vqa.progress import LOG, Reporter

if TYPE_CHECKING:
    from rag_vqa.formats.source_statistics import SourceStatistics
    from rag_vqa.retriever.ingest_batch import UnusableImage
    from rag_vqa.retriever.knowledge_base import AddReport, KnowledgeBase
    from rag_vqa.retriever.shown_metadata import ShownNames
    from rag_vqa.settings_schema import Settings

MOST_SURVEY_LINES, LONGEST_SURVEY_LINE = 16, 240  # of a dry run
COMMIT_BATCHES = 8  # batches of a commit: sorting them by length leaves little padding


@dataclass(frozen=True)
class BuildOptions:
    """Options of a build.

    Attributes:
        out: folder of the knowledge base. An existing one is continued, or added to.
        split: how to divide long texts into passages: "window" or "none"; None: as the
            knowledge base was built, "window" for a new one.
        keep_tokens: False keeps only int8 codes, which take a third of the disk space of codes and
            fp16 tokens; None: as the knowledge base was built, True for a new one.
        shard: build only this shard of the source.
        yes: download missing models without asking.
    """

    source: SourceOptions
    out: Path
    split: str | None = None
    keep_tokens: bool | None = None
    shard: Shard = field(default_factory=Shard)
    yes: bool = False


@dataclass(frozen=True)
class AddOptions:
    """Options of adding documents to the knowledge base at `out`."""

    source: SourceOptions
    out: Path
    yes: bool = False


@dataclass(frozen=True)
class BuildReport:
    """Counts of documents: what the build did with each, and how many there are now.

    In the folder of the knowledge base, rejects.jsonl lists the refused documents, and missing.csv
    the missing pictures.

    Attributes:
        documents: number of documents that the knowledge base now holds.
        images: pictures of the documents that this build kept.
        missing_images: pictures that could not be used; missing.csv has the reasons.
        without_images: documents that were kept without one of their pictures.
    """

    path: Path
    added: int
    replaced: int
    unchanged: int
    refused: int
    documents: int
    images: int = 0
    missing_images: int = 0
    without_images: int = 0

    @property
    def has_kept_any(self) -> bool:
        """False if every document was refused."""
        return bool(self.added or self.replaced or self.unchanged)


@dataclass(frozen=True)
class PreparedBuild:
    """A build whose options are checked and whose source is surveyed; no model is loaded yet.

    Attributes:
        shown: names of metadata for the knowledge base to remember; None: as they are.
    """

    reader: SourceReader
    settings: Settings
    retriever: ModelRevision
    built_with: BuiltWith
    found: SourceStatistics
    shown: ShownNames | None


def build_knowledge_base(
    options: BuildOptions, settings: Settings | None = None, reporter: Reporter = LOG
) -> BuildReport:
    """Encode documents into a knowledge base. The same call continues a build that was stopped.

    Raises:
        UsageError, Mismatch, Missing: invalid options, or a model or file that is missing; raised
            before a model loads.
        BadInput: a document is refused, and the source is strict.
        JobStopped: a signal or ^C; what was committed is safe.
    """
    from rag_vqa.retriever.knowledge_base import KnowledgeBase

    prepared = prepare_build(options, settings, reporter)
    encoder = models.load_encoder(prepared.settings, *prepared.retriever, prepared.built_with)
    split, keep_tokens = options.split or "window", options.keep_tokens is not False
    if estimate := estimate_build(prepared.reader, encoder, split, keep_tokens):
        reporter.note(estimate)
    with KnowledgeBase.create(
        options.out, encoder, exist_ok=True, split=options.split, keep_tokens=options.keep_tokens
    ) as kb:
        remember_shown(kb, prepared.shown)
        return add_records(kb, prepared.reader, options.out, prepared.settings, reporter)


def add_documents(
    options: AddOptions, settings: Settings | None = None, reporter: Reporter = LOG
) -> BuildReport:
    """Add documents to a knowledge base that exists; equal ones are not encoded again.

    Raises: as `build_knowledge_base`.
    """
    from rag_vqa.settings import load_settings

    settings = settings or load_settings()
    reader = SourceReader(options.source)
    with models.open_for_writing(settings, options.out, reporter, yes=options.yes) as kb:
        found = report_survey(reader, options.out, reporter)
        check_pictures(reader.source, found)
        report_retriever_limits(kb.manifest.source, found.texts, reporter)
        remember_shown(kb, choose_shown(reader, found, settings, kb, reporter))
        return add_records(kb, reader, options.out, settings, reporter)


def prepare_build(
    options: BuildOptions,
    settings: Settings | None,
    reporter: Reporter,
    *,
    dry_run: bool = False,
) -> PreparedBuild:
    """Check the options, survey the source, and get consent to downloads.

    Args:
        dry_run: nothing will be written to `options.out`.

    Raises: as `build_knowledge_base`.
    """
    from rag_vqa.retriever.store.kb_manifest import resolve_splitting
    from rag_vqa.settings import load_settings

    settings = settings or load_settings()
    if options.split is not None:
        resolve_splitting(options.split)
    check_output_folder(options.out)
    reader = SourceReader(options.source, options.shard)
    retriever, built_with = models.choose_retriever(
        settings, options.out, reporter, split=options.split, keep_tokens=options.keep_tokens
    )
    most = MOST_SURVEY_LINES if dry_run else None
    found = report_survey(reader, None if dry_run else options.out, reporter, most)
    check_pictures(reader.source, found)
    report_retriever_limits(retriever[0], found.texts, reporter)
    with open_existing(options.out) as kb:
        if kb is not None and options.shard.count == 1:
            report_other_documents(kb, reader.source, found, reporter)
        shown = choose_shown(reader, found, settings, kb, reporter)
    models.check_models([retriever], settings, reporter, yes=options.yes, built_with=built_with)
    return PreparedBuild(reader, settings, retriever, built_with, found, shown)


def check_output_folder(path: Path) -> None:
    """Raise UsageError if no knowledge base can be written at `path`."""
    from rag_vqa.retriever.store.database import DATABASE_FILE
    from rag_vqa.retriever.store.document_store import has_foreign_files

    place = path
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise UsageError(f"--out {path}: {place} is a file. Give another name.")
    if not os.access(place, os.W_OK):
        raise UsageError(f"--out {path}: {place} cannot be written to. Give another place.")
    if place == path and not (path / DATABASE_FILE).exists() and has_foreign_files(path):
        raise UsageError(f"--out {path}: the folder holds other files. Give another name.")


def report_survey(
    reader: SourceReader, out: Path | None, reporter: Reporter, most: int | None = None
) -> SourceStatistics:
    """Survey the source, and report what it holds before any model loads.

    Args:
        most: lines to report, each shortened; None: all, and whole ones.
    """
    found = reader.survey()
    for line in islice(describe_source(reader.source, found, out), most):
        reporter.note(line if most is None else shorten_line(line, LONGEST_SURVEY_LINE))
    shard = reader.shard
    if shard.count > 1:
        reporter.note(f"shard {shard.number} of {shard.count}: {reader.total:,} documents")
    return found


def add_records(
    kb: KnowledgeBase, reader: SourceReader, out: Path, settings: Settings, reporter: Reporter
) -> BuildReport:
    """Encode and store the documents of a source.

    Raises:
        JobStopped: the lists of refused documents are written, and what was committed is safe.
    """
    from rag_vqa.retriever.knowledge_base import AddReport

    report = AddReport()
    try:
        with reporter.progress("encode", reader.total) as advance:
            kb.add(
                reader,
                batch_size=COMMIT_BATCHES * settings.retriever.batch_size,
                on_progress=advance,
                strict=reader.options.strict,
                report=report,
            )
    except (KeyboardInterrupt, JobStopped) as stop:
        write_refused(out, [*reader.rejected, *report.rejected], report.missing_images)
        raise JobStopped.after(stop, continue_message(kb)) from None
    return finish_build(kb, out, reader.rejected, report, reporter)


def continue_message(kb: KnowledgeBase) -> str:
    """The message for the person when a build stops."""
    return f"{len(kb):,} documents are safe. The same command goes on from here."


def finish_build(
    kb: KnowledgeBase, out: Path, rejected: list[Rejected], report: AddReport, reporter: Reporter
) -> BuildReport:
    """List the refused documents, prepare the index, and sum up.

    Args:
        rejected: what the source refused; `report` holds what the knowledge base refused.
    """
    refused = [*rejected, *report.rejected]
    write_refused(out, refused, report.missing_images)
    keep_index(kb, reporter)
    if report.cut:
        share = report.cut / report.tokens
        reporter.note(f"The retriever does not read {share:.1%} of the text: it exceeds the window")
    return BuildReport(
        out,
        report.added,
        report.replaced,
        report.unchanged,
        len(refused),
        len(kb),
        report.images,
        len(report.missing_images),
        report.without_images,
    )


def keep_index(kb: KnowledgeBase, reporter: Reporter) -> None:
    """Compute now what the search of very many passages needs, not at the first question."""
    if kb.retriever.has_cache:
        reporter.note(f"index: {kb.retriever.choice.reason}")
        kb.retriever.keep()


def write_refused(
    out: Path, rejected: Iterable[Rejected], missing_images: Iterable[UnusableImage]
) -> None:
    """Write the lists of refused documents and of unusable pictures into the folder `out`.

    Each file is replaced, never followed: it may be a link to any file of the user's.
    """
    from rag_vqa.storage import atomic

    lines = [json.dumps(asdict(refusal)) + "\n" for refusal in rejected]
    atomic.write_file(out / REJECTS_FILE, "".join(lines))
    table = io.StringIO(newline="")
    csv.writer(table).writerows([("document", "image", "reason"), *missing_images])
    atomic.write_file(out / MISSING_IMAGES_FILE, table.getvalue())
