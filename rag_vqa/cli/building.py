"""The job behind `kb build`: look first, then encode; what was refused is written down.

It knows files, progress and signals. How a document is stored is the knowledge base's matter.
"""

from __future__ import annotations

import csv
import json
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rag_vqa.cli.progress import progress
from rag_vqa.cli.run import Run
from rag_vqa.errors import UsageError
from rag_vqa.formats.jsonl import Rejected, read_jsonl

if TYPE_CHECKING:
    from rag_vqa.retriever.encoder import Encoder
    from rag_vqa.retriever.knowledge_base import KnowledgeBase
    from rag_vqa.types import Document

REJECTS, MISSING = "rejects.jsonl", "missing.csv"
DONE, IN_PART, INTERRUPTED = 0, 4, 130


class _Stopped(BaseException):
    """SIGTERM or SIGUSR1: like ^C, all that was committed is safe."""


@dataclass
class Build:
    """One run of `kb build`."""

    run: Run
    source: Path
    out: Path
    images: Path | None
    strict: bool
    total: int = 0
    rejected: list[Rejected] = field(default_factory=list)

    def survey(self) -> None:
        """Reads through the source, so that hours are not spent on a file that is wrong."""
        with_image = missing = 0
        for document in self._documents([]):
            self.total += 1
            with_image += bool(document.images)
            missing += any(not Path(str(image)).is_file() for image in document.images)
        pictures = f" · {with_image:,} with image" if with_image else ""
        gone = f" ({missing:,} missing → {self.out / MISSING})" if missing else ""
        self.run.note(f"{self.total:,} documents{pictures}{gone}")

    def encode(self, encoder: Encoder, batch_size: int) -> int:
        """Encodes and stores; the exit code: done, in part by a signal, interrupted."""
        from rag_vqa.retriever.knowledge_base import KnowledgeBase

        with KnowledgeBase.create(self.out, encoder, exist_ok=True) as kb:
            try:
                with _signals(), progress("encode", self.total, quiet=self.run.quiet) as advance:
                    report = kb.add(
                        self._documents(self.rejected, warn=True),
                        batch_size=batch_size,
                        on_progress=advance,
                        strict=self.strict,
                    )
            except (KeyboardInterrupt, _Stopped) as stop:
                self._write_rejects()
                return self._stopped(kb, stop)
            self.rejected += report.rejected
            self._write_rejects()
            self._write_missing(report.missing_images)
            self._finished(kb, report.added, report.unchanged, report.replaced)
        return DONE

    def _documents(self, rejected: list[Rejected], *, warn: bool = False) -> Iterator[Document]:
        with warnings.catch_warnings():
            if not warn:
                warnings.simplefilter("ignore")
            yield from read_jsonl(self.source, self.images, rejected.append, self.strict)

    def _stopped(self, kb: KnowledgeBase, stop: BaseException) -> int:
        by_hand = isinstance(stop, KeyboardInterrupt)
        print(
            f"{'^C stopped' if by_hand else 'Stopped'}: {len(kb):,} documents are safe. "
            "The same command goes on from here.",
            file=sys.stderr,
        )
        return INTERRUPTED if by_hand else IN_PART

    def _finished(self, kb: KnowledgeBase, added: int, unchanged: int, replaced: int) -> None:
        counts = {"added": added, "replaced": replaced, "unchanged": unchanged,
                  "refused": len(self.rejected)}  # fmt: skip
        if self.run.json:
            from rag_vqa.cli.output import print_json

            print_json({"path": str(self.out), **counts, "documents": len(kb)})
            return
        said = " · ".join(f"{count:,} {name}" for name, count in counts.items() if count)
        refused = f" → {self.out / REJECTS}" if self.rejected else ""
        self.run.note(f"{self.out}: {len(kb):,} documents ({said or 'nothing new'}{refused})")
        self.run.note(f'Ask it: rag-vqa ask {self.out} "…" --image FILE')

    def _write_rejects(self) -> None:
        lines = [json.dumps(asdict(rejected)) + "\n" for rejected in self.rejected]
        (self.out / REJECTS).write_text("".join(lines), "utf-8")

    def _write_missing(self, missing: list[tuple[str, str]]) -> None:
        with (self.out / MISSING).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("document", "image"), *missing])


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
    if place != path or (path / FILE).exists():
        return
    if foreign(path):
        raise UsageError(f"--out {path}: the folder holds other files. Give another name.")


@contextmanager
def _signals() -> Iterator[None]:
    def stop(number: int, frame: object) -> None:
        raise _Stopped

    caught = [getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name)]
    before = {number: signal.signal(number, stop) for number in caught}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
