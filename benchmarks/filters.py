"""Measures how long a metadata filter takes to find its documents, by the kind of condition.

The documents have invented metadata; a stand-in replaces the encoder, and nothing is ranked. Knows
sizes and a clock. Does not know retrieval.

    python benchmarks/filters.py --documents 1000000 --out benchmarks/results/filters.json
"""

import argparse
import datetime
import json
import os
import platform
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.retriever.search.filters import matching_rows
from rag_vqa.types import Passage, Query

START = datetime.datetime(1990, 1, 1)
CONDITIONS: Sequence[tuple[str, Any]] = (
    ("equal, 1 of 10 texts", "kind=kind3"),
    ("equal, a number", "year=1780"),
    ("equal, 1 of 1,000 in lists", "tag=tag17"),
    ("equal, every document another text", "code=INV-0000500"),
    ("several values", "year=1780,1650,1801"),
    ("two names", ["kind=kind3", "year>=1780"]),
    ("range of numbers, narrow", ["year>=1780", "year<1790"]),
    ("range of numbers, half", "year>=1750"),
    ("range of floats, every document another", "weight>=0.5"),
    ("range of prices in text", "price<12.5"),
    ("range of 10,000 days", ["acquired>=1998-05", "acquired<1999"]),
    ("range of times, every document another", ["changed>=1998-05", "changed<1998-06"]),
    ("range of times, half", "changed>=2005"),
    ("range of texts, every document another", "code>=INV-09"),
    ("without a value", "sold=null"),
    ("nothing found", "kind=kind99"),
)


class Encoder:
    """Returns one short token, always the same."""

    source, revision, fingerprint, instruction = "stand-in", None, "0" * 64, ""
    options: Mapping[str, str | bool] = {}
    K, D, window = 1, 8, 77

    def count_tokens(self, text: str) -> int:
        return len(text.split()) + 2

    def encode_passages(self, passages: Sequence[Passage]) -> np.ndarray:
        return np.full((len(passages), 1, 8), 8**-0.5, np.float32)

    def encode_queries(self, queries: Sequence[Query]) -> np.ndarray:
        return np.full((len(queries), 1, 8), 8**-0.5, np.float32)


def documents(number: int) -> Iterator[dict[str, Any]]:
    """Yields documents of a sentence, with nine names of metadata."""
    rng = random.Random(0)
    for n in range(number):
        day = START + datetime.timedelta(days=rng.randrange(10_000))
        moment = START + datetime.timedelta(seconds=rng.randrange(10**9))
        metadata = {
            "kind": f"kind{rng.randrange(10)}",
            "year": rng.randrange(1500, 2000),
            "tag": [f"tag{rng.randrange(1000)}" for _ in range(3)],
            "code": f"INV-{n:07}",
            "weight": rng.random(),
            "price": f"{rng.randrange(20_000) / 100:.2f}",
            "acquired": day.date().isoformat(),
            "changed": moment.isoformat(),
        }
        if n % 2:
            metadata["sold"] = True
        yield {"id": f"doc-{n:08}", "text": f"A boat, number {n}.", "metadata": metadata}


def median_ms(work: Callable[[], Any], repeats: int) -> float:
    work()
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        taken.append(1000 * (time.perf_counter() - start))
    return round(statistics.median(taken), 2)


def measure(kb: KnowledgeBase, repeats: int) -> dict[str, Any]:
    found = {}
    for name, where in CONDITIONS:
        rows = len(matching_rows(kb.store, where))
        took = median_ms(lambda: matching_rows(kb.store, where), repeats)  # noqa: B023
        found[name] = {"where": where, "documents": rows, "ms": took}
        print(f"{took:9.1f} ms  {rows:9,} documents  {name}: {where}", flush=True)
    notice = median_ms(lambda: kb.describe_no_match("kind=kind99"), repeats)
    start = time.perf_counter()
    everything = sum(1 for _ in kb.documents())
    scan = 1000 * (time.perf_counter() - start)
    print(f"{notice:9.1f} ms  for what is said if nothing is found")
    print(f"{scan:9.0f} ms  to read all {everything:,} documents, which no filter does")
    return {"conditions": found, "notice_ms": notice, "reading_all_documents_ms": round(scan)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--kb", type=Path, help="Keep the knowledge base here, and use it again.")
    parser.add_argument("--out", type=Path, help="Also write the figures to this JSON file.")
    parser.add_argument("--note", default="", help="Keep this note: what else was running.")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp()) if options.kb is None else options.kb.parent
    path = folder / "filters.kb" if options.kb is None else options.kb
    try:
        with KnowledgeBase.create(path, Encoder(), exist_ok=True, keep_tokens=False) as kb:
            if len(kb) < options.documents:
                kb.add(documents(options.documents), batch_size=4096)
            kb.warns = False
            figures = measure(kb, options.repeats)
    finally:
        if options.kb is None:
            shutil.rmtree(folder)
    if options.out:
        machine = {
            "cpus": os.cpu_count(),
            "system": f"{platform.system()} {platform.machine()}",
        }
        head = {"date": datetime.date.today().isoformat(), "machine": machine, "note": options.note}
        record = {**head, "documents": options.documents, **figures}
        options.out.write_text(json.dumps(record, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
