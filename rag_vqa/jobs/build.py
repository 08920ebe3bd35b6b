"""Builds a knowledge base, adds to it or syncs it: survey the source, estimate, encode, report.

Knows the steps and the lists of refused documents. Does not know how a document is encoded or
stored (retriever/), nor how a build is divided (sharded_build.py).
"""

from __future__ import annotations

import csv
import io
import json
import os
import resource
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_vqa.cli.context import CommandContext
from rag_vqa.cli.output import print_json
from rag_vqa.cli.progress import progress
from rag_vqa.errors import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_PARTIAL,
    BadInput,
    UsageError,
)
from rag_vqa.formats.document import Record, Rejected
from rag_vqa.formatting import escape_invisible, format_time_needed, one_line
from rag_vqa.jobs.document_source import (
    MISSING_IMAGES_FILE,
    REJECTS_FILE,
    Shard,
    SourceOptions,
    describe_source,
    survey_source,
)
from rag_vqa.jobs.signals import Stopped
from rag_vqa.progress import Advance

if TYPE_CHECKING:
    from rag_vqa.formats.source_statistics import SourceStatistics
    from rag_vqa.retriever.ingest_batch import AddReport
    from rag_vqa.retriever.knowledge_base import KnowledgeBase
    from rag_vqa.retriever.modeling import TokenEncoder
    from rag_vqa.retriever.sync_and_merge import SyncReport
    from rag_vqa.settings_schema import Settings
    from rag_vqa.types import Passage

PREVIEW_DOCUMENTS = 3  # documents
COMMIT_BATCHES = 8  # batches of a commit: as many are sorted by length, so that little is padding
ESTIMATE_FROM_DOCUMENTS = 1_000  # documents; a shorter build is as soon done as planned
PROBE_DOCUMENTS = 32  # documents
_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes


@dataclass
class BuildJob:
    """One run over a source. `tells` hears of its progress in place of the terminal."""

    run: CommandContext
    sourcing: SourceOptions
    out: Path
    shard: Shard = field(default_factory=Shard)
    rejected: list[Rejected] = field(default_factory=list)
    tells: Advance | None = None

    def open(self) -> None:
        """Finds out what the source is; what is wrong with the flags is told here."""
        self.source = self.sourcing.open(self.rejected)

    def survey(self, dry_run: bool = False) -> None:
        """Reads through the source and says what is there, before any model loads."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the reading that counts will tell
            self.found: SourceStatistics = survey_source(self.source)
        self.known(self.found.documents)
        for line in describe_source(self.source, self.found, None if dry_run else self.out):
            self.run.note(line)
        if self.shard.count > 1:
            self.run.note(f"part {self.shard.number} of {self.shard.count}: {self.total:,} of them")

    def known(self, documents: int) -> None:
        """How many the source holds, where that was found out before."""
        self.there, self.total = documents, self.shard.size(documents)

    def documents(self) -> Iterator[Record]:
        """The records of this part, from the beginning; what it refuses is told anew."""
        self.rejected.clear()
        return self.shard.of(self.source.records(), self.there, self.rejected.clear)

    def plan(self, encoder: TokenEncoder, split: str, kept: bool) -> None:
        """What the job will take, of a few documents encoded; short jobs are only begun."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            planned = estimate_build(self.documents(), self.total, encoder, split, kept)
        if planned is not None:
            self.run.note(planned)

    def preview(self, encoder: TokenEncoder, split: str) -> None:
        """Shows the first three documents as they would be encoded and read."""
        for line in preview_documents(islice(self.documents(), PREVIEW_DOCUMENTS), encoder, split):
            print(line)

    def add(self, kb: KnowledgeBase, settings: Settings) -> int:
        """Encodes and stores; the exit code: done, failed where nothing was kept, in part by
        a signal, interrupted."""
        from rag_vqa.retriever.ingest_batch import AddReport

        report = AddReport()

        def work(advance: Callable[[int], None]) -> None:
            kb.add(
                self.documents(),
                batch_size=COMMIT_BATCHES * settings.retriever.batch_size,
                on_progress=advance,
                strict=self.sourcing.strict,
                report=report,
            )

        return self._run(kb, "encode", work, report) or self.added(kb, report)

    def _index(self, kb: KnowledgeBase) -> None:
        """What the search of very many passages needs is worked out now, not at the first one."""
        if kb.retriever.has_cache:
            self.run.note(f"index: {kb.retriever.choice.reason}")
            kb.retriever.keep()

    def in_parts(
        self,
        settings: Settings,
        wanted: tuple[str, str | None],
        split: str | None,
        kept: bool | None,
        devices: str | None,
    ) -> int:
        """Builds parts on these devices, or on a cluster, and merges them; the exit code."""
        from rag_vqa import devices as rag_vqa_devices
        from rag_vqa.jobs import local_processes as here
        from rag_vqa.jobs import ray_cluster
        from rag_vqa.jobs.sharded_build import ShardedBuild

        names = [] if devices is None else rag_vqa_devices.parse_devices(devices)
        count = len(names) or ray_cluster.shard_count(self.total)
        parts = ShardedBuild(self.run, self.sourcing, self.out, settings, wanted, split, kept,
                      self.total, count)  # fmt: skip
        return here.build_on_devices(parts, names) if names else ray_cluster.build_on_cluster(parts)

    def sync(self, kb: KnowledgeBase, settings: Settings, dry_run: bool, force: bool) -> int:
        """Makes the knowledge base say what the source says; the exit code as of `add`."""
        done: list[SyncReport] = []

        def work(advance: Callable[[int], None]) -> None:
            done.append(
                kb.sync(
                    _RereadableSource(self.documents),
                    dry_run=dry_run,
                    force=force,
                    rejected=self.rejected,
                    batch_size=COMMIT_BATCHES * settings.retriever.batch_size,
                    on_progress=advance,
                    strict=self.sourcing.strict,
                )
            )

        return self._run(kb, "compare", work, None) or self._synced(kb, done[0], dry_run)

    def _run(
        self,
        kb: KnowledgeBase,
        name: str,
        work: Callable[[Callable[[int], None]], None],
        report: AddReport | None,
    ) -> int:
        quiet = self.run.quiet
        try:
            with warnings.catch_warnings(), progress(name, self.total, quiet=quiet) as advance:
                if quiet:
                    warnings.simplefilter("ignore")
                work(self.tells or advance)
        except (KeyboardInterrupt, Stopped) as stop:
            if report is not None:
                self._write(report.rejected, report.missing_images)
            by_hand = isinstance(stop, KeyboardInterrupt)
            if self.tells is None:
                print(
                    f"{'^C stopped' if by_hand else 'Stopped'}: {len(kb):,} documents are safe. "
                    "The same command goes on from here.",
                    file=sys.stderr,
                )
            return EXIT_INTERRUPTED if by_hand else EXIT_PARTIAL
        return EXIT_DONE

    def added(self, kb: KnowledgeBase, report: AddReport) -> int:
        """Writes down what was refused, and says what was done; the exit code."""
        self._write(report.rejected, report.missing_images)
        self._index(kb)
        counts = {"added": report.added, "replaced": report.replaced,
                  "unchanged": report.unchanged, "refused": len(self.rejected)}  # fmt: skip
        if report.cut:
            share = report.cut / report.tokens
            self.run.note(f"{share:.1%} of the text lies beyond the retriever's window, unread")
        self._say(kb, counts, {})
        # A part may be of refused documents alone; what its build keeps is known after merging.
        if self.shard.count == 1 and not report.added + report.replaced + report.unchanged:
            self.run.note(
                f"Nothing was kept. Mend what {self.out / REJECTS_FILE} lists, then: "
                f"rag-vqa kb add SOURCE --out {self.out}"
            )
            return EXIT_FAILED
        if not self.run.json:
            self.run.note(f'Ask it: rag-vqa ask {self.out} "…" --image FILE')
        return EXIT_DONE

    def _synced(self, kb: KnowledgeBase, report: SyncReport, dry_run: bool) -> int:
        if not dry_run:
            self.rejected = report.rejected
            self._write([], report.missing_images)
            self._index(kb)
        counts = {"added": report.added, "changed": report.changed, "deleted": report.deleted,
                  "unchanged": report.unchanged, "refused": len(report.rejected)}  # fmt: skip
        if report.kept:
            self.run.note(
                f"{report.kept:,} documents are not in the source and were kept: records without "
                "an id were refused, and may be these"
            )
        if report.held:
            self.run.note(
                f"{report.held:,} documents stay as they were: their pictures are missing "
                f"→ {self.out / MISSING_IMAGES_FILE}"
            )
        if dry_run and report.rash:
            self.run.note("over 5% of the documents would be deleted: that needs --force")
        more = {"encoded": report.encoded, "held": report.held, "rash": report.rash}
        self._say(kb, counts, {**more, "dry_run": dry_run})
        return EXIT_DONE

    def _say(self, kb: KnowledgeBase, counts: Mapping[str, int], more: Mapping[str, Any]) -> None:
        if self.run.json:
            print_json({"path": str(self.out), **counts, "documents": len(kb), **more})
            return
        said = " · ".join(f"{count:,} {name}" for name, count in counts.items() if count)
        refused = (
            f" → {self.out / REJECTS_FILE}" if self.rejected and not more.get("dry_run") else ""
        )
        self.run.note(f"{self.out}: {len(kb):,} documents ({said or 'nothing new'}{refused})")

    def _write(self, rejected: list[Rejected], missing: list[tuple[str, str]]) -> None:
        """Whole, under new names: what lies there may be a link to any file of the user's."""
        from rag_vqa.storage import atomic

        self.rejected += rejected
        lines = [json.dumps(asdict(refusal)) + "\n" for refusal in self.rejected]
        atomic.write_file(self.out / REJECTS_FILE, "".join(lines).encode())
        table = io.StringIO(newline="")
        csv.writer(table).writerows([("document", "image"), *missing])
        atomic.write_file(self.out / MISSING_IMAGES_FILE, table.getvalue().encode())


def is_sharded_build(engine: str, devices: str | None, shard: str | None, dry_run: bool) -> bool:
    """Whether a build is one of several parts. Raises UsageError for what does not go together."""
    if engine not in ("local", "ray"):
        raise UsageError(f"--engine {engine}: give local or ray.")
    given = {"--devices": devices, "--engine ray": engine == "ray", "--shard": shard}
    asked = [name for name, value in given.items() if value]
    if len(asked) > 1 or (dry_run and (devices or engine == "ray")):
        both = " and ".join([*asked, *["--dry-run"] * dry_run][:2])
        raise UsageError(f"{both} do not go together: leave out one of them.")
    return devices is not None or engine == "ray"


@dataclass(frozen=True)
class _RereadableSource:
    """A source that can be read again, from its beginning each time."""

    read: Callable[[], Iterator[Record]]

    def __iter__(self) -> Iterator[Record]:
        return self.read()


def check_output_folder(path: Path) -> None:
    """Raises UsageError if no knowledge base can be written at `path`."""
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


def estimate_build(
    records: Iterable[Record], total: int, encoder: TokenEncoder, split: str, kept: bool
) -> str | None:
    """One line: passages, disk, memory, time; None for a short job."""
    from rag_vqa.retriever.index.int8_quantization import code_dtype

    if total < ESTIMATE_FROM_DOCUMENTS:
        return None
    passages = [
        p
        for record in islice(records, PROBE_DOCUMENTS)
        for p in passages_of(record, encoder, split)
    ]
    encoder.encode_passages(passages)  # the first time allocates, and chooses kernels
    start = time.monotonic()
    encoder.encode_passages(passages)
    seconds = (time.monotonic() - start) / max(1, len(passages))
    count = total * len(passages) // PROBE_DOCUMENTS
    row = code_dtype(encoder.K, encoder.D).itemsize + 2 * encoder.K * encoder.D * kept
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_UNIT
    return (
        f"about {count:,} passages · {count * row / 1e9:.1f} GB of tokens · "
        f"{memory / 1e9:.1f} GB of memory · {format_time_needed(count * seconds)} "
        f"at {1 / seconds:.0f}/s"
    )


def passages_of(record: Record, encoder: TokenEncoder, split: str) -> list[Passage]:
    """What of a record would be encoded; nothing of one that would be refused."""
    from rag_vqa.retriever import passages

    try:
        if split == "none":
            return [passages.whole_document_passage(record)]
        return passages.split_document(record, encoder.count_tokens, encoder.window)
    except BadInput:
        return []


def preview_documents(
    records: Iterable[Record], encoder: TokenEncoder, split: str
) -> Iterator[str]:
    """Lines that show each record as it would be read, and as it would be encoded."""
    for record in records:
        yield f"{one_line(record.id)}"
        yield f"  read:    {_shorten(' · '.join(x for x in (record.title, record.section) if x))}"
        yield f"           {_shorten(record.text) or '(no text)'}"
        for name, value in record.metadata.items():
            yield f"           {one_line(name)} = {one_line(str(value))}"
        passages = passages_of(record, encoder, split)
        if not passages:
            yield "  refused: it has neither text nor image"
        for passage in passages:
            tokens = encoder.count_tokens(passage.text)
            image = f" + {one_line(str(passage.image))}" if passage.image is not None else ""
            yield f"  encoded: {_shorten(passage.text)} [{tokens} tokens]{image}"


def _shorten(text: str, most: int = 160) -> str:
    line = one_line(escape_invisible(text))
    return line if len(line) <= most else f"{line[: most - 1]}…"
