"""`rag-vqa data`: exit codes, printed findings, and a demo set that its own check accepts."""

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
def test_the_demo_world_passes_its_check_and_is_the_same_bytes_again(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("rag_vqa.demo.benchmark_export.country_codes", lambda: ["FR", "DE"])
    monkeypatch.setattr("rag_vqa.demo.gallery.country_codes", lambda: ["FR", "DE"])
    assert cli("data", "demo", name, tmp_path / "set").code == 0
    assert cli("data", "demo", name, tmp_path / "set").code == 2
    for split in ("dev", "test"):
        done = cli("data", "check", name, tmp_path / "set", "--split", split, "--json")
        assert done.code == 0 and done.json["missing"] == [] and done.json["questions"] >= 6
    assert cli("data", "demo", name, tmp_path / "again").code == 0
    (tmp_path / "set" / "rag-vqa.json").unlink()
    first, again = (_files(tmp_path / folder) for folder in ("set", "again"))
    assert len(first) > 10 and first == again


def _files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_the_demo_world_names_the_country_as_group(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rag_vqa.demo.benchmark_export.country_codes", lambda: ["FR", "DE"])
    monkeypatch.setattr("rag_vqa.demo.gallery.country_codes", lambda: ["FR", "DE"])
    assert cli("data", "demo", "own", tmp_path / "set").code == 0
    rows = [json.loads(line) for split in ("dev", "test")
            for line in (tmp_path / "set" / f"{split}.jsonl").read_text().splitlines()]  # fmt: skip
    assert {row["group"] for row in rows} == {"FR", "DE"}
    assert all(row["id"].startswith(f"{row['group']}/") for row in rows)


def test_a_check_tells_refused_rows_and_ends_with_1(cli: Any, tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    rows = [{"id": "a", "question": "Who?"}, *({"id": str(n)} for n in range(7))]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = cli("data", "check", "own", path)
    assert done.code == 1 and "7 rows are refused" in done.err
    assert "1 questions" in done.out and "mine.jsonl, line 2" in done.out
    assert "and 2 more" in done.out
    done = cli("data", "check", "own", path, "--json")
    assert len(done.json["refused"]) == 7 and done.json["remarks"] == {}
