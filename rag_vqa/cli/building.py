"""The jobs behind `kb build`, `kb add` and `kb sync`: look first, then encode; what was refused is
written down.

It knows files, progress and signals. How a document is stored is the knowledge base's matter.
"""

from __future__ import annotations

import csv
import io
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_vqa.cli.output import print_json
from rag_vqa.cli.planning import plan, preview
from rag_vqa.cli.progress import Advance, progress
from rag_vqa.cli.run import Run
from rag_vqa.cli.sourcing import Shard, Sourcing, look_through, said
from rag_vqa.cli.stopping import Stopped
from rag_vqa.errors import UsageError
from rag_vqa.formats.document import Record, Rejected

if TYPE_CHECKING:
    from rag_vqa.formats.survey import Survey
    from rag_vqa.retriever.encoding import TokenEncoder
    from rag_vqa.retriever.knowledge_base import AddReport, KnowledgeBase, SyncReport
    from rag_vqa.settings import Settings

REJECTS, MISSING = "rejects.jsonl", "missing.csv"
DONE, FAILED, IN_PART, INTERRUPTED = 0, 1, 4, 130
PREVIEWED = 3  # documents
SORTED = 8  # batches of a commit: as many are sorted by length, so that little is padding


@dataclass
class Build:
    """One run over a source. `tells` hears of its progress in place of the terminal."""

    run: Run
    sourcing: Sourcing
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
            self.found: Survey = look_through(self.source)
        self.known(self.found.documents)
        for line in said(self.source, self.found, None if dry_run else self.out):
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
            planned = plan(self.documents(), self.total, encoder, split, kept)
        if planned is not None:
            self.run.note(planned)

    def preview(self, encoder: TokenEncoder, split: str) -> None:
        """Shows the first three documents as they would be encoded and read."""
        for line in preview(islice(self.documents(), PREVIEWED), encoder, split):
            print(line)

    def add(self, kb: KnowledgeBase, settings: Settings) -> int:
        """Encodes and stores; the exit code: done, failed where nothing was kept, in part by
        a signal, interrupted."""
        from rag_vqa.retriever.knowledge_base import AddReport

        report = AddReport()

        def work(advance: Callable[[int], None]) -> None:
            kb.add(
                self.documents(),
                batch_size=SORTED * settings.retriever.batch_size,
                on_progress=advance,
                strict=self.sourcing.strict,
                report=report,
            )

        return self._run(kb, "encode", work, report) or self.added(kb, report)

    def _index(self, kb: KnowledgeBase) -> None:
        """What the search of very many passages needs is worked out now, not at the first one."""
        if kb.retriever.choice.engine == "faiss":
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
        from rag_vqa.cli import cluster
        from rag_vqa.cli import devices as here
        from rag_vqa.cli.parts import Parts

        names = [] if devices is None else here.named(devices)
        count = len(names) or cluster.count(self.total)
        parts = Parts(self.run, self.sourcing, self.out, settings, wanted, split, kept,
                      self.total, count)  # fmt: skip
        return here.build(parts, names) if names else cluster.build(parts)

    def sync(self, kb: KnowledgeBase, settings: Settings, dry_run: bool, force: bool) -> int:
        """Makes the knowledge base say what the source says; the exit code as of `add`."""
        done: list[SyncReport] = []

        def work(advance: Callable[[int], None]) -> None:
            done.append(
                kb.sync(
                    _Again(self.documents),
                    dry_run=dry_run,
                    force=force,
                    rejected=self.rejected,
                    batch_size=SORTED * settings.retriever.batch_size,
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
            return INTERRUPTED if by_hand else IN_PART
        return DONE

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
                f"Nothing was kept. Mend what {self.out / REJECTS} lists, then: "
                f"rag-vqa kb add SOURCE --out {self.out}"
            )
            return FAILED
        if not self.run.json:
            self.run.note(f'Ask it: rag-vqa ask {self.out} "…" --image FILE')
        return DONE

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
                f"→ {self.out / MISSING}"
            )
        if dry_run and report.rash:
            self.run.note("over 5% of the documents would be deleted: that needs --force")
        more = {"encoded": report.encoded, "held": report.held, "rash": report.rash}
        self._say(kb, counts, {**more, "dry_run": dry_run})
        return DONE

    def _say(self, kb: KnowledgeBase, counts: Mapping[str, int], more: Mapping[str, Any]) -> None:
        if self.run.json:
            print_json({"path": str(self.out), **counts, "documents": len(kb), **more})
            return
        said = " · ".join(f"{count:,} {name}" for name, count in counts.items() if count)
        refused = f" → {self.out / REJECTS}" if self.rejected and not more.get("dry_run") else ""
        self.run.note(f"{self.out}: {len(kb):,} documents ({said or 'nothing new'}{refused})")

    def _write(self, rejected: list[Rejected], missing: list[tuple[str, str]]) -> None:
        """Whole, under new names: what lies there may be a link to any file of the user's."""
        from rag_vqa.retriever.store import files

        self.rejected += rejected
        lines = [json.dumps(asdict(refusal)) + "\n" for refusal in self.rejected]
        files.write_whole(self.out / REJECTS, "".join(lines).encode())
        table = io.StringIO(newline="")
        csv.writer(table).writerows([("document", "image"), *missing])
        files.write_whole(self.out / MISSING, table.getvalue().encode())


def in_parts(engine: str, devices: str | None, shard: str | None, dry_run: bool) -> bool:
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
class _Again:
    """A source that can be read again, from its beginning each time."""

    read: Callable[[], Iterator[Record]]

    def __iter__(self) -> Iterator[Record]:
        return self.read()


def check_output(path: Path) -> None:
    """Raises UsageError if no knowledge base can be written at `path`."""
    from rag_vqa.retriever.store import FILE, foreign

    place = path
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise UsageError(f"--out {path}: {place} is a file. Give another name.")
    if not os.access(place, os.W_OK):
        raise UsageError(f"--out {path}: {place} cannot be written to. Give another place.")
    if place == path and not (path / FILE).exists() and foreign(path):
        raise UsageError(f"--out {path}: the folder holds other files. Give another name.")
