"""How well the embedded retriever finds the objects of a museum, which it was not trained for.

    python benchmarks/museum_search.py --split test --json OUT.json

Asks the museum's questions (museum.py) without a picture, and with pictures of the object: the file
itself, resized and compressed as a web site would, and as a visitor photographs it. Also asks with
these pictures what does not name the object, such as "Who made this?". Searches with words as
needed (the default), and without. Recall@1 and @5 of the right object; intervals over questions.

Knows which queries are asked. Does not know how words and pictures are fused.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image

from rag_vqa.eval.intervals import bootstrap
from rag_vqa.formats.source import open_source
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.retriever.modeling.encoder import Encoder
from rag_vqa.types import Query

sys.path.insert(0, str(Path(__file__).parent))
import museum

UNNAMED = ("Who made this?", "When was it made?", "How did the museum get it?")
SIDE, QUALITY = 300, 70  # pixels and JPEG quality of a picture on a web site


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--split", choices=["dev", "test"], default="test")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows = list(measure(args.split))
    for row in rows:
        low, high = row["ci95"]
        print(f"{row['query']:36} {row['words']:10} {row['recall@1']:.3f} "
              f"[{low:.3f} - {high:.3f}] {row['recall@5']:.3f} n={row['n']}")  # fmt: skip
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")


def measure(split: str) -> Iterator[dict[str, Any]]:
    """One row for each kind of query and way of searching."""
    asked = [
        (question["question"], question["document_ids"][0])
        for question in museum.read_questions()
        if question["id"].startswith(split) and not question.get("unanswerable")
    ]
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with KnowledgeBase.create(folder / "kb", Encoder.load("demo", device="cpu")) as kb:
            kb.add(open_source(museum.write_museum(folder / "museum")).records())
            for words, kb.hybrid in (("as needed", "auto"), ("never", False)):
                for name, queries in queries_by_kind(asked, folder / "museum").items():
                    yield {"query": name, "words": words, **recall(kb, queries)}


def queries_by_kind(
    asked: list[tuple[str, str]], folder: Path
) -> dict[str, list[tuple[Query, str]]]:
    """Queries with the id of the right object."""

    def compressed(name: str) -> Image.Image:
        with Image.open(folder / f"{name}.png") as picture:
            small = picture.convert("RGB").resize((SIDE, SIDE))
        buffer = io.BytesIO()
        small.save(buffer, "JPEG", quality=QUALITY)
        return Image.open(buffer).convert("RGB")

    pictures = {
        "compressed picture": {name: compressed(name) for _, name in asked},
        "visitor's photo": {name: museum.draw_object(name, 1) for _, name in asked},
    }
    kinds = {"question": [(Query(text), name) for text, name in asked]}
    for kind, of in pictures.items():
        kinds[kind] = [(Query("", of[name]), name) for _, name in asked]
        kinds[f"question, {kind}"] = [(Query(text, of[name]), name) for text, name in asked]
        kinds[f"unnamed, {kind}"] = [
            (Query(text, of[name]), name) for text in UNNAMED for _, name in asked
        ]
    return kinds


def recall(kb: KnowledgeBase, queries: list[tuple[Query, str]], batch: int = 25) -> dict[str, Any]:
    """Recall@1 with its interval, over questions, and recall@5."""
    first, fifth = [], []
    for start in range(0, len(queries), batch):
        part = queries[start : start + batch]
        for hits, (_, name) in zip(kb.search([query for query, _ in part], 5), part, strict=True):
            found = [hit.document.id for hit in hits]
            first.append(float(found[0] == name))
            fifth.append(float(name in found))
    n = len(queries)
    low, high = bootstrap(first, [name for _, name in queries])
    return {"recall@1": sum(first) / n, "recall@5": sum(fifth) / n, "n": n, "ci95": [low, high]}


if __name__ == "__main__":
    main()
