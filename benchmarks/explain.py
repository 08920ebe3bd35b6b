"""Tests whether explanations name what a score depends on, by masking their heaviest tenth.

    python benchmarks/explain.py --json benchmarks/results/explain.json

The embedded retriever scores questions about real flags of the test half, each with its right
document. Masking cuts words out of the text, or paints patches over in the picture's mean colour.
The result shows how much more the score falls than with as many words or patches drawn at random:
the mean over questions, its 95% interval (bootstrap over countries), the median, and the share of
random draws that lower the score less.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from rag_vqa.demo.gallery import example_questions, real_documents
from rag_vqa.eval.intervals import bootstrap
from rag_vqa.images import load
from rag_vqa.retriever.explain import explain
from rag_vqa.retriever.modeling.encoder import Encoder
from rag_vqa.retriever.passages import split_document
from rag_vqa.retriever.scoring import late_interaction
from rag_vqa.types import Passage, Query

KINDS = ("query_words", "query_patches", "document_words", "document_patches")
TENTH, SEED = 10, 0


@dataclass
class MaskingResult:
    """Score losses by kind, (questions, draws): how much lower than with that random tenth."""

    gains: dict[str, NDArray[np.float64]]
    countries: list[str]
    seconds: list[float]  # of each explanation


def main() -> None:
    """Measures, prints and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=120)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    found = measure_masking("test", given.questions, draws=16)
    results = {"half": "test", "date": str(date.today()), **summarize(found)}
    text = json.dumps(results, indent=1) + "\n"
    print(text)
    if given.json:
        given.json.write_text(text, "utf-8")


def summarize(found: MaskingResult) -> dict[str, Any]:
    """Summary figures of each kind."""
    out: dict[str, Any] = {
        "questions": len(found.countries),
        "seconds": round(statistics.median(found.seconds), 3),
    }
    for kind, gains in found.gains.items():
        each = gains.mean(axis=1)
        low, high = bootstrap(each, found.countries)
        figures = {"mean": each.mean(), "low": low, "high": high, "median": np.median(each),
                   "draws beaten": (gains > 0).mean(),
                   "questions above 0": (each > 0).mean()}  # fmt: skip
        out[kind] = {name: round(float(value), 3) for name, value in figures.items()}
    return out


def measure_masking(half: str, questions: int, draws: int) -> MaskingResult:
    """Masks explanations of questions of a half, in a seeded order."""
    encoder = Encoder.load("demo", device="cpu")
    passages = {
        document.id: split_document(document, encoder.count_tokens, encoder.window)[0]
        for document in real_documents()
    }
    rng = np.random.default_rng(SEED)
    asked = example_questions(half)
    gains: dict[str, list[NDArray[np.float64]]] = {kind: [] for kind in KINDS}
    countries, seconds = [], []
    for number in rng.permutation(len(asked))[:questions]:
        question, [relevant] = asked[number].query, asked[number].relevant
        query = Query(question.text, load(question.image), instruction="")
        passage = replace(passages[relevant], image=load(passages[relevant].image))
        began = time.perf_counter()
        found = explain(encoder, query, passage, 0)
        seconds.append(time.perf_counter() - began)
        countries.append(relevant.partition("/")[0])
        for kind in KINDS:
            sets = list(draw_tenths(getattr(found, kind), draws, rng))
            pairs = [mask_places(query, passage, kind, places) for places in sets]
            named, *drawn = scores(encoder, pairs)
            gains[kind].append(np.array(drawn) - named)
    return MaskingResult({kind: np.array(all_) for kind, all_ in gains.items()}, countries, seconds)


def draw_tenths(places: Sequence[Any], draws: int, rng: np.random.Generator) -> Iterator[list[Any]]:
    """Yields the tenth with the greatest weights, then tenths drawn at random."""
    count = max(1, round(len(places) / TENTH))
    yield sorted(places, key=lambda place: -place.weight)[:count]
    for _ in range(draws):
        yield [places[i] for i in rng.permutation(len(places))[:count]]


def mask_places(
    query: Query, passage: Passage, kind: str, places: Sequence[Any]
) -> tuple[Query, Passage]:
    """Query and passage without these words or patches."""
    change: dict[str, Any]
    of: Any = query if kind.startswith("query") else passage
    if kind.endswith("words"):
        text = of.text
        for word in sorted(places, key=lambda word: -word.start):
            text = text[: word.start] + text[word.end :]
        change = {"text": text}
    else:
        pixels = np.asarray(of.image).copy()
        height, width = pixels.shape[:2]
        colour = pixels.reshape(-1, 3).mean(axis=0)
        for x0, y0, x1, y1 in (patch.box for patch in places):
            rows = slice(round(y0 * height), round(y1 * height))
            pixels[rows, round(x0 * width) : round(x1 * width)] = colour
        change = {"image": Image.fromarray(pixels)}
    if of is query:
        return replace(query, **change), passage
    return query, replace(passage, **change)


def scores(encoder: Encoder, pairs: Sequence[tuple[Query, Passage]]) -> list[float]:
    """Late interaction of each query with its passage."""
    queries, passages = zip(*pairs, strict=True)
    tokens = encoder.encode_queries(queries), encoder.encode_passages(passages)
    return late_interaction(*map(torch.from_numpy, tokens)).diag().tolist()


if __name__ == "__main__":
    main()
