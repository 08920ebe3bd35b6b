"""Measures what two search options change: `hybrid` (BM25 too) and `sections` (pages first).

    python benchmarks/search.py [--half dev] [--documents 20000] [--json OUT]

Measures recall@1 and recall@5 of the embedded retriever on flags of one half, in English and with
the same facts and questions in German; intervals are bootstrapped over countries. Then times
queries, without their encoding, over `--documents` synthetic documents with random tokens. No test
depends on its figures.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray

from rag_vqa.demo.drawing.real_flags import split_of
from rag_vqa.demo.gallery import (
    build_knowledge_base,
    country_codes,
    example_questions,
    real_documents,
    sample_photo,
)
from rag_vqa.demo.world.entities import real_entities
from rag_vqa.demo.world.facts import section_of
from rag_vqa.eval.intervals import bootstrap
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.retriever.modeling.encoder import Encoder
from rag_vqa.types import Document, Example, Passage, Query

# Hybrid and sections of each way of searching.
WAYS = {"plain": (False, False), "sections": (False, True), "hybrid": (True, False),
        "hybrid, sections": (True, True)}  # fmt: skip
# One attribute of each section: how a document states it, and how a question asks for it.
GERMAN = {
    "highest_point": ("Der höchste Berg heißt {}.", "Wie heißt der höchste Berg"),
    "languages": ("Die Amtssprache ist {}.", "Welche Amtssprache gilt in"),
    "capital": ("Die Hauptstadt ist {}.", "Wie heißt die Hauptstadt von"),
    "currency": ("Bezahlt wird mit der Währung {}.", "Welche Währung gilt in"),
    "calling_code": ("Die Telefonvorwahl ist {}.", "Welche Telefonvorwahl hat"),
    "adopted": ("Die Flagge gilt seit {}.", "Seit wann gilt die Flagge von"),
}
WORDS = 50_000  # of the synthetic vocabulary, of which the n-th is n times rarer than the first


def german_documents() -> list[Document]:
    """Sections of each country in German, with its flag; names stay as they are."""
    entities = {entity.id: entity for entity in real_entities().values()}
    found = []
    for document in real_documents():
        entity = entities[document.parent]
        for attribute, (said, _) in GERMAN.items():
            if section_of(attribute) == document.section and attribute in entity.facts:
                text = said.format(entity.facts[attribute].value)
                found.append(Document(document.id, text, entity.name, images=document.images,
                                      parent=document.parent))  # fmt: skip
    return found


def german_examples(half: str, named: bool) -> list[Example]:
    """A question on each German section, with a photo of the flag or with the country's name."""
    found = []
    for code in (code for code in country_codes() if split_of(code) == half):
        entity = real_entities()[code]
        for number, (attribute, (_, asked)) in enumerate(GERMAN.items()):
            if attribute not in entity.facts:
                continue
            whose = entity.name if named else "diesem Land"
            photo = None if named else sample_photo(code, number)
            gold = f"{entity.id}/{section_of(attribute)}"
            found.append(Example(f"{code}/{attribute}", Query(f"{asked} {whose}?", photo),
                                 relevant=(gold,)))  # fmt: skip
    return found


def measure_recall(kb: KnowledgeBase, asked: Sequence[Example]) -> dict[str, Any]:
    """Recall of each way and its difference to the plain one, with intervals."""
    clusters = [example.id.partition("/")[0] for example in asked]
    result: dict[str, Any] = {"n": len(asked), "countries": len(set(clusters))}
    right: dict[str, dict[int, NDArray[np.float64]]] = {}
    for way, (kb.hybrid, kb.sections) in WAYS.items():
        hits = kb.search([example.query for example in asked], 5)
        right[way] = {
            depth: np.array([
                float(any(hit.document.id in example.relevant for hit in row[:depth]))
                for example, row in zip(asked, hits, strict=True)
            ])
            for depth in (1, 5)
        }  # fmt: skip
        result[way] = {}
        for depth, values in right[way].items():
            less = values - right["plain"][depth]
            result[way] |= {
                f"recall@{depth}": round(float(values.mean()), 4),
                f"ci95@{depth}": _round_interval(bootstrap(values, clusters)),
                f"minus plain ci95@{depth}": _round_interval(bootstrap(less, clusters)),
            }
    return result


class RandomEncoder:
    """Draws random tokens of the demo's shape instead of encoding, in almost no time."""

    source, revision, options, fingerprint = "random", None, {}, "0" * 64
    instruction, K, D, window = "", 32, 128, 77

    def __init__(self) -> None:
        self._rng = np.random.default_rng(0)

    def count_tokens(self, text: str) -> int:
        return len(text.split()) + 2

    def encode_queries(self, queries: Sequence[Query]) -> NDArray[np.float32]:
        return self._rng.standard_normal((len(queries), self.K, self.D), np.float32)

    def encode_passages(
        self, passages: Sequence[Passage], on_progress: Callable[[int], object] | None = None
    ) -> NDArray[np.float32]:
        return self._rng.standard_normal((len(passages), self.K, self.D), np.float32)


def time_queries(documents: int, folder: Path, queries: int = 30) -> dict[str, Any]:
    """Seconds of the build and of the first searches, and median milliseconds a query."""
    rng = np.random.default_rng(0)
    weights = 1 / np.arange(1, WORDS + 1)
    weights /= weights.sum()

    def text(words: int) -> str:
        return " ".join(f"w{n}" for n in rng.choice(WORDS, words, p=weights))

    kb = KnowledgeBase.create(folder / "random.kb", RandomEncoder())
    start = time.perf_counter()
    kb.add({"id": str(n), "text": text(60), "parent": f"p{n // 6}"} for n in range(documents))
    result: dict[str, Any] = {"documents": documents, "build_s": time.perf_counter() - start}
    size = sum(f.stat().st_size for f in kb.path.rglob("*") if f.is_file())
    for name, hybrid in (("first_plain_s", False), ("first_hybrid_s", True)):
        kb.hybrid, start = hybrid, time.perf_counter()
        kb.search([Query(text(8))], 5)
        result[name] = time.perf_counter() - start
    spent: Mapping[str, list[float]] = {way: [] for way in WAYS}
    for query in [Query(text(8)) for _ in range(queries)]:
        for way, (kb.hybrid, kb.sections) in WAYS.items():
            start = time.perf_counter()
            kb.search([query], 5)
            spent[way].append(1e3 * (time.perf_counter() - start))
    result["median_ms"] = {way: round(statistics.median(ms), 2) for way, ms in spent.items()}
    grown = sum(f.stat().st_size for f in kb.path.rglob("*") if f.is_file())
    return result | {"bytes": size, "bytes_after_hybrid": grown, "ms": spent}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--half", choices=("dev", "test"), default="test")
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    result: dict[str, Any] = {"date": str(date.today()), "half": given.half, "machine": machine}
    with tempfile.TemporaryDirectory() as scratch:
        encoder = Encoder.load("demo")
        with build_knowledge_base(Path(scratch) / "flags.kb", encoder) as kb:
            result["flags"] = measure_recall(kb, example_questions(given.half))
        with KnowledgeBase.create(Path(scratch) / "german.kb", encoder) as kb:
            kb.add(german_documents(), strict=True)
            for name, named in (("german, photo", False), ("german, by name", True)):
                result[name] = measure_recall(kb, german_examples(given.half, named))
        if given.documents:
            result["latency"] = time_queries(given.documents, Path(scratch))
    result["load averages, at the end"] = os.getloadavg()
    if given.json:
        given.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({n: v for n, v in result.items() if n != "latency"}, indent=1))
    print({n: v for n, v in result.get("latency", {}).items() if n != "ms"})


def _round_interval(interval: Sequence[float]) -> list[float]:
    return [round(float(end), 4) for end in interval]


if __name__ == "__main__":
    main()
