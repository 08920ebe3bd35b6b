"""Sharded builds: split a source into N shards, build each in its own process, merge in order.

Knows shard folders, what is left to build, the options that a sharded build was started with, and
merging. A sharded build resumes only with the same options and an unchanged source; pictures in a
folder of their own (--images) are not checked. Does not know how processes are started
(local_processes.py, ray_cluster.py). Each shard is a knowledge base of its own, so a process that
dies loses no more than an ordinary build does.
"""

from __future__ import annotations

import csv
import json
import os
import shlex
import shutil
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_vqa.cli.context import CommandContext
from rag_vqa.errors import EXIT_DONE, EXIT_INTERRUPTED, EXIT_PARTIAL, RagVqaError, UsageError
from rag_vqa.formats.document import Rejected
from rag_vqa.jobs.build import BuildJob
from rag_vqa.jobs.document_source import MISSING_IMAGES_FILE, REJECTS_FILE, Shard, SourceOptions
from rag_vqa.storage import atomic
from rag_vqa.storage.fingerprint import check_unchanged, file_state

if TYPE_CHECKING:
    from rag_vqa.retriever.ingest_batch import AddReport
    from rag_vqa.retriever.modeling.encoder import Encoder
    from rag_vqa.settings_schema import Settings

RECORD_FILE = "begun.json"


@dataclass(frozen=True)
class ShardedBuild:
    """All that a process needs to build a part; it travels there whole.

    Attributes:
        total: documents of the source.
        wanted: name and commit of the retriever.
        kept: False: codes alone.
    """

    run: CommandContext
    sourcing: SourceOptions
    out: Path
    settings: Settings
    wanted: tuple[str, str | None]
    split: str | None
    kept: bool | None
    total: int
    count: int

    @property
    def folder(self) -> Path:
        return self.out.with_name(f"{self.out.name}.parts")

    def path(self, number: int) -> Path:
        return self.folder / f"{number}-of-{self.count}"

    def there(self, number: int) -> bool:
        """Whether part `number` is there; a folder that is being removed is none."""
        from rag_vqa.retriever.store.database import DATABASE_FILE

        return (self.path(number) / DATABASE_FILE).exists()

    def left(self) -> list[int]:
        """The parts that are not there. What lies in their place, half removed, goes."""
        missing = [n for n in range(1, self.count + 1) if not self.there(n)]
        for path in map(self.path, missing):
            if path.exists():
                shutil.rmtree(path)
        return missing

    def begin(self) -> None:
        """Make the folder of the parts, or go on in it.

        Raises:
            UsageError: what is to be built is there, or the parts are those of another build.
        """
        from rag_vqa.retriever.store.database import DATABASE_FILE

        if self._gone.exists():  # its removal was cut short
            shutil.rmtree(self._gone)
        now = self._begun()
        if not self.folder.is_dir():
            if (self.out / DATABASE_FILE).exists():
                raise UsageError(
                    f"{self.out} is there, and parts make a new one. Add to it: rag-vqa kb add "
                    f"SOURCE --out {self.out}"
                )
            self.folder.mkdir(parents=True)
        elif any(path.is_dir() for path in self.folder.iterdir()):
            hint = (
                "Resume with the same source and options, or start again: "
                f"rm -r {shlex.quote(str(self.folder))}"
            )
            check_unchanged(self.folder, read_record(self.folder), asdict(now), hint)
            return
        now.write(self.folder)

    def _begun(self) -> BuildRecord:
        files = source_fingerprint(self.sourcing, [self.out, self.folder])
        retriever = " ".join(filter(None, self.wanted))
        return BuildRecord(self.count, self.total, source_id(self.sourcing), files, self.split,
                           self.kept, retriever)  # fmt: skip

    @property
    def _gone(self) -> Path:
        return self.out.with_name(f"{self.out.name}.parts.gone")

    def encoder(self, device: str | None = None, sharers: int = 1) -> Encoder:
        """The retriever on a device; `sharers` processes share the machine's cores."""
        import torch

        from rag_vqa.jobs.models import load_encoder
        from rag_vqa.retriever.image_workers import default_workers

        asked = self.settings.retriever
        workers = default_workers() // sharers if asked.workers is None else asked.workers
        new = asked.model_copy(update={"workers": workers, "device": device or asked.device})
        if sharers > 1:
            torch.set_num_threads(max(1, torch.get_num_threads() // sharers))
        return load_encoder(self.settings.model_copy(update={"retriever": new}), *self.wanted)

    def build(
        self, number: int, encoder: Encoder, to: Path, tells: Callable[[int], None] | None = None
    ) -> int:
        """Build part `number`, from 1, at `to`; the exit code of `kb build`."""
        from rag_vqa.retriever.knowledge_base import KnowledgeBase

        quiet = replace(self.run, quiet=True, json=False)
        job = BuildJob(quiet, self.sourcing, to, Shard(number, self.count), tells=tells)
        job.open()
        job.known(self.total)
        with KnowledgeBase.create(
            to, encoder, exist_ok=True, split=self.split, keep_tokens=self.kept
        ) as kb:
            return job.add(kb, self.settings)

    def merge(self) -> int:
        """Make one knowledge base of the parts, in order, and leave none of them; the exit code."""
        from rag_vqa.jobs.models import open_knowledge_base

        paths = [self.path(number) for number in range(1, self.count + 1)]
        report = merge_shards(self.out, paths)
        # The first part was copied whole: to a merge it is unchanged, to the person it is new.
        report.added, report.unchanged = report.added + report.unchanged, 0
        job = BuildJob(self.run, self.sourcing, self.out)
        job.rejected = [
            Rejected(**json.loads(line))
            for path in paths
            for line in _read_lines(path / REJECTS_FILE)
        ]
        rows = (
            row
            for path in paths
            for row in [*csv.reader(_read_lines(path / MISSING_IMAGES_FILE))][1:]
        )
        report.missing_images += [(document, image) for document, image in rows]
        with open_knowledge_base(self.out) as kb:
            code = job.added(kb, report)
        self.folder.rename(self._gone)  # first: parts in part would be taken for parts
        shutil.rmtree(self._gone)
        return code


def merge_shards(out: Path, parts: list[Path]) -> AddReport:
    """Take the documents of `parts`, in their order, into `out`, which is made if need be."""
    from rag_vqa.jobs.models import open_knowledge_base
    from rag_vqa.retriever.store.database import DATABASE_FILE

    if not (out / DATABASE_FILE).exists():
        with open_knowledge_base(parts[0]) as first:
            first.snapshot(out)
    with open_knowledge_base(out) as kb:
        return kb.merge(parts)


def exit_code_of(codes: Mapping[int, int], folder: Path) -> int:
    """The exit code of processes that ended, by part. Raises RagVqaError if one failed."""
    stopped = (EXIT_PARTIAL, EXIT_INTERRUPTED, -signal.SIGTERM)  # the last: before it could answer
    bad = {number: code for number, code in codes.items() if code not in (EXIT_DONE, *stopped)}
    if bad:
        number = min(bad)
        raise RagVqaError(
            f"Part {number} of {len(codes)} ended with exit code {bad[number]}; what all of them "
            f"have so far is safe in {folder}. The same command goes on from here."
        )
    return EXIT_PARTIAL if any(codes.values()) else EXIT_DONE


def _read_lines(path: Path) -> Iterator[str]:
    if path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            yield from file


@dataclass(frozen=True)
class BuildRecord:
    """Named as a person is told of them.

    Attributes:
        source: path and options.
        files: how many, how large, and a hash of their names, sizes and times of change.
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


def source_id(sourcing: SourceOptions) -> str:
    """Path and options of a source. `--strict` is none that changes a document."""
    return json.dumps(asdict(replace(sourcing.absolute(), strict=False)), default=str)


def source_fingerprint(sourcing: SourceOptions, but: Iterable[Path]) -> str:
    """How the files of a source are now, without reading them; `but` are folders passed over."""
    passed = {os.path.realpath(path) for path in but}
    count = size = 0
    found = sha256()
    for path in [*_source_files(sourcing.path, passed), *filter(None, [sourcing.subset])]:
        state = file_state(path)
        count, size = count + 1, size + state[1]
        found.update(json.dumps(state).encode())
    return f"{count:,} of {size:,} bytes ({found.hexdigest()[:16]})"


def _source_files(path: Path, passed: set[str]) -> Iterator[Path]:
    """A file itself; of a folder all that are in it, in an order that stays."""
    if not path.is_dir():
        yield path
        return
    for folder, inner, names in os.walk(path):
        inner[:] = sorted(
            name
            for name in inner
            if name[0] != "." and os.path.realpath(Path(folder, name)) not in passed
        )
        yield from (Path(folder, name) for name in sorted(names) if name[0] != ".")
