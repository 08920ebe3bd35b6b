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
import uuid
import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_vqa.errors import Missing, RagVqaError
from rag_vqa.jobs.build import BuildOptions, BuildReport, prepare_build
from rag_vqa.jobs.sharded_build import ShardedBuild
from rag_vqa.jobs.signals import JobStopped
from rag_vqa.progress import LOG, Reporter

if TYPE_CHECKING:
    from rag_vqa.retriever.modeling.encoder import Encoder
    from rag_vqa.settings_schema import Settings

SHARD_DOCUMENTS = 2_000  # minutes of one GPU, which is what the death of a node costs a shard


def shard_count(documents: int) -> int:
    """Number of shards for a source, by its number of documents.

    >>> shard_count(0), shard_count(2_000), shard_count(2_001)
    (1, 1, 2)
    """
    return max(1, -(-documents // SHARD_DOCUMENTS))


def build_on_cluster(
    options: BuildOptions, settings: Settings | None = None, reporter: Reporter = LOG
) -> BuildReport:
    """Build a knowledge base on the cluster that RAY_ADDRESS names, or else on this machine alone.

    The same call resumes it.

    Raises:
        Missing: Ray is not installed; otherwise as `build_knowledge_base`.
    """
    prepared = prepare_build(options, settings, reporter)
    sharded = ShardedBuild.from_prepared(options, prepared, shard_count(prepared.reader.total))
    return build_shards_on_cluster(_with_absolute_paths(sharded), reporter)


def build_shards_on_cluster(sharded: ShardedBuild, reporter: Reporter) -> BuildReport:
    """Build the shards that are missing, and merge all of them."""
    try:
        import ray.data
    except ImportError as error:
        raise Missing("--engine ray needs an extra: pip install 'rag-vqa[ray]'") from error
    sharded.prepare_folder()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers
    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    missing = [{"number": number} for number in sharded.missing_shards()]
    built = sharded.count - len(missing)
    try:
        if missing:
            gpus = 1 if ray.cluster_resources().get("GPU") else 0
            ray.data.DataContext.get_current().enable_progress_bars = False
            rows = ray.data.from_items(missing, override_num_blocks=len(missing)).map_batches(
                build_shards,
                batch_size=1,
                fn_kwargs={"sharded": sharded},
                num_gpus=gpus,
                num_cpus=1,
            )
            with reporter.progress("shards", sharded.count) as advance:
                for done, _ in enumerate(rows.iter_rows(), built + 1):
                    advance(done)
    except (KeyboardInterrupt, JobStopped) as stop:
        safe = "complete shards are safe. The same command goes on from here."
        raise JobStopped.after(stop, safe) from None
    return sharded.merge(reporter)


def build_shards(batch: dict[str, Any], sharded: ShardedBuild) -> dict[str, Any]:
    """On a node: build the shards of these numbers, each under a name that nobody else has."""
    for number in map(int, batch["number"]):
        if sharded.is_built(number):
            continue
        attempt = sharded.folder / f"{uuid.uuid4().hex}-of-{sharded.count}"
        encoder = load_encoder_once(sharded.settings.model_dump_json(), *sharded.retriever)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # every node would repeat them
                sharded.build_shard(number, encoder, attempt)
        except (KeyboardInterrupt, JobStopped) as stop:
            raise RagVqaError(
                f"Shard {number} of {sharded.count} was stopped on its node."
            ) from stop
        _publish_shard(sharded, number, attempt)
    return batch


def _publish_shard(sharded: ShardedBuild, number: int, attempt: Path) -> None:
    """Give a complete shard its final name."""
    try:
        attempt.rename(sharded.shard_path(number))
    except OSError:
        if not sharded.is_built(number):
            raise
        shutil.rmtree(attempt)  # another attempt was faster, and holds the same


@cache
def load_encoder_once(settings: str, model: str, commit: str | None) -> Encoder:
    """The retriever, which stays loaded in a worker process.

    Args:
        settings: as JSON, which can be hashed.
    """
    from rag_vqa.jobs import models
    from rag_vqa.settings_schema import Settings

    return models.load_encoder(Settings.model_validate_json(settings), model, commit)


def _with_absolute_paths(sharded: ShardedBuild) -> ShardedBuild:
    """The same build for processes that work in other folders."""
    model, commit = sharded.retriever
    return replace(
        sharded,
        out=sharded.out.resolve(),
        source=sharded.source.absolute(),
        retriever=(str(Path(model).resolve()) if Path(model).is_dir() else model, commit),
    )
