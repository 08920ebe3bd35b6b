"""A run that is killed at any moments, and then ended, leaves the bytes of one that was not."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def kill(root: Path, folder: Path, questions: int, kills: int, seed: int) -> Any:
    places = [root, root / "tests", root / "tests" / "support"]
    path = os.pathsep.join([*map(str, places), os.environ.get("PYTHONPATH", "")])
    script = root / "tests" / "eval" / "run" / "kills.py"
    done = subprocess.run(
        [sys.executable, str(script), str(folder), *map(str, (questions, kills, seed))],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=3000,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_eight_kills(root: Path, tmp_path: Path) -> None:
    found = kill(root, tmp_path, 200, 8, seed=1)
    assert found["at"]["answer"] >= 4  # they hit a run that had something to lose


@pytest.mark.nightly
def test_a_hundred_kills(root: Path, tmp_path: Path) -> None:
    found = kill(root, tmp_path, 2000, 100, seed=2)
    assert found["at"]["answer"] >= 50 and {"begin", "score"} <= found["at"].keys()
