"""`kb build --engine ray`: parts built by the nodes of a Ray cluster, merged on this one.

It knows Ray. Nodes share a file system, with the source, its pictures and the place of the parts.
What a part is and how parts become one is parts.py's matter.

Parts are tasks, not actors: one that dies with its node starts at once wherever there is room,
while an actor's work would wait for the actor. The retriever stays loaded in the process, for the
next part. A part appears under its name when it is whole, so that one that Ray started twice is
there once.
"""

from __future__ import annotations

import os
import shutil
import sys
import uuid
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_vqa.cli.building import DONE, IN_PART, INTERRUPTED
from rag_vqa.cli.parts import Parts
from rag_vqa.cli.progress import progress
from rag_vqa.cli.stopping import Stopped
from rag_vqa.errors import Missing, RagVqaError

if TYPE_CHECKING:
    from rag_vqa.retriever.encoder import Encoder

PART = 2_000  # documents: minutes of one GPU, which is what the death of a node costs it


def count(total: int) -> int:
    """How many parts a source of so many documents makes.

    >>> count(0), count(2_000), count(2_001)
    (1, 1, 2)
    """
    return max(1, -(-total // PART))


def build(parts: Parts) -> int:
    """Build what parts are not there yet, on the cluster that RAY_ADDRESS names or else on this
    machine alone, and merge all; the exit code.

    Raises:
        Missing: Ray is not installed.
    """
    try:
        import ray.data
    except ImportError as error:
        raise Missing("--engine ray needs an extra: pip install 'rag-vqa[ray]'") from error
    parts = _absolute(parts)
    parts.begin()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers
    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    left = [{"number": n} for n in parts.left()]
    there = parts.count - len(left)
    try:
        if left:
            gpus = 1 if ray.cluster_resources().get("GPU") else 0
            ray.data.DataContext.get_current().enable_progress_bars = False
            rows = ray.data.from_items(left, override_num_blocks=len(left)).map_batches(
                _build, batch_size=1, fn_kwargs={"parts": parts}, num_gpus=gpus, num_cpus=1
            )
            with progress("parts", parts.count, quiet=parts.run.quiet) as advance:
                for done, _ in enumerate(rows.iter_rows(), there + 1):
                    advance(done)
    except (KeyboardInterrupt, Stopped) as stop:
        print("Stopped: the parts that are whole are safe. The same command goes on from here.",
              file=sys.stderr)  # fmt: skip
        return INTERRUPTED if isinstance(stop, KeyboardInterrupt) else IN_PART
    return parts.merge()


def _build(batch: dict[str, Any], parts: Parts) -> dict[str, Any]:
    """On a node: build the parts of these numbers, each under a name that nobody else has."""
    for number in map(int, batch["number"]):
        whole = parts.path(number)
        if parts.there(number):
            continue
        attempt = whole.with_name(f"{uuid.uuid4().hex}-of-{parts.count}")
        code = parts.build(number, _encoder(parts), attempt)
        if code != DONE:
            raise RagVqaError(f"Part {number} of {parts.count} was stopped on its node.")
        _appear(parts, number, attempt)
    return batch


def _appear(parts: Parts, number: int, attempt: Path) -> None:
    try:
        attempt.rename(parts.path(number))
    except OSError:
        if not parts.there(number):
            raise
        shutil.rmtree(attempt)  # another attempt was faster, and holds the same


def _encoder(parts: Parts) -> Encoder:
    return _loaded(parts.settings.model_dump_json(), *parts.wanted)


@cache
def _loaded(settings: str, model: str, commit: str | None) -> Encoder:
    from rag_vqa.cli.models import load_encoder
    from rag_vqa.settings import Settings

    return load_encoder(Settings.model_validate_json(settings), model, commit)


def _absolute(parts: Parts) -> Parts:
    """Other processes work in other folders."""
    model, commit = parts.wanted
    return replace(
        parts,
        out=parts.out.resolve(),
        sourcing=parts.sourcing.absolute(),
        wanted=(str(Path(model).resolve()) if Path(model).is_dir() else model, commit),
    )
