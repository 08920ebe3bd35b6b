"""kb build in shards on the devices of this machine: the same as one build; resumed if stopped."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sharded_builds import same

from rag_vqa.errors import UsageError
from rag_vqa.jobs import ray_cluster
from rag_vqa.jobs.document_source import SourceOptions
from rag_vqa.jobs.sharded_build import ShardedBuild
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.retriever.shown_metadata import ShownNames
from rag_vqa.settings_schema import Settings


def test_two_devices_make_what_one_makes(source, checkpoint, tmp_path, build, capsys) -> None:
    one, two = tmp_path / "one.kb", tmp_path / "two.kb"
    assert build(source, "--out", one, "--retriever", checkpoint, "--device", "cpu") == 4
    capsys.readouterr()
    given = (source, "--out", two, "--retriever", checkpoint, "--devices", "cpu,cpu", "--json")
    assert build(*given) == 4
    said = json.loads(capsys.readouterr().out)
    assert (said["added"], said["unchanged"], said["refused"], said["documents"]) == (23, 0, 2, 23)
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
        (("--devices", "cpu,gpu"), "'gpu': unknown"),
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


def test_merged_parts_remember_what_to_show(tmp_path, parts) -> None:
    source = lines(tmp_path / "docs.jsonl", ["d0", "d1"])
    made = parts(source, build=(1, 2), shown=ShownNames(("artist",), are_chosen=True))
    made.merge()
    with KnowledgeBase.open(made.out) as kb:
        assert kb.stats().shown == ("artist",)
