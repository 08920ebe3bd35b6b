"""Measures speed and recall of the index engines against torch, FAISS and PLAID, on one core.

Uses two sources of vectors (vectors.py). Engines and peers (peers.py) take turns for every query;
the result holds medians and ratios to torch in fp32. Rows lie in memory-mapped files, as in a
knowledge base. Knows engines, a clock and the process's memory. Does not know documents. No test
depends on its figures.

    python benchmarks/index.py --documents 20000 --cache /tmp/vectors --json OUT
"""

import argparse
import datetime
import gc
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import faiss
import numpy as np
import torch
import vectors
from numpy.typing import NDArray
from peers import Mapped, Search, faiss_tokens, plaid, torch_fp32

import rag_vqa
from rag_vqa.retriever.index import Index, make_index
from rag_vqa.retriever.index.kernels import select_kernel

BLOCK, D = vectors.BLOCK, vectors.D
MOST_FP32 = 200_000  # documents that torch can hold in fp32 here: 3.3 GB


def engine_search(index: Index) -> Search:
    return lambda query, k: index.search(query[None], k)[0][0]


def anonymous_bytes() -> int:
    """Bytes of this process that are not mapped from files."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) * 1024


def build_index(
    engine: str, mapped: Mapped, with_codes: bool = True
) -> tuple[Index, dict[str, float]]:
    gc.collect()
    before, start = anonymous_bytes(), time.perf_counter()
    index = make_index(engine)
    mapped.fill(index, with_codes)
    index.search(np.asarray(mapped.tokens[:1], np.float32), 1)
    seconds = time.perf_counter() - start
    return index, {"seconds": seconds, "anonymous_mb": (anonymous_bytes() - before) / 1e6}


def search_in_turn(
    ways: dict[str, Search], queries: NDArray[np.float32], k: int
) -> tuple[dict[str, list[float]], dict[str, list[set[int]]]]:
    """Milliseconds and results of every query, for each way in turn."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, list[set[int]]] = {name: [] for name in ways}
    for search in ways.values():
        search(queries[0], k)
    for query in queries:
        for name, search in ways.items():
            start = time.perf_counter()
            keys = search(query, k)
            times[name].append((time.perf_counter() - start) * 1e3)
            found[name].append({int(key) for key in keys})
    return times, found


def recall(found: list[set[int]], truth: list[set[int]]) -> float:
    return statistics.mean(len(a & b) / len(b) for a, b in zip(found, truth, strict=True))


def time_filters(
    indexes: dict[str, Index], documents: int, queries: NDArray[np.float32]
) -> dict[str, dict[str, float]]:
    """Median milliseconds of a search for the ten best among a random share of all rows."""
    rng = np.random.default_rng(3)
    result: dict[str, dict[str, float]] = {}
    for share in (0.01, 0.001):
        keys = np.sort(rng.permutation(documents)[: int(documents * share)])
        times: dict[str, list[float]] = {name: [] for name in indexes}
        for query in queries[:30]:
            for name, index in indexes.items():
                start = time.perf_counter()
                found, _ = index.search(query[None], 10, keys)
                times[name].append((time.perf_counter() - start) * 1e3)
                if (found < 0).sum() > max(0, 10 - len(keys)):
                    raise RuntimeError(f"{name} found fewer than 10 of {len(keys)}")
        result[f"{share:.1%}"] = {name: statistics.median(some) for name, some in times.items()}
    return result


def measure(
    mapped: Mapped, queries: NDArray[np.float32], peers: bool, python: Path | None
) -> dict[str, Any]:
    indexes: dict[str, Index] = {}
    building: dict[str, dict[str, float]] = {}
    for engine in ("exact", "faiss"):
        indexes[engine], building[engine] = build_index(engine, mapped)
    if mapped.documents <= MOST_FP32:
        _, building["exact, codes made"] = build_index("exact", mapped, with_codes=False)
    ways = {name: engine_search(index) for name, index in indexes.items()}
    if mapped.documents <= MOST_FP32:
        ways = {"torch fp32": torch_fp32(mapped), **ways}
        if peers:
            ways["faiss on tokens"] = faiss_tokens(mapped)
        if python is not None:
            ways["PLAID"] = plaid(python, mapped.folder, mapped.documents, queries)
    times, found = search_in_turn(ways, queries, 10)
    _, hundred = search_in_turn(ways, queries[:20], 100)
    truth = next(iter(ways))  # torch, or the exact engine if torch does not fit
    medians = {name: statistics.median(some) for name, some in times.items()}
    return {
        "truth": truth,
        "ms": medians,
        "all_ms": {name: [round(x, 3) for x in some] for name, some in times.items()},
        "times_faster": {name: medians[truth] / some for name, some in medians.items()},
        "recall@10": {name: recall(some, found[truth]) for name, some in found.items()},
        "recall@100": {name: recall(some, hundred[truth]) for name, some in hundred.items()},
        "build": building,
        "filter_ms": time_filters(indexes, mapped.documents, queries),
    }


def machine() -> dict[str, Any]:
    info = Path("/proc/cpuinfo").read_text().splitlines()
    return {
        "cpu": next((x.split(":")[1].strip() for x in info if x.startswith("model name")), ""),
        "system": f"{platform.system()} {platform.machine()}",
        "threads": torch.get_num_threads(),
        "load": os.getloadavg(),
        "kernel": select_kernel(D).name,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "faiss": faiss.__version__,
        "rag-vqa": rag_vqa.__version__,
    }


def show(name: str, result: dict[str, Any]) -> None:
    print(f"\n{name}: recall against {result['truth']}")
    print(f"{'':<18}{'ms':>9}{'× torch':>9}{'@10':>8}{'@100':>8}")
    for way, ms in result["ms"].items():
        ratio = f"{result['times_faster'][way]:9.1f}" if "torch" in result["truth"] else f"{'–':>9}"
        ten, hundred = result["recall@10"][way], result["recall@100"][way]
        print(f"{way:<18}{ms:9.2f}{ratio}{ten:8.3f}{hundred:8.3f}")
    for way, cost in result["build"].items():
        print(f"built {way:<18}{cost['seconds']:7.1f} s{cost['anonymous_mb']:8.0f} MB")
    print("filtered, ms:", json.dumps(result["filter_ms"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument(
        "--real",
        type=int,
        default=20_000,
        help="Number of documents to encode; the others are noisy copies.",
    )
    parser.add_argument("--source", choices=["demo", "aspects", "both"], default="both")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "rag-vqa-index")
    parser.add_argument("--json", type=Path, help="Add the results to this file.")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument(
        "--plaid", type=Path, help="Also measure PLAID, with this Python, which has colbert-ai."
    )
    parser.add_argument(
        "--note", default="", help="Keep this note with the figures: what else was running."
    )
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    faiss.omp_set_num_threads(given.threads)

    N = given.documents
    sources = {}
    if given.source != "aspects":
        real = vectors.demo_vectors(min(N, given.real), 300, given.cache)
        sources["demo retriever"] = (vectors.expand_vectors(real, N), real.queries)
    if given.source != "demo":
        sources["several aspects"] = vectors.aspect_vectors(N, given.queries)
    results = {}
    for name, (blocks, queries) in sources.items():
        with tempfile.TemporaryDirectory(dir=given.cache) as folder:
            mapped = Mapped(Path(folder), N, blocks)
            asked = np.asarray(queries[: given.queries], np.float32)
            results[name] = measure(mapped, asked, not given.no_peers, given.plaid)
            show(f"{name}, N = {N:,}", results[name])
    if given.json:
        write(given.json, N, given.note, results)


def write(path: Path, documents: int, note: str, results: dict[str, Any]) -> None:
    """Adds these results to those of other sizes."""
    held = json.loads(path.read_text()) if path.exists() else {}
    name = f"{documents:,} documents of {' and '.join(results)}, threads {torch.get_num_threads()}"
    held[name] = {
        "date": datetime.date.today().isoformat(),
        "command": " ".join(["python", *sys.argv]),
        "machine": machine(),
        "note": note,
        "results": results,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(held, indent=1) + "\n")


if __name__ == "__main__":
    main()
