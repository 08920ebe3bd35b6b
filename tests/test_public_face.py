"""Names, import paths, commands, help, routes, settings and files are those of the golden record.

The record was made by `python benchmarks/public_face.py --out tests/golden/public_face.json`; write
it anew when something public is added. What it names may not go, nor change.
"""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "golden" / "public_face.json"
RUN = ("files", "json")  # what takes minutes


@pytest.fixture
def face(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import public_face

    yield public_face
    for name in ("public_face", "public_files"):
        sys.modules.pop(name, None)


@pytest.fixture
def golden() -> dict[str, Any]:
    record: dict[str, Any] = json.loads(GOLDEN.read_text("utf-8"))
    return record


def test_nothing_public_is_lost(face, golden) -> None:
    old = {key: value for key, value in golden.items() if key not in RUN}
    losses = face.find_losses(old, face.record_again(old))
    assert not losses, f"{len(losses)} losses:\n" + "\n".join(losses)


@pytest.mark.slow
def test_files_and_answers_are_those_of_before(face, golden, tmp_path) -> None:
    losses = face.find_losses({key: golden[key] for key in RUN}, face.record_run(tmp_path))
    assert not losses, f"{len(losses)} losses:\n" + "\n".join(losses)


def test_the_comparison_sees_what_is_gone_and_what_differs_and_no_addition(face) -> None:
    old = {"a": {"x": 1, "y": [1, 2]}, "b": "one"}
    assert face.find_losses(old, {"a": {"x": 1, "y": [1, 2, 3], "z": 0}, "b": "one", "c": 1}) == []
    assert face.find_losses(old, {"a": {"x": 2, "y": [1]}}) == [
        "a · x: was 1, is 2",
        "a · y: 2 is gone",
        "b: gone",
    ]


def test_the_record_has_what_others_import(face, golden) -> None:
    assert set(face.OWNERS) <= golden["imports"].keys()
    assert set(golden["exports"]) == {
        "Answer", "Document", "Hit", "KnowledgeBase", "Query", "RagVqa"
    }  # fmt: skip
    assert {"ask", "kb build", "eval run", "serve", "train mine"} <= golden["help"].keys()
    assert {"POST /v1/chat/completions", "GET /health", "GET /"} <= golden["routes"].keys()
