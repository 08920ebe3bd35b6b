"""kb build in parts: on the devices of this machine, what one build makes; stopped, it goes on."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rag_vqa import images
from rag_vqa.cli import context
from rag_vqa.cli.app import run
from rag_vqa.errors import UsageError
from rag_vqa.jobs import ray_cluster
from rag_vqa.jobs.document_source import SourceOptions
from rag_vqa.jobs.sharded_build import ShardedBuild
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.retriever.store.segments import RowReader
from rag_vqa.settings_schema import Settings


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Every third with a picture, one without its file, two refused; texts of all lengths."""
    for number in range(4):
        picture = Image.new("RGB", (20, 30), (60 * number, 0, 9))
        (tmp_path / f"{number}.png").write_bytes(images.encode(picture))
    rows: list[Any] = [{"id": f"d{n}", "text": "a red bird " * (n % 4 + 1)} for n in range(23)]
    for number in range(0, 23, 3):
        rows[number]["image"] = f"{number % 5}.png"
    rows.insert(5, {"id": 7, "text": "a"})
    rows[20] = {"id": "d19", "text": "nest", "image": "0.png"}
    (tmp_path / "0.png").write_bytes(images.encode(Image.new("RGB", (9, 9)))[:40])
    path = tmp_path / "docs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The real command, in this process: no stand-in reaches those that it starts."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    return lambda *args: run(["kb", "build", *map(str, args)])


def tokens(path: Path) -> tuple[list[Any], Any]:
    """Of all passages in the order of their documents: what they are, and (N, K, D)."""
    with KnowledgeBase.open(path) as kb:
        assert kb.verify() == ()
        rows = kb.store.db.rows(
            "SELECT key, d.id, position, text, image FROM passages JOIN documents AS d "
            "ON d.row = document ORDER BY d.row, position"
        )
        found, _ = RowReader(kb.store.db, kb.store.segments).rows(
            np.array([row[0] for row in rows], np.int64)
        )
    return [row[1:] for row in rows], found


def same(one: Path, other: Path) -> None:
    (rows, numbers), (rows_, numbers_) = tokens(one), tokens(other)
    assert rows == rows_
    # Other neighbours in a batch, other padding: the last bits may differ, and no more.
    np.testing.assert_allclose(numbers.astype(np.float32), numbers_.astype(np.float32), atol=2e-3)
    for name in ("rejects.jsonl", "missing.csv"):
        lines, lines_ = ((path / name).read_text().splitlines() for path in (one, other))
        assert sorted(lines) == sorted(lines_) and len(lines) > 1


def test_two_devices_make_what_one_makes(source, checkpoint, tmp_path, build, capsys) -> None:
    one, two = tmp_path / "one.kb", tmp_path / "two.kb"
    assert build(source, "--out", one, "--retriever", checkpoint, "--device", "cpu") == 0
    capsys.readouterr()
    given = (source, "--out", two, "--retriever", checkpoint, "--devices", "cpu,cpu", "--json")
    assert build(*given) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["added"], said["unchanged"], said["refused"], said["documents"]) == (20, 0, 4, 20)
    same(one, two)
    assert not (tmp_path / "two.kb.parts").exists()
    assert build(*given) == 2 and "kb add" in capsys.readouterr().err


@pytest.mark.slow
def test_stopped_it_goes_on(source: Path, checkpoint: Path, tmp_path: Path) -> None:
    rows = [{"id": f"d{n}", "text": "a red bird"} for n in range(60_000)]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "two.kb"
    build = [
        sys.executable,
        "-m",
        "rag_vqa",
        "kb",
        "build",
        source,
        "--out",
        out,
        "--retriever",
        checkpoint,
        "--devices",
        "cpu,cpu",
        "--batch-size",
        "1",
    ]
    with subprocess.Popen(build, stderr=subprocess.PIPE, text=True) as running:
        parts = [tmp_path / "two.kb.parts" / f"{number}-of-2" for number in (1, 2)]
        while not all((part / "kb.sqlite").exists() and held(part) for part in parts):
            assert running.poll() is None
            time.sleep(0.1)
        running.send_signal(signal.SIGUSR1)
        assert running.stderr is not None and "are safe" in running.stderr.read()
    assert running.returncode == 4
    before = [held(part) for part in parts]
    assert 0 < sum(before) < 60_000
    source.write_text("".join(json.dumps(row) + "\n" for row in rows[:200]))
    shutil.rmtree(parts[0].parent)
    assert subprocess.run(build, capture_output=True).returncode == 0
    assert held(out) == 200


def held(path: Path) -> int:
    with KnowledgeBase.open(path) as kb:
        return len(kb)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--devices", "cpu,cpu", "--shard", "1/2"), "--devices and --shard"),
        (("--devices", "cpu", "--engine", "ray"), "--devices and --engine ray"),
        (("--engine", "ray", "--dry-run"), "--engine ray and --dry-run"),
        (("--engine", "spark"), "local or ray"),
        (("--devices", "cuda:99"), "is not on this machine"),
        (("--devices", "cpu,gpu"), "'gpu': there is none"),
    ],
)
def test_what_cannot_be_meant(cli, source, tmp_path, loads, flags, says) -> None:
    done = cli("kb", "build", source, "--out", tmp_path / "x.kb", *flags)
    assert done.code == 2 and says in done.err and loads == []
    assert not (tmp_path / "x.kb").exists()


@pytest.fixture
def parts(
    tmp_path: Path, encoder: Any, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., ShardedBuild]:
    """Of the source as it is now; those that are asked for are built here."""
    monkeypatch.setattr("rag_vqa.jobs.models.load_encoder", lambda *_: encoder)

    def made(
        source: Path,
        count: int = 2,
        build: tuple[int, ...] = (),
        source_options: SourceOptions | None = None,
        **other: Any,
    ) -> ShardedBuild:
        total = len(source.read_text().splitlines())
        given = ShardedBuild(
            source_options or SourceOptions(source),
            tmp_path / "x.kb",
            Settings(),
            ("fake", None),
            None,
            None,
            total,
            count,
        )
        given = replace(given, **other)
        given.prepare_folder()
        for number in build:
            ray_cluster.build_shards({"number": [number]}, given)
        return given

    ray_cluster.load_encoder_once.cache_clear()
    return made


def lines(path: Path, ids: list[str]) -> Path:
    path.write_text("".join(json.dumps({"id": i, "text": f"a bird {i}"}) + "\n" for i in ids))
    return path


@pytest.mark.parametrize(
    ("change", "other", "says"),
    [
        (["d0", "d1", "d2", "d3", "d4", "d5"], {}, "documents was 4, is 6"),
        (["e0", "e1", "e2", "e3"], {}, "files was 1 of"),
        (None, {"count": 3}, "parts was 2, is 3"),
        (None, {"retriever": ("fake", "1" * 40)}, "retriever was fake, is fake 1111"),
        (None, {"split": "none"}, "split was default, is none"),
        (None, {"keep_tokens": False}, "tokens_kept was default, is False"),
    ],
)
def test_parts_of_another_build_are_not_mixed(tmp_path, parts, change, other, says) -> None:
    source = lines(tmp_path / "docs.jsonl", ["d0", "d1", "d2", "d3"])
    parts(source, build=(1,))
    if change:
        lines(source, change)
        os.utime(source, ns=(1, 1))  # never the time of before
    with pytest.raises(UsageError, match=says) as refused:
        parts(source, **other)
    assert f"rm -r {tmp_path / 'x.kb.parts'}" in str(refused.value)


def test_another_source_of_the_same_bytes_is_not_mixed_either(tmp_path, parts) -> None:
    parts(lines(tmp_path / "docs.jsonl", ["d0", "d1"]), build=(1,))
    with pytest.raises(UsageError, match=r"source was docs\.jsonl, is other\.jsonl"):
        parts(lines(tmp_path / "other.jsonl", ["d0", "d1"]))


def test_the_same_build_goes_on_and_its_own_files_are_no_change(tmp_path, parts, monkeypatch):
    source = lines(tmp_path / "docs.jsonl", ["d0", "d1", "d2"])
    monkeypatch.chdir(tmp_path)
    folder = {"source_options": SourceOptions(Path(), kind="jsonl")}  # the output lies in it
    first = parts(source, **folder)
    (first.shard_path(1) / "segments").mkdir(parents=True)
    again = parts(source, **folder)
    assert again.missing_shards() == [1, 2] and not again.shard_path(1).exists()
    again.shard_path(1).mkdir()
    (tmp_path / "more.txt").write_text("x")
    with pytest.raises(UsageError, match="files was 1 of"):
        parts(source, **folder)


def test_parts_half_removed_are_not_taken_for_parts(tmp_path, parts, encoder, monkeypatch) -> None:
    """Killed while it clears up, or a part half removed by hand: the same command goes on."""
    source = lines(tmp_path / "docs.jsonl", ["d0", "d1", "d2", "d3"])
    monkeypatch.setattr(
        "rag_vqa.jobs.models.open_knowledge_base", lambda path: KnowledgeBase.open(path, encoder)
    )
    made = parts(source, build=(1, 2))
    (made.shard_path(1) / "kb.sqlite").unlink()
    made = parts(source)
    assert made.missing_shards() == [1]
    made = parts(source, build=(1,))
    remove = shutil.rmtree

    def killed(folder: Path) -> None:
        next(folder.rglob("kb.sqlite")).unlink()
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        made.merge()
    monkeypatch.setattr(shutil, "rmtree", remove)
    with pytest.raises(UsageError, match="kb add"):  # it was built
        parts(source)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["docs.jsonl", "x.kb"]
    with KnowledgeBase.open(tmp_path / "x.kb", encoder) as kb:
        assert [d.id for d in kb.documents()] == ["d0", "d1", "d2", "d3"]


@pytest.mark.slow
def test_a_part_that_fails_is_named(
    source, checkpoint, tmp_path, build, capfd, monkeypatch
) -> None:
    out = tmp_path / "x.kb"
    prepare = ShardedBuild.prepare_folder
    monkeypatch.setattr(
        ShardedBuild,
        "prepare_folder",
        lambda sharded: prepare(sharded) or sharded.shard_path(2).write_text("in the way"),
    )
    assert build(source, "--out", out, "--retriever", checkpoint, "--devices", "cpu,cpu") == 1
    said = capfd.readouterr().err
    assert "Shard 2 of 2 ended with exit code" in said and "shard 2 on cpu: " in said
    assert not out.exists()


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
    assert build(source, "--out", one, "--retriever", checkpoint, "--device", "cpu") == 0
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
        assert build(source, "--out", out, "--retriever", checkpoint, "--engine", "ray") == 0
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
