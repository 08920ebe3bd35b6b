"""Measures `kb sync` of a source that did not change, as a share of the time that its build took.

Writes documents of about 40 words with a picture each (noise, JPEG, all different), builds a
knowledge base with the demo's retriever on one thread, and syncs it again and again. Sources: JSONL
that names the pictures, CSV without pictures, and a folder of pictures with a note beside each.
Times are CPU seconds of all threads; the files are in the page cache. With --documents 40000
a build takes an hour; the share hardly depends on the number.

    python benchmarks/sync.py --documents 2000 --json benchmarks/results/sync.json
"""

import argparse
import csv
import datetime
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from rag_vqa.jobs.build import BuildOptions, build_knowledge_base
from rag_vqa.jobs.document_source import SourceOptions
from rag_vqa.jobs.sync import SyncOptions, sync_knowledge_base
from rag_vqa.settings import load_settings

WORDS = (
    "the museum of this city has a blue vase with two handles that was made in the year by potters "
    "who came from the north and sold their work to merchants at market when it was cold outside"
)


def write_picture(path: Path, number: int, side: int) -> None:
    pixels = np.random.default_rng(number).integers(0, 256, (side // 8, side // 8, 3))
    small = Image.fromarray(pixels.astype(np.uint8))
    small.resize((side, side), Image.Resampling.BICUBIC).save(path, quality=85)


def text_of(number: int) -> str:
    words = random.Random(number).choices(WORDS.split(), k=40)
    return f"Vase {number}. {' '.join(words)}."


def write_jsonl(folder: Path, count: int, side: int) -> Path:
    (folder / "pictures").mkdir()
    for number in range(count):
        write_picture(folder / f"pictures/{number}.jpg", number, side)
    path = folder / "objects.jsonl"
    rows = (
        {
            "id": f"object-{n}",
            "text": text_of(n),
            "image": f"pictures/{n}.jpg",
            "year": 1700 + n % 99,
        }
        for n in range(count)
    )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_csv(folder: Path, count: int, side: int) -> Path:
    path = folder / "objects.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "text", "year"))
        writer.writerows((f"object-{n}", text_of(n), 1700 + n % 99) for n in range(count))
    return path


def write_folder(folder: Path, count: int, side: int) -> Path:
    path = folder / "objects"
    path.mkdir()
    for number in range(count):
        write_picture(path / f"object-{number}.jpg", number, side)
        (path / f"object-{number}.txt").write_text(text_of(number))
    return path


SOURCES: dict[str, Callable[[Path, int, int], Path]] = {
    "jsonl": write_jsonl,
    "csv": write_csv,
    "folder": write_folder,
}


def cpu_seconds(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    result = call()
    return time.process_time() - start, result


def measure(kind: str, options: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        source = SourceOptions(SOURCES[kind](Path(folder), options.documents, options.side))
        out, settings = Path(folder) / "own.kb", load_settings(assignments=["retriever.model=demo"])
        build, built = cpu_seconds(
            lambda: build_knowledge_base(BuildOptions(source, out), settings)
        )
        assert built.added == options.documents, built
        syncs = []
        for number in range(options.repeats):
            if options.profile and number == options.repeats - 1:
                import cProfile

                cProfile.runctx(
                    "sync_knowledge_base(SyncOptions(source, out), settings)",
                    globals(), locals(), sort="tottime",
                )  # fmt: skip
            seconds, synced = cpu_seconds(
                lambda: sync_knowledge_base(SyncOptions(source, out), settings)
            )
            assert synced.unchanged == options.documents, synced
            syncs.append(seconds)
    return {"build": build, "syncs": syncs, "share": statistics.median(syncs) / build}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=2_000)
    parser.add_argument("--side", type=int, default=512, help="pixels of a picture's side")
    parser.add_argument("--sources", default=",".join(SOURCES))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    results: dict[str, Any] = {
        "date": str(datetime.date.today()), "documents": options.documents, "side": options.side,
    }  # fmt: skip
    for kind in options.sources.split(","):
        found = results[kind] = measure(kind, options)
        print(
            f"{kind}: build {found['build']:.1f} s, first sync {found['syncs'][0]:.2f} s, "
            f"then {statistics.median(found['syncs']):.2f} s ({found['share']:.2%})",
            flush=True,
        )
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
