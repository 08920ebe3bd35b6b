"""A disk that is full: a line that says so, the old state readable, and on it goes with room."""

import json


def test_full_at_fifty_offsets(script, tmp_path) -> None:
    found = json.loads(script("full.py", tmp_path, 50))
    assert found["offsets"] == 50
    assert 5 < found["refused"] < 50  # the limits lie below and above what is needed
