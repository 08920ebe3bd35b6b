"""Sharded builds: split a source into N shards, build each in its own process, merge in order.

Knows shard folders, which shards are left to build, the options that a sharded build was started
with, and merging. A sharded build resumes only with the same options and an unchanged source;
pictures in a folder of their own (--images) are not checked. Does not know how processes are
started (local_processes.py, ray_cluster.py). Each shard is a knowledge base of its own, so a
process that dies loses no more than an ordinary build does.
"""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import shlex
import shutil
import signal
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_vqa.errors import (
    EXIT_INTERRUPTED,
    EXIT_PARTIAL,
    RagVqaError,
    UsageError,
)
from rag_vqa.formats.document import Rejected
from rag_vqa.jobs import models
from rag_vqa.jobs.build import (
    BuildOptions,
    BuildReport,
    PreparedBuild,
    add_records,
    finish_build,
    prepare_build,
)
from rag_vqa.jobs.document_source import (
    MISSING_IMAGES_FILE,
    REJECTS_FILE,
    Shard,
    SourceOptions,
    SourceReader,
)
from rag_vqa.jobs.download_consent import ModelRevision
from rag_vqa.jobs.local_processes import SharedProgress, exit_of, run_processes
from rag_vqa.jobs.shown_choice import remember_shown
from rag_vqa.jobs.signals import JobStopped
from rag_vqa.progress import LOG, Reporter
from rag_vqa.storage import atomic
from rag_vqa.storage.fingerprint import check_unchanged, file_state

if TYPE_CHECKING:
    from rag_vqa.retriever.ingest_batch import UnusableImage
    from rag_vqa.retriever.knowledge_base import AddReport
    from rag_vqa.retriever.modeling.encoder import Encoder
    from rag_vqa.retriever.shown_metadata import ShownNames
    from rag_vqa.settings_schema import Settings

RECORD_FILE = "begun.json"


@dataclass(frozen=True)
class ShardedBuild:
    """Everything that a process needs to build a shard; each process gets a pickled copy.

    Attributes:
        total: number of documents of the source.
        count: number of shards.
        shown: names of metadata for the knowledge base to remember; None: none.
    """

    source: SourceOptions
    out: Path
    settings: Settings
    retriever: ModelRevision
    split: str | None
    keep_tokens: bool | None
    total: int
    count: int
    shown: ShownNames | None = None

    @classmethod
    def from_prepared(
        cls, options: BuildOptions, prepared: PreparedBuild, count: int
    ) -> ShardedBuild:
        """The sharded build of a prepared one."""
        return cls(
            options.source,
            options.out,
            prepared.settings,
            prepared.retriever,
            options.split,
            options.keep_tokens,
            prepared.reader.total,
            count,
            prepared.shown,
        )

    @property
    def folder(self) -> Path:
        """The folder of the shards, beside the knowledge base."""
        return self.out.with_name(f"{self.out.name}.parts")

    @property
    def _removed_folder(self) -> Path:
        """Name of the folder while it is removed."""
        return self.out.with_name(f"{self.out.name}.parts.gone")

    def shard_path(self, number: int) -> Path:
        """The folder of shard `number`, from 1."""
        return self.folder / f"{number}-of-{self.count}"

    def is_built(self, number: int) -> bool:
        """True if shard `number` has a knowledge base; a half-removed folder has none."""
        from rag_vqa.retriever.store.database import DATABASE_FILE

        return (self.shard_path(number) / DATABASE_FILE).exists()

    def missing_shards(self) -> list[int]:
        """Numbers of the shards that still have to be built, from 1.

        Deletes half-removed shard folders.
        """
        missing = [number for number in range(1, self.count + 1) if not self.is_built(number)]
        for path in map(self.shard_path, missing):
            if path.exists():
                shutil.rmtree(path)
        return missing

    def prepare_folder(self) -> None:
        """Create the folder of the shards, or check that its build can be resumed.

        Raises:
            UsageError: the knowledge base is there already, or the shards belong to another build.
        """
        from rag_vqa.retriever.store.database import DATABASE_FILE

        if self._removed_folder.exists():  # its removal was cut short
            shutil.rmtree(self._removed_folder)
        record = self._record()
        if not self.folder.is_dir():
            if (self.out / DATABASE_FILE).exists():
                raise UsageError(
                    f"{self.out} exists, and a sharded build makes a new one. Add to it: "
                    f"rag-vqa kb add SOURCE --out {self.out}"
                )
            self.folder.mkdir(parents=True)
        elif any(path.is_dir() for path in self.folder.iterdir()):
            hint = (
                "Resume with the same source and options, or start again: "
                f"rm -r {shlex.quote(str(self.folder))}"
            )
            before = _comparable(read_record(self.folder))
            check_unchanged(self.folder, before, _comparable(asdict(record)), hint)
            return
        record.write(self.folder)

    def _record(self) -> BuildRecord:
        return BuildRecord(
            self.count,
            self.total,
            source_id(self.source),
            source_fingerprint(self.source, [self.out, self.folder]),
            self.split,
            self.keep_tokens,
            " ".join(filter(None, self.retriever)),
        )

    def load_encoder(self, device: str | None = None, processes: int = 1) -> Encoder:
        """Load the retriever on a device; `processes` of them share the machine's cores."""
        import torch

        from rag_vqa.retriever.image_workers import default_workers

        asked = self.settings.retriever
        workers = default_workers() // processes if asked.workers is None else asked.workers
        own = asked.model_copy(update={"workers": workers, "device": device or asked.device})
        if processes > 1:
            torch.set_num_threads(max(1, torch.get_num_threads() // processes))
        return models.load_encoder(
            self.settings.model_copy(update={"retriever": own}), *self.retriever
        )

    def build_shard(
        self, number: int, encoder: Encoder, path: Path, reporter: Reporter = LOG
    ) -> None:
        """Build shard `number`, from 1, at `path`. Raises as `add_records`."""
        from rag_vqa.retriever.knowledge_base import KnowledgeBase

        reader = SourceReader(self.source, Shard(number, self.count))
        reader.set_documents(self.total)
        with KnowledgeBase.create(
            path, encoder, exist_ok=True, split=self.split, keep_tokens=self.keep_tokens
        ) as kb:
            add_records(kb, reader, path, self.settings, reporter)

    def merge(self, reporter: Reporter = LOG) -> BuildReport:
        """Merge the shards in order into one knowledge base, and remove them."""
        paths = [self.shard_path(number) for number in range(1, self.count + 1)]
        report = merge_shards(self.out, paths)
        # The first shard was copied whole: unchanged for the merge, but new for the person.
        report.added, report.unchanged = report.added + report.unchanged, 0
        rejected, missing_images = read_refused(paths)
        report.missing_images += missing_images
        with models.open_knowledge_base(self.out) as kb:
            remember_shown(kb, self.shown)
            merged = finish_build(kb, self.out, rejected, report, reporter)
        # Renamed first: half of the shards could be taken for a build to resume.
        self.folder.rename(self._removed_folder)
        shutil.rmtree(self._removed_folder)
        return merged


def build_on_devices(
    options: BuildOptions,
    devices: Sequence[str],
    settings: Settings | None = None,
    reporter: Reporter = LOG,
) -> BuildReport:
    """Build a knowledge base with one process a device; the same call resumes it.

    Args:
        devices: see `parse_devices`. A device that is named twice gets two processes.

    Raises:
        RagVqaError: a process failed.
        UsageError, Mismatch, Missing, JobStopped: as `build_knowledge_base`.
    """
    prepared = prepare_build(options, settings, reporter)
    sharded = ShardedBuild.from_prepared(options, prepared, len(devices))
    sharded.prepare_folder()
    # No lock, which a killed process could keep.
    done = multiprocessing.get_context("spawn").RawArray("q", sharded.count)
    targets = [
        (_build_shard_on_device, (sharded, number, device, done))
        for number, device in enumerate(devices, 1)
    ]
    try:
        with reporter.progress("encode", sharded.total) as advance:
            codes = run_processes(targets, lambda: advance(sum(done[:])))
    except (KeyboardInterrupt, JobStopped) as stop:
        raise JobStopped.after(stop, _continue_message(sum(done[:]))) from None
    check_exit_codes(codes, sharded.folder, sum(done[:]))
    return sharded.merge(reporter)


def _build_shard_on_device(sharded: ShardedBuild, number: int, device: str, done: Any) -> None:
    """In a process of its own: build a shard. Writes its progress into `done`."""
    warnings.simplefilter("ignore")  # every process would repeat them

    def build() -> None:
        encoder = sharded.load_encoder(device, sharded.count)
        reporter = SharedProgress(done, number - 1)
        sharded.build_shard(number, encoder, sharded.shard_path(number), reporter)

    sys.exit(exit_of(build, f"shard {number} on {device}"))


def check_exit_codes(codes: Sequence[int | None], folder: Path, documents: int) -> None:
    """Return if all processes have built their shards.

    Raises:
        RagVqaError: one failed.
        JobStopped: one was stopped.
    """
    # -SIGTERM: the signal came before the process could handle it.
    stopped = (EXIT_PARTIAL, EXIT_INTERRUPTED, -signal.SIGTERM)
    for number, code in enumerate(codes, 1):
        if code and code not in stopped:
            raise RagVqaError(
                f"Shard {number} of {len(codes)} ended with exit code {code}. The documents "
                f"encoded so far are safe in {folder}. The same command goes on from here."
            )
    if any(codes):
        raise JobStopped(_continue_message(documents))


def _continue_message(documents: int) -> str:
    return f"{documents:,} documents are safe. The same command goes on from here."


def merge_shards(out: Path, shards: Sequence[Path]) -> AddReport:
    """Take the documents of `shards`, in their order, into `out`; create it if needed."""
    from rag_vqa.retriever.store.database import DATABASE_FILE

    if not (out / DATABASE_FILE).exists():
        with models.open_knowledge_base(shards[0]) as first:
            first.snapshot(out)
    with models.open_knowledge_base(out) as kb:
        return kb.merge(shards)


def read_refused(folders: Iterable[Path]) -> tuple[list[Rejected], list[UnusableImage]]:
    """The refused documents and the unusable pictures that the lists in these folders name."""
    from rag_vqa.retriever.ingest_batch import UnusableImage

    rejected: list[Rejected] = []
    missing_images: list[UnusableImage] = []
    for folder in folders:
        rejected += (Rejected(**json.loads(line)) for line in _read_lines(folder / REJECTS_FILE))
        rows = [*csv.reader(_read_lines(folder / MISSING_IMAGES_FILE))][1:]  # without the header
        missing_images += [UnusableImage(*row[:3], *[""] * (3 - len(row))) for row in rows]
    return rejected, missing_images


def _read_lines(path: Path) -> Iterator[str]:
    if path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            yield from file


@dataclass(frozen=True)
class BuildRecord:
    """The options that a sharded build was started with, in words that an error can show.

    Attributes:
        parts: number of shards.
        source: path and options.
        files: number, total size, and a hash of their names, sizes and times of change.
    """

    parts: int
    documents: int
    source: str
    files: str
    split: str | None
    tokens_kept: bool | None
    retriever: str

    def write(self, folder: Path) -> None:
        """Write the record into `folder`, completely or not at all."""
        atomic.write_file(folder / RECORD_FILE, json.dumps(asdict(self)))


def read_record(folder: Path) -> dict[str, Any]:
    """The record in the folder of a sharded build, as JSON; {} if it has none."""
    file = folder / RECORD_FILE
    if not file.exists():
        return {}
    found: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return found


def _comparable(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record as a tree whose differences an error can show one by one."""
    source = json.loads(record.get("source", "{}"))
    path = source.pop("path", None)
    options = {name: value for name, value in record.items() if name not in ("source", "files")}
    # Paths differ at their ends, and a message shows the beginning of a long value.
    named = {"source": path and Path(path).name, "source folder": path and str(Path(path).parent)}
    plain = {name: "default" if value is None else value for name, value in options.items()}
    return {**named, "source options": source, "files": record.get("files"), **plain}


def source_id(source: SourceOptions) -> str:
    """Path and options of a source, without --strict, which changes no document."""
    return json.dumps(asdict(replace(source.absolute(), strict=False)), default=str)


def source_fingerprint(source: SourceOptions, excluded: Iterable[Path]) -> str:
    """The state of a source's files, without reading them.

    Args:
        excluded: folders to leave out, such as the output.
    """
    left_out = {os.path.realpath(path) for path in excluded}
    count = size = 0
    digest = sha256()
    for path in [*_source_files(source.path, left_out), *filter(None, [source.subset])]:
        state = file_state(path)
        count, size = count + 1, size + state[1]
        digest.update(json.dumps(state).encode())
    return f"{count:,} of {size:,} bytes ({digest.hexdigest()[:16]})"


def _source_files(path: Path, excluded: set[str]) -> Iterator[Path]:
    """The file itself, or all files of a folder in a stable order; hidden ones are left out."""
    if not path.is_dir():
        yield path
        return
    for folder, subfolders, names in os.walk(path):
        subfolders[:] = sorted(
            name
            for name in subfolders
            if name[0] != "." and os.path.realpath(Path(folder, name)) not in excluded
        )
        yield from (Path(folder, name) for name in sorted(names) if name[0] != ".")
