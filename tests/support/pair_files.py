"""Small files to train on, with pictures that can be opened; texts are invented."""

import json
from pathlib import Path
from typing import Any

from PIL import Image

from rag_vqa.retriever.training.packed_source import PackedSource
from rag_vqa.retriever.training.source_mixture import open_source
from rag_vqa.retriever.training.training_pairs import Pair
from rag_vqa.retriever.training.training_settings import SourceSettings


def lines(path: Path, *rows: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def picture(path: Path, shade: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (24, 20), (shade % 256, 2 * shade % 256, 7)).save(path)
    return path


def birds(folder: Path, rows: int = 12, documents: int = 6) -> Path:
    """pairs.jsonl, documents.jsonl and pictures: row i asks for document i % documents."""
    for number in range(documents):
        picture(folder / f"{number}.png", 9 * number)
    lines(
        folder / "documents.jsonl",
        *(
            {"id": f"d{number}", "title": "bird", "text": f"a {number}", "image": f"{number}.png"}
            for number in range(documents)
        ),
    )
    return lines(
        folder / "pairs.jsonl",
        *(
            {"id": f"q{row}", "question": f"where {row}", "image": f"{row % documents}.png",
             "document": f"d{row % documents}"}
            for row in range(rows)
        ),
    )  # fmt: skip


def opened(folder: Path, **said: Any) -> PackedSource:
    given = {"format": "pairs", "questions": folder / "pairs.jsonl",
             "documents": folder / "documents.jsonl", **said}  # fmt: skip
    source = open_source(SourceSettings(**given), folder=folder / "packed")
    assert isinstance(source, PackedSource)
    return source


def pairs_of(source: PackedSource) -> list[Pair]:
    return sorted(source.draw(0, range(len(source))), key=lambda pair: pair.name)
