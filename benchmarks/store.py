"""Measures what the store costs beside the model: opening, bytes, syncing, memory. Writes JSON.

A stand-in replaces the encoder and sleeps a fixed time a passage, so that the figures show the
store and not a model. Knows sizes and a clock. Does not know retrieval.

    python benchmarks/store.py --out benchmarks/results/store.json
"""

import argparse
import datetime
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.types import Passage, Query

WORDS = 45  # of a document, of one window: 280 characters


class Encoder:
    """Returns unit tokens from a seeded table; each passage takes `seconds`."""

    source, revision, fingerprint, instruction = "stand-in", None, "0" * 64, ""
    options: Mapping[str, str | bool] = {}
    K, D, window = 32, 128, 77

    def __init__(self, seconds: float = 0.0) -> None:
        self._seconds, self.encoded = seconds, 0
        table = np.random.default_rng(0).normal(size=(1024, self.K, self.D)).astype(np.float32)
        self._table = table / np.linalg.norm(table, axis=-1, keepdims=True)

    def count_tokens(self, text: str) -> int:
        return len(text.split()) + 2

    def encode_passages(self, passages: Sequence[Passage]) -> np.ndarray:
        time.sleep(self._seconds * len(passages))
        self.encoded += len(passages)
        return self._table[[hash(p.text) % 1024 for p in passages]]

    def encode_queries(self, queries: Sequence[Query]) -> np.ndarray:
        return self._table[[hash(query.text) % 1024 for query in queries]]


def documents(number: int, changed: int = 0) -> Iterator[dict[str, Any]]:
    """Yields documents; the first `changed` of them have other text."""
    for n in range(number):
        text = f"{'Now' if n < changed else 'Then'} {n} " + "lorem " * WORDS
        yield {"id": f"doc-{n:08}", "text": text, "title": f"Title {n}",
               "metadata": {"lang": "en", "year": n % 50}}  # fmt: skip


def time_call(work: Callable[[], Any]) -> tuple[dict[str, float], Any]:
    """Wall and CPU seconds of this process; other work hardly changes the latter."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}, result


def measure_build(path: Path, number: int, keep_tokens: bool) -> dict[str, Any]:
    with KnowledgeBase.create(path, Encoder(), keep_tokens=keep_tokens) as kb:
        took, _ = time_call(lambda: kb.add(documents(number), batch_size=64))
    with KnowledgeBase.open(path) as kb:
        stats = kb.stats()
    return {
        "seconds_of_add": took,
        "bytes_a_document": {
            "tokens_and_codes": stats.token_bytes / number,
            "rows": (stats.bytes - stats.token_bytes) / number,
        },
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "anonymous_memory_mb": anonymous_mb(),
    }


def anonymous_mb() -> float:
    """Memory of this process now, without mapped files (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def measure_opening(path: Path, repeats: int) -> dict[str, Any]:
    def once() -> None:
        KnowledgeBase.open(path).close()

    once()
    walls = [time_call(once)[0] for _ in range(repeats)]
    with KnowledgeBase.open(path) as kb:
        verified, damage = time_call(kb.verify)
    assert damage == ()
    return {
        "open_wall_median": float(np.median([took["wall"] for took in walls])),
        "open_cpu_median": float(np.median([took["cpu"] for took in walls])),
        "verify": verified,
    }


def measure_syncing(path: Path, number: int, changed: int, seconds: float) -> dict[str, Any]:
    with KnowledgeBase.create(path, Encoder(seconds)) as kb:
        full, _ = time_call(lambda: kb.add(documents(number), batch_size=64))
    with KnowledgeBase.open(path, encoder := Encoder(seconds)) as kb:
        synced, report = time_call(lambda: kb.sync(documents(number, changed)))
    assert (report.changed, encoder.encoded) == (changed, changed)
    return {
        "documents": number,
        "changed": changed,
        "seconds_a_passage": seconds,
        "full_build": full,
        "sync": synced,
        # Counts this process' CPU time and the encoder's sleep, no waits for other work.
        "sync_share_of_build": (
            (synced["cpu"] + changed * seconds) / (full["cpu"] + number * seconds)
        ),
    }


def run_in_process(folder: Path, *job: object) -> Any:
    """Figures of one job in its own process, so that its memory is its own."""
    command = [sys.executable, __file__, "--folder", str(folder), "--job", json.dumps(job)]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return json.loads(done.stdout)


JOBS: dict[str, Callable[..., Any]] = {
    "build": measure_build,
    "opening": measure_opening,
    "syncing": measure_syncing,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--synced", type=int, default=40_000)
    parser.add_argument("--changed", type=int, default=200)
    parser.add_argument(
        "--seconds", type=float, default=0.01, help="Seconds that the encoder takes a passage."
    )
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument(
        "--folder", type=Path, help="Write into this folder instead of a temporary one."
    )
    parser.add_argument(
        "--out", type=Path, help="Write the JSON to this file instead of printing it."
    )
    parser.add_argument(
        "--note", default="", help="Keep this note with the figures: what else was running."
    )
    parser.add_argument("--job", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        name, file, *rest = json.loads(options.job)
        print(json.dumps(JOBS[name](options.folder / file, *rest)))
        return
    folder = Path(tempfile.mkdtemp(dir=options.folder))
    try:
        found = {
            "date": datetime.date.today().isoformat(),
            "machine": {
                "cpus": os.cpu_count(),
                "system": f"{platform.system()} {platform.machine()}",
            },
            "note": options.note,
            "documents": options.documents,
            "with_fp16": run_in_process(folder, "build", "a.kb", options.documents, True),
            "opened": run_in_process(folder, "opening", "a.kb", options.repeats),
            "codes_alone": run_in_process(folder, "build", "b.kb", options.documents, False),
            "sync": run_in_process(
                folder, "syncing", "c.kb", options.synced, options.changed, options.seconds
            ),
        }
    finally:
        shutil.rmtree(folder)
    text = json.dumps(found, indent=1) + "\n"
    if options.out:
        options.out.write_text(text, "utf-8")
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
