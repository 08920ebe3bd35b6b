"""Measures `kb build`'s inner loop: documents a second with and without workers, and peak memory.

Documents are generated photographs (smooth noise, JPEG, all different) with a line of text. The
embedded retriever encodes them. Each build runs in its own process, the variants in turn. Knows
processes and a clock. Does not know retrieval.

    python benchmarks/build.py --out benchmarks/results/build.json
"""

import argparse
import datetime
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

PIXELS = (1600, 1200)


def photographs(folder: Path, number: int) -> None:
    """Writes pictures of about 2 megapixels, like photographs of a phone in its smaller setting."""
    folder.mkdir(parents=True)
    for n in range(number):
        pixels = np.random.default_rng(n).integers(0, 256, (PIXELS[1] // 8, PIXELS[0] // 8, 3))
        small = Image.fromarray(pixels.astype(np.uint8)).filter(ImageFilter.GaussianBlur(1))
        small.resize(PIXELS, Image.Resampling.BICUBIC).save(folder / f"{n}.jpg", quality=90)


def build(photos: Path, out: Path, number: int, workers: int, batch: int) -> dict[str, Any]:
    """Figures of one build in this process."""
    import torch

    from rag_vqa.retriever.knowledge_base import KnowledgeBase
    from rag_vqa.retriever.modeling.encoder import Encoder

    torch.set_num_threads(1)
    encoder = Encoder.load("demo", device="cpu", workers=workers, batch_size=batch)
    documents = (
        {"id": f"d{n}", "text": f"Photograph {n} of many.", "image": str(photos / f"{n}.jpg")}
        for n in range(number)
    )
    with KnowledgeBase.create(out, encoder) as kb:
        start = time.perf_counter(), time.process_time()
        report = kb.add(documents, batch_size=8 * batch)
        wall, cpu = time.perf_counter() - start[0], time.process_time() - start[1]
    if report.added != number:
        raise RuntimeError(f"only {report.added} of {number} documents were added; cannot compare")
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"workers": workers, "documents": number, "wall": wall, "cpu_of_main_process": cpu,
            "documents_a_second": number / wall, "peak_memory_mb": own}  # fmt: skip


def time_first_picture(workers: int) -> float:
    """Seconds until a new worker returns its first picture."""
    from rag_vqa import images
    from rag_vqa.retriever.image_workers import ImageOpener, ImageTransform

    data = images.encode(Image.new("RGB", (64, 64)))
    with ImageOpener(ImageTransform(size=(48, 48)), workers) as opener:
        start = time.perf_counter()
        opener.start(data, "x")()
        return time.perf_counter() - start


def run_in_process(*job: object) -> dict[str, Any]:
    """Figures of one build in its own process, so that its peak memory is its own."""
    command = [sys.executable, __file__, "--job", json.dumps(job)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure_builds(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    photographs(folder / "photos", options.documents)
    half = options.documents // 2
    runs: list[dict[str, Any]] = []
    for repeat in range(options.repeats):
        for workers in options.workers:
            for number in (half, options.documents):
                out = folder / f"{repeat}-{workers}-{number}.kb"
                job = (str(folder / "photos"), str(out), number, workers, options.batch_size)
                runs.append(run_in_process(*job))
                shutil.rmtree(out)
                print(json.dumps(runs[-1]), file=sys.stderr)
    medians = {
        f"workers {workers}, {number} documents": {
            name: statistics.median(
                run[name] for run in runs if (run["workers"], run["documents"]) == (workers, number)
            )
            for name in ("documents_a_second", "peak_memory_mb")
        }
        for workers in options.workers
        for number in (half, options.documents)
    }
    first = [time_first_picture(1) for _ in range(options.repeats)]
    return {"medians": medians, "runs": runs, "seconds_to_first_picture_of_one_worker": first}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=1200)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--out", type=Path, help="Write the JSON to this file instead of printing it."
    )
    parser.add_argument(
        "--note", default="", help="Keep this note with the figures: what else was running."
    )
    parser.add_argument("--job", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        photos, out, number, workers, batch = json.loads(options.job)
        print(json.dumps(build(Path(photos), Path(out), number, workers, batch)))
        return
    folder = Path(tempfile.mkdtemp())
    try:
        figures = measure_builds(options, folder)
    finally:
        shutil.rmtree(folder)
    found = {
        "what": f"{PIXELS[0]}x{PIXELS[1]} JPEG and a line of text a document, embedded retriever, "
        f"one thread, batches of {options.batch_size}",
        "date": datetime.date.today().isoformat(),
        "machine": {"cpus": os.cpu_count(), "system": f"{platform.system()} {platform.machine()}",
                    "python": platform.python_version(), "load_at_the_end": os.getloadavg()[0]},
        "note": options.note,
        **figures,
    }  # fmt: skip
    text = json.dumps(found, indent=1) + "\n"
    if options.out:
        options.out.write_text(text, "utf-8")
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
