"""The Slurm scripts, run with stand-ins for sbatch, srun and scontrol on a tiny source."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rag_vqa.retriever.knowledge_base import KnowledgeBase

SCRIPTS = ("part.sh", "merge.sh", "submit.sh")
STUBS = {
    "srun": 'exec "$@"',
    "scontrol": 'echo "$@" >> "$LOG"',
    # Runs what is submitted at once, an array task by task, and answers with a number.
    "sbatch": 'for last; do :; done\necho "$@" >> "$LOG"\nexport SLURM_ARRAY_JOB_ID=42\n'
    'case "$*" in *--array=1-*) for n in $(seq "$PARTS"); do\n'
    'SLURM_ARRAY_TASK_ID=$n bash "$last" >&2; done;; *) bash "$last" >&2;; esac\necho "42;here"',
}


@pytest.fixture
def folder(root: Path) -> Path:
    return root / "examples" / "slurm"


def commands(tmp_path: Path, **more: str) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in (STUBS | more).items():
        (folder / name).write_text(f"#!/bin/bash\n{text}\n")
        (folder / name).chmod(0o755)
    return folder


def environment(tmp_path: Path, source: Path, folder: Path) -> dict[str, str]:
    return {
        **os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "SOURCE": str(source),
        "KB": str(tmp_path / "docs.kb"), "PARTS": "3", "LOG": str(tmp_path / "log"),
    }  # fmt: skip


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "docs.jsonl"
    rows = [{"id": f"d{n}", "text": f"document {n}"} for n in range(8)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("name", SCRIPTS)
def test_bash_reads_it(folder: Path, name: str) -> None:
    subprocess.run(["bash", "-n", folder / name], check=True)
    assert os.access(folder / name, os.X_OK)


@pytest.mark.slow
def test_an_array_and_its_merge(folder: Path, source: Path, tmp_path: Path) -> None:
    program = f'exec {sys.executable} -m rag_vqa "$@"'
    stubs = commands(tmp_path, **{"rag-vqa": program})
    done = subprocess.run(
        ["bash", folder / "submit.sh"],
        env=environment(tmp_path, source, stubs), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with KnowledgeBase.open(tmp_path / "docs.kb") as kb:
        assert [document.id for document in kb.documents()] == [f"d{n}" for n in range(8)]
    array, merge = (tmp_path / "log").read_text().splitlines()
    assert "--array=1-3" in array and "--dependency=afterok:42 " in merge


@pytest.mark.parametrize(
    ("code", "ends", "asked"), [(4, 0, ["requeue 42_2"]), (1, 1, []), (0, 0, [])]
)
def test_a_part_that_ran_out_of_time_is_queued_again(
    folder: Path, source: Path, tmp_path: Path, code: int, ends: int, asked: list[str]
) -> None:
    stubs = commands(tmp_path, **{"rag-vqa": f"exit {code}"})
    given = environment(tmp_path, source, stubs)
    given |= {"SLURM_ARRAY_JOB_ID": "42", "SLURM_ARRAY_TASK_ID": "2"}
    done = subprocess.run(["bash", folder / "part.sh"], env=given)
    log = tmp_path / "log"
    assert done.returncode == ends
    assert (log.read_text().splitlines() if log.exists() else []) == asked
