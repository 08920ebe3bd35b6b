"""kb build on a Ray cluster: the same as one build, also if a node dies."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sharded_builds import same

from rag_vqa.cli import context
from rag_vqa.jobs import ray_cluster


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore")
def test_a_cluster_that_loses_a_node_halfway(
    source: Path,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    build: Callable[..., int],
) -> None:
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    one, out = tmp_path / "one.kb", tmp_path / "two.kb"
    assert build(source, "--out", one, "--retriever", checkpoint, "--device", "cpu") == 4
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        second = nodes.add_node(num_cpus=1)
        nodes.wait_for_nodes()
        ray.init(address=nodes.address, log_to_driver=False)
        assert len({node["NodeID"] for node in ray.nodes() if node["Alive"]}) == 2
        lost, shown = [], context.progress

        @contextmanager
        def progress(*args: Any, **options: Any) -> Iterator[Callable[[int], None]]:
            """The program's; once two parts are whole the second node is killed."""
            with shown(*args, **options) as advance:

                def told(done: int) -> None:
                    advance(done)
                    if done >= 2 and not lost:
                        nodes.remove_node(second, allow_graceful=False)
                        lost.append(done)

                yield told

        monkeypatch.setattr(context, "progress", progress)
        monkeypatch.setattr(ray_cluster, "SHARD_DOCUMENTS", 2)
        assert build(source, "--out", out, "--retriever", checkpoint, "--engine", "ray") == 4
        assert lost and lost[0] < ray_cluster.shard_count(23)  # with parts still to be built
        assert sum(node["Alive"] for node in ray.nodes()) == 1
    finally:
        ray.shutdown()
        nodes.shutdown()
    same(one, out)
    assert not (tmp_path / "two.kb.parts").exists()


def test_without_ray_it_is_said_how_to_get_it(cli, source, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ray.data", None)
    monkeypatch.setitem(sys.modules, "ray", None)
    done = cli("kb", "build", source, "--out", tmp_path / "x.kb", "--engine", "ray")
    assert done.code == 3 and "rag-vqa[ray]" in done.err
