"""Ray cluster: the nodes of a Ray cluster build the shards, and this machine merges them.

Knows Ray. All nodes share a file system that holds the source, its pictures and the shard folders.
Does not know what a shard is or how shards are merged (sharded_build.py).

Shards are tasks, not actors: when a node dies, Ray restarts its task wherever there is room, while
an actor's work would wait for the actor. The retriever stays loaded in the worker process. A shard
gets its final name only when it is complete, so a shard that Ray started twice exists once.
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

from rag_vqa.cli.progress import progress
from rag_vqa.errors import EXIT_DONE, EXIT_INTERRUPTED, EXIT_PARTIAL, Missing, RagVqaError
from rag_vqa.jobs.sharded_build import ShardedBuild
from rag_vqa.jobs.signals import Stopped

if TYPE_CHECKING:
    from rag_vqa.retriever.modeling.encoder import Encoder

SHARD_DOCUMENTS = 2_000  # documents: minutes of one GPU, which is what the death of a node costs it


def shard_count(total: int) -> int:
    """How many parts a source of so many documents makes.

    >>> shard_count(0), shard_count(2_000), shard_count(2_001)
    (1, 1, 2)
    """
    return max(1, -(-total // SHARD_DOCUMENTS))


def build_on_cluster(parts: ShardedBuild) -> int:
    """Build what parts are not there yet, on the cluster that RAY_ADDRESS names or else on this
    machine alone, and merge all; the exit code.

    Raises:
        Missing: Ray is not installed.
    """
    try:
        import ray.data
    except ImportError as error:
        raise Missing("--engine ray needs an extra: pip install 'rag-vqa[ray]'") from error
    parts = _with_absolute_paths(parts)
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
                _build_shards, batch_size=1, fn_kwargs={"parts": parts}, num_gpus=gpus, num_cpus=1
            )
            with progress("parts", parts.count, quiet=parts.run.quiet) as advance:
                for done, _ in enumerate(rows.iter_rows(), there + 1):
                    advance(done)
    except (KeyboardInterrupt, Stopped) as stop:
        print("Stopped: the parts that are whole are safe. The same command goes on from here.",
              file=sys.stderr)  # fmt: skip
        return EXIT_INTERRUPTED if isinstance(stop, KeyboardInterrupt) else EXIT_PARTIAL
    return parts.merge()


def _build_shards(batch: dict[str, Any], parts: ShardedBuild) -> dict[str, Any]:
    """On a node: build the parts of these numbers, each under a name that nobody else has."""
    for number in map(int, batch["number"]):
        whole = parts.path(number)
        if parts.there(number):
            continue
        attempt = whole.with_name(f"{uuid.uuid4().hex}-of-{parts.count}")
        code = parts.build(number, _shard_encoder(parts), attempt)
        if code != EXIT_DONE:
            raise RagVqaError(f"Part {number} of {parts.count} was stopped on its node.")
        _publish_shard(parts, number, attempt)
    return batch


def _publish_shard(parts: ShardedBuild, number: int, attempt: Path) -> None:
    try:
        attempt.rename(parts.path(number))
    except OSError:
        if not parts.there(number):
            raise
        shutil.rmtree(attempt)  # another attempt was faster, and holds the same


def _shard_encoder(parts: ShardedBuild) -> Encoder:
    return _load_encoder_once(parts.settings.model_dump_json(), *parts.wanted)


@cache
def _load_encoder_once(settings: str, model: str, commit: str | None) -> Encoder:
    from rag_vqa.jobs.models import load_encoder
    from rag_vqa.settings_schema import Settings

    return load_encoder(Settings.model_validate_json(settings), model, commit)


def _with_absolute_paths(parts: ShardedBuild) -> ShardedBuild:
    """Other processes work in other folders."""
    model, commit = parts.wanted
    return replace(
        parts,
        out=parts.out.resolve(),
        sourcing=parts.sourcing.absolute(),
        wanted=(str(Path(model).resolve()) if Path(model).is_dir() else model, commit),
    )
