"""A source for sharded builds, and the comparison of two knowledge bases."""

import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rag_vqa import images
from rag_vqa.cli.app import run
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.retriever.store.segments import RowReader


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Every third with a picture, one without its file, two refused; texts of all lengths."""
    for number in range(4):
        picture = Image.new("RGB", (20, 30), (60 * number, 0, 9))
        (tmp_path / f"{number}.png").write_bytes(images.encode(picture))
    rows: list[Any] = [{"id": f"d{n}", "text": "a red bird " * (n % 4 + 1)} for n in range(23)]
    for number in range(0, 23, 3):
        rows[number]["image"] = f"{number % 5}.png"
    rows.insert(5, {"id": [7], "text": "a"})
    rows.append({"text": "without an id"})
    rows[20] = {"id": "d19", "text": "nest", "image": "0.png"}
    (tmp_path / "0.png").write_bytes(images.encode(Image.new("RGB", (9, 9)))[:40])
    path = tmp_path / "docs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The real command, in this process: no stand-in reaches those that it starts."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    return lambda *args: run(["kb", "build", *map(str, args)])


def tokens(path: Path) -> tuple[list[Any], Any]:
    """Of all passages in the order of their documents: what they are, and (N, K, D)."""
    with KnowledgeBase.open(path) as kb:
        assert kb.verify() == ()
        rows = kb.store.db.rows(
            "SELECT key, d.id, position, text, image FROM passages JOIN documents AS d "
            "ON d.row = document ORDER BY d.row, position"
        )
        found, _ = RowReader(kb.store.db, kb.store.segments).rows(
            np.array([row[0] for row in rows], np.int64)
        )
    return [row[1:] for row in rows], found


def same(one: Path, other: Path) -> None:
    (rows, numbers), (rows_, numbers_) = tokens(one), tokens(other)
    assert rows == rows_
    # Other neighbours in a batch, other padding: the last bits may differ, and no more.
    np.testing.assert_allclose(numbers.astype(np.float32), numbers_.astype(np.float32), atol=2e-3)
    for name in ("rejects.jsonl", "missing.csv"):
        lines, lines_ = ((path / name).read_text().splitlines() for path in (one, other))
        assert sorted(lines) == sorted(lines_) and len(lines) > 1
