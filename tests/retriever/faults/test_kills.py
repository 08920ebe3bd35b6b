"""A writer that is killed at any moment loses nothing that it said was safe."""

import json

import pytest


def killed(script, tmp_path, rounds: int, seed: int) -> None:
    found = json.loads(script("kills.py", tmp_path, rounds, seed))
    assert found["rounds"] == rounds
    assert {"add", "compact", "delete", "create"} <= found["killed"].keys()
    assert found["slowest"] < 2


def test_fifty_kills(script, tmp_path) -> None:
    killed(script, tmp_path, 50, seed=1)


@pytest.mark.nightly
def test_a_thousand_kills(script, tmp_path) -> None:
    killed(script, tmp_path, 1000, seed=2)
