"""Measures recall on flags drawn by others, from a folder of pictures named by ISO code ("no.png").

    python benchmarks/flags.py FOLDER [--json OUT]

The script asks one question on each section with each picture, and searches the demo's knowledge
base, as `rag-vqa demo --evaluate` does with imitated photographs. The pictures may have any style.
They are not part of this project; the file in benchmarks/results names their source.
"""

import argparse
import json
import tempfile
from datetime import date
from pathlib import Path

import numpy as np

from rag_vqa.demo.gallery import build_knowledge_base, country_codes, example_questions
from rag_vqa.eval.intervals import bootstrap
from rag_vqa.retriever.modeling.encoder import Encoder
from rag_vqa.types import Example, Query


def questions_on_pictures(folder: Path) -> list[Example]:
    """The demo's questions of both halves, with the folder's pictures of the countries."""
    found = []
    for example in (*example_questions("dev"), *example_questions("test")):
        code = example.id.partition("/")[0].lower()
        picture = folder / f"{code}.png"
        if picture.is_file():
            query = Query(example.query.text, picture)
            found.append(Example(example.id, query, example.answers, example.relevant))
    return found


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--source", default="", help="Keep this with the figures: where the pictures come from."
    )
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    asked = questions_on_pictures(given.folder)
    if not asked:
        parser.error(
            f"{given.folder} holds no picture with a name like {country_codes()[0].lower()}.png"
        )
    with tempfile.TemporaryDirectory() as scratch:
        encoder = Encoder.load("demo")
        with build_knowledge_base(Path(scratch) / "flags.kb", encoder) as kb:
            hits = kb.search([example.query for example in asked], 5)
    result: dict[str, object] = {"source": given.source, "date": str(date.today())}
    clusters = [example.id.partition("/")[0] for example in asked]
    for depth in (1, 5):
        right = [
            float(any(hit.document.id in example.relevant for hit in row[:depth]))
            for example, row in zip(asked, hits, strict=True)
        ]
        result[f"recall@{depth}"] = round(float(np.mean(right)), 4)
        result[f"ci95@{depth}"] = [round(x, 4) for x in bootstrap(right, clusters)]
    result |= {"n": len(asked), "countries": len(set(clusters))}
    print(json.dumps(result, indent=2))
    if given.json:
        given.json.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
