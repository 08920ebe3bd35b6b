"""Trainings that are killed end in the same bytes; a rank that dies or says NaN ends them all."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny_training

from rag_vqa.retriever.training.training_state import completed_steps

PROGRAM = Path(tiny_training.__file__)
# `launch --cpu` starts one process, or asks for MPI; this is how several run on a CPU.
ENVIRONMENT = {
    **os.environ,
    "ACCELERATE_USE_CPU": "true",
    "OMP_NUM_THREADS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}


def program(*arguments: object, launcher: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(PROGRAM.parent), *filter(None, sys.path)])
    return subprocess.run(
        [sys.executable, *launcher, str(PROGRAM), *map(str, arguments)],
        env=ENVIRONMENT | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def launched(*arguments: object) -> subprocess.CompletedProcess[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    launcher = ("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2",
                "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no",
                "--main_process_port", port)  # fmt: skip
    return program(*arguments, launcher=launcher)


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.nightly)])
def test_a_killed_training_ends_in_the_same_bytes(tmp_path: Path, kills: int) -> None:
    ended = program("kills", tmp_path, kills, 7)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout.splitlines()[-1]) == {"kills": kills, "same": True}


def test_two_processes_are_two_of_one_job_and_wait_for_hours(tmp_path: Path) -> None:
    ended = launched("one", tmp_path, tmp_path / "out", "who", 0)
    assert ended.returncode == 0, ended.stderr
    said = set(re.findall(r"\d of 2 waits 48", ended.stdout))  # two write at once
    assert said == {"0 of 2 waits 48", "1 of 2 waits 48"}


@pytest.mark.slow
def test_a_killed_rank_ends_the_job_which_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    tiny_training.settings(tmp_path, tmp_path / "straight")  # here: not by two processes at once
    assert launched("one", tmp_path, tmp_path / "straight").returncode == 0
    began = time.monotonic()
    ended = launched("one", tmp_path, tmp_path / "cut", "kill", 5)
    assert ended.returncode != 0 and time.monotonic() - began < 60
    assert completed_steps(tmp_path / "cut" / "state") == 4
    assert launched("one", tmp_path, tmp_path / "cut").returncode == 0
    assert tiny_training.digest(tmp_path / "cut") == tiny_training.digest(tmp_path / "straight")


@pytest.mark.slow
def test_a_rank_s_nan_stops_the_job_which_names_it_and_its_rows(tmp_path: Path) -> None:
    tiny_training.settings(tmp_path, tmp_path / "out")
    ended = launched("one", tmp_path, tmp_path / "out", "nan", 6)
    assert ended.returncode != 0
    said = [line for line in ended.stdout.splitlines() if line.startswith("rank ")]
    assert said  # the launcher may end the second one before it speaks
    for line in said:
        assert "Step 5: features that are not finite numbers (process 1: pairs.jsonl:row " in line
        assert line.count("pairs.jsonl:row ") == 3 and "process 0" not in line
    assert completed_steps(tmp_path / "out" / "state") == 4
