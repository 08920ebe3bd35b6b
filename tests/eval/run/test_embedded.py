"""The embedded models on the demo's own questions: interrupted, or split over processes, a run ends
in the bytes of a straight one."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rag_vqa.eval.run.ledger import Ledger

pytestmark = pytest.mark.slow
FILES = ("results.json", "answers.jsonl", "failures.jsonl")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """64 of the demo's questions with their photos, and the documents about those countries."""
    from rag_vqa.demo.benchmark_export import export_benchmark

    folder = tmp_path_factory.mktemp("world")
    export_benchmark("own", folder / "own")
    lines = (folder / "own" / "test.jsonl").read_text(encoding="utf-8").splitlines()[:64]
    (folder / "own" / "test.jsonl").write_text("".join(f"{line}\n" for line in lines))
    named = {name for line in lines for name in json.loads(line).get("document_ids", [])}
    documents = (folder / "own" / "documents.jsonl").read_text(encoding="utf-8").splitlines()
    kept = [line for line in documents if json.loads(line)["id"] in named]
    (folder / "own" / "some.jsonl").write_text("".join(f"{line}\n" for line in kept))
    done = command("kb", "build", folder / "own" / "some.jsonl", "--out", folder / "some.kb")
    assert done.wait(300) == 0
    return folder


def command(*args: object) -> "subprocess.Popen[bytes]":
    given = [sys.executable, "-m", "rag_vqa", "--offline", *map(str, args)]
    threads = {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    return subprocess.Popen(given, env={**os.environ, **threads}, stderr=subprocess.DEVNULL,
                            stdout=subprocess.DEVNULL)  # fmt: skip


def evaluate(world: Path, out: Path, *more: object) -> "subprocess.Popen[bytes]":
    data = (world / "own", "--kb", world / "some.kb", "--out", out)
    return command("eval", "run", "own", *data, "-k", 2, "--template", "short", *more)


@pytest.fixture(scope="module")
def straight(world: Path) -> dict[str, bytes]:
    assert evaluate(world, world / "straight").wait(600) == 0
    return files(world / "straight")


def answers(folder: Path) -> int:
    """How many are committed so far."""
    if not (folder / "run.sqlite").exists():
        return 0
    with Ledger(folder) as ledger:
        [(count,)] = ledger.rows("SELECT count(*) FROM answers")
    return int(count)


def files(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 4)])
def test_interrupted(
    world: Path, straight: dict[str, bytes], tmp_path: Path, number: int, code: int
) -> None:
    for _ in range(2):  # of six commits at most
        before = answers(tmp_path / "run")
        process = evaluate(world, tmp_path / "run")
        while process.poll() is None and answers(tmp_path / "run") == before:
            time.sleep(0.02)
        process.send_signal(number)
        began = time.monotonic()
        assert process.wait(60) == code
        assert time.monotonic() - began < 10
    assert evaluate(world, tmp_path / "run").wait(600) == 0
    assert files(tmp_path / "run") == straight


def test_two_devices(world: Path, straight: dict[str, bytes], tmp_path: Path) -> None:
    assert evaluate(world, tmp_path / "run", "--devices", "cpu,cpu").wait(600) == 0
    assert files(tmp_path / "run") == straight
