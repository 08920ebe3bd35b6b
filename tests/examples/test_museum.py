"""The made-up museum: its list names pictures that are there, and builds as its header says."""

import csv
import shlex
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
from command_line import cli, loads  # noqa: F401

from rag_vqa import images
from rag_vqa.retriever.knowledge_base import KnowledgeBase


@pytest.fixture
def museum(root: Path) -> Any:
    spec = spec_from_file_location("museum", root / "examples" / "museum.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_museum_builds_as_its_header_says(cli, museum, tmp_path, monkeypatch) -> None:  # noqa: F811
    monkeypatch.chdir(tmp_path)
    table = museum.write_museum(Path("museum"), 40)
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 40 and sum(not row["Image"] for row in rows) > 0
    for row in rows:
        assert not row["Image"] or images.load(table.parent / row["Image"]).size == (320, 320)
    header = museum.__doc__.replace("\\\n", " ").splitlines()
    [build] = [shlex.split(line) for line in header if "kb build" in line]
    done = cli(*build[1:])
    assert done.code == 0, done.err
    assert f"40 documents (csv) · {sum(bool(row['Image']) for row in rows)} with image" in done.err
    with KnowledgeBase.open("museum.kb") as kb:
        assert kb.stats().shown == ("Artist", "Year", "Licence")
        for row in rows:
            text = kb.get(row["Inv"]).text
            made = {(True, True): "Made by {Artist} in {Year}.", (True, False): "Made by {Artist}.",
                    (False, True): "Made in {Year}.", (False, False): ""}  # fmt: skip
            end = made[bool(row["Artist"]), bool(row["Year"])].format(**row)
            assert text == "\n".join(
                filter(None, [f"{row['Title']}. {row['Description']}", end])
            ).replace("..", ".")
