"""Measures what float16 costs the embedded retriever in recall on real flags that it never saw.

    python benchmarks/half.py --json benchmarks/results/half.json

Questions and countries are those of `rag-vqa demo --evaluate`: the test half, all 894 documents.
Queries and documents are encoded in the same type. This takes a minute of one core.
"""

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory

from rag_vqa.demo.gallery import build_knowledge_base, embedded_models_dir, example_questions
from rag_vqa.retriever.modeling.encoder import Encoder
from rag_vqa.types import Query

DEPTHS = (1, 5)


def recall(dtype: str) -> dict[str, float]:
    """Recall by what the query holds (text and image, or image) and by depth."""
    asked = example_questions("test")
    views = {
        "text and image": [example.query for example in asked],
        "image": [Query("", example.query.image) for example in asked],
    }
    found = {}
    encoder = Encoder.load(embedded_models_dir() / "retriever", device="cpu", dtype=dtype)
    with (
        TemporaryDirectory() as scratch,
        build_knowledge_base(Path(scratch) / "flags.kb", encoder) as kb,
    ):
        for name, queries in views.items():
            for depth in DEPTHS:
                rows = kb.search(queries, depth)
                right = [
                    any(hit.document.id in example.relevant for hit in row)
                    for example, row in zip(asked, rows, strict=True)
                ]
                found[f"{name} recall@{depth}"] = sum(right) / len(right)
    return found | {"questions": len(asked)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--json", type=Path, help="Write the figures to this file.")
    given = parser.parse_args()
    figures = {dtype: recall(dtype) for dtype in ("float32", "float16")}
    text = json.dumps(figures, indent=1)
    print(text)
    if given.json:
        given.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
