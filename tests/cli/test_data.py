"""`rag-vqa data`: exit codes, what is told, and a demo set that its own check accepts."""

import json
from pathlib import Path
from typing import Any

import pytest


def test_check_ends_with_3_only_where_a_photo_is_needed(cli: Any, tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps({"id": "a", "question": "Who?", "image": "no.jpg"}) + "\n")
    done = cli("data", "check", "own", path)
    assert done.code == 3 and "no.jpg" in done.out and "--missing text-only" in done.err
    done = cli("data", "check", "own", path, "--missing", "skip", "--json")
    assert done.code == 0 and done.json["missing"] == ["no.jpg"]
    assert cli("data", "check", "own", path, "--missing", "never").code == 2
    assert cli("data", "check", "ownn", path).code == 2


@pytest.mark.parametrize("name", ["infoseek", "evqa", "own"])
def test_the_demo_world_passes_its_check(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("rag_vqa.demo.exporting.countries", lambda: ["FR", "DE"])
    monkeypatch.setattr("rag_vqa.demo.asked.countries", lambda: ["FR", "DE"])
    assert cli("data", "demo", name, tmp_path / "set").code == 0
    assert cli("data", "demo", name, tmp_path / "set").code == 2
    for split in ("dev", "test"):
        done = cli("data", "check", name, tmp_path / "set", "--split", split, "--json")
        assert done.code == 0 and done.json["missing"] == [] and done.json["questions"] >= 6
