"""A build made part by part, each by a process of its own, and merged in order.

It knows parts, where they lie and what is left of them. It does not know where processes come
from: devices.py starts them on this machine, cluster.py on others. Each part is a knowledge base
beside the one that is wanted: whoever dies costs its part no more than an ordinary build loses.
"""

from __future__ import annotations

import csv
import json
import shlex
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rag_vqa.cli import begun
from rag_vqa.cli.building import DONE, IN_PART, INTERRUPTED, MISSING, REJECTS, Build
from rag_vqa.cli.run import Run
from rag_vqa.cli.sourcing import Shard, Sourcing
from rag_vqa.errors import RagVqaError, UsageError
from rag_vqa.formats.document import Rejected

if TYPE_CHECKING:
    from rag_vqa.retriever.encoder import Encoder
    from rag_vqa.retriever.report import AddReport
    from rag_vqa.settings import Settings


@dataclass(frozen=True)
class Parts:
    """All that a process needs to build a part; it travels there whole.

    Attributes:
        total: documents of the source.
        wanted: name and commit of the retriever.
        kept: False: codes alone.
    """

    run: Run
    sourcing: Sourcing
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
        from rag_vqa.retriever.store import FILE

        return (self.path(number) / FILE).exists()

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
        from rag_vqa.retriever.store import FILE

        if self._gone.exists():  # its removal was cut short
            shutil.rmtree(self._gone)
        now = self._begun()
        if not self.folder.is_dir():
            if (self.out / FILE).exists():
                raise UsageError(
                    f"{self.out} is there, and parts make a new one. Add to it: rag-vqa kb add "
                    f"SOURCE --out {self.out}"
                )
            self.folder.mkdir(parents=True)
        elif any(path.is_dir() for path in self.folder.iterdir()):
            if told := now.differences(self.folder):
                raise UsageError(
                    f"{self.folder} holds parts of another build: {'; '.join(told)}. Go on with "
                    "the source and the options that it was begun with, or begin anew: "
                    f"rm -r {shlex.quote(str(self.folder))}"
                )
            return
        now.write(self.folder)

    def _begun(self) -> begun.Begun:
        files = begun.state(self.sourcing, [self.out, self.folder])
        retriever = " ".join(filter(None, self.wanted))
        return begun.Begun(self.count, self.total, begun.named(self.sourcing), files, self.split,
                           self.kept, retriever)  # fmt: skip

    @property
    def _gone(self) -> Path:
        return self.out.with_name(f"{self.out.name}.parts.gone")

    def encoder(self, device: str | None = None, sharers: int = 1) -> Encoder:
        """The retriever on a device; `sharers` processes share the machine's cores."""
        import torch

        from rag_vqa.cli.models import load_encoder
        from rag_vqa.retriever.opening import default_workers

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
        job = Build(quiet, self.sourcing, to, Shard(number, self.count), tells=tells)
        job.open()
        job.known(self.total)
        with KnowledgeBase.create(
            to, encoder, exist_ok=True, split=self.split, keep_tokens=self.kept
        ) as kb:
            return job.add(kb, self.settings)

    def merge(self) -> int:
        """Make one knowledge base of the parts, in order, and leave none of them; the exit code."""
        from rag_vqa.cli.models import open_knowledge_base

        paths = [self.path(number) for number in range(1, self.count + 1)]
        report = merged(self.out, paths)
        # The first part was copied whole: to a merge it is unchanged, to the person it is new.
        report.added, report.unchanged = report.added + report.unchanged, 0
        job = Build(self.run, self.sourcing, self.out)
        job.rejected = [
            Rejected(**json.loads(line)) for path in paths for line in _lines(path / REJECTS)
        ]
        rows = (row for path in paths for row in [*csv.reader(_lines(path / MISSING))][1:])
        report.missing_images += [(document, image) for document, image in rows]
        with open_knowledge_base(self.out) as kb:
            code = job.added(kb, report)
        self.folder.rename(self._gone)  # first: parts in part would be taken for parts
        shutil.rmtree(self._gone)
        return code


def merged(out: Path, parts: list[Path]) -> AddReport:
    """Take the documents of `parts`, in their order, into `out`, which is made if need be."""
    from rag_vqa.cli.models import open_knowledge_base
    from rag_vqa.retriever.store import FILE

    if not (out / FILE).exists():
        with open_knowledge_base(parts[0]) as first:
            first.snapshot(out)
    with open_knowledge_base(out) as kb:
        return kb.merge(parts)


def failed(codes: Mapping[int, int], folder: Path) -> int:
    """The exit code of processes that ended, by part. Raises RagVqaError if one failed."""
    stopped = (IN_PART, INTERRUPTED, -signal.SIGTERM)  # the last: before it could answer
    bad = {number: code for number, code in codes.items() if code not in (DONE, *stopped)}
    if bad:
        number = min(bad)
        raise RagVqaError(
            f"Part {number} of {len(codes)} ended with exit code {bad[number]}; what all of them "
            f"have so far is safe in {folder}. The same command goes on from here."
        )
    return IN_PART if any(codes.values()) else DONE


def _lines(path: Path) -> Iterator[str]:
    if path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            yield from file
