"""Compares the peak memory of readers on a CPU with the prediction of `doctor --fit`.

The readers are random models of 400 to 600 million parameters, saved to a temporary folder as users
would have them, and the embedded reader. Each is loaded in its own process. That process reads a
prompt that fills the context and holds all pictures, and watches its own memory. Knows how to watch
memory. Does not know how it is predicted.

    python benchmarks/memory.py --json benchmarks/results/memory.json

We made the formula of rag_vqa/memory.py, and the program's release of memory, while looking at some
of the cases; we measured the others afterwards. Needs 4 GB of memory, 5 GB of disk and ten minutes
of one core; less with --only.
"""

import argparse
import datetime
import json
import platform
import re
import subprocess
import sys
import threading
import time
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from random_readers import build

from rag_vqa.checkpoints import embedded_model


@dataclass(frozen=True)
class Case:
    """A model to load and the prompts that it reads. `fitted`: the formula was made with it."""

    model: str
    quantization: str
    context: int
    images: int = 1
    pixels: int = 448 * 448
    batch: int = 1
    dtype: str = "float32"
    fitted: bool = True


CASES = (
    Case("qwen3vl-deep", "nf4", 2048, images=3),
    Case("qwen3vl-deep", "int8", 640, batch=2),
    Case("qwen3vl-wide", "nf4", 1024, images=2),
    Case("qwen3vl-wide", "int8", 1024),
    Case("llava-tall", "nf4", 3072, images=2),
    Case("llava-tall", "int8", 1024),
    Case("llava-tall", "none", 2048, batch=2),
    # Measured once everything was settled.
    Case("qwen3vl-short", "nf4", 1536, images=2, fitted=False),
    Case("qwen3vl-short", "nf4", 768, batch=3, fitted=False),
    Case("qwen3vl-short", "int8", 1280, fitted=False),
    Case("qwen3vl-deep", "none", 1024, images=2, fitted=False),
    Case("llava-thin", "nf4", 1536, images=2, fitted=False),
    Case("llava-thin", "int8", 1280, fitted=False),
    Case("llava-thin", "none", 768, batch=2, fitted=False),
    Case("demo", "none", 1088, fitted=False),
    Case("demo", "nf4", 1088, fitted=False),
)


def probe(folder: str, case: Case) -> dict[str, float]:
    """Bytes before loading and at the peak, and CPU seconds of reading, in this process."""
    import bitsandbytes  # noqa: F401  part of what is there before, wherever it is loaded from
    from PIL import Image
    from transformers import AutoModelForImageTextToText  # noqa: F401

    from rag_vqa.readers.local.reader import LocalReader
    from rag_vqa.types import ImagePart, Prompt, TextPart

    before = sum(status().values())
    with watch_memory() as loading:
        reader = LocalReader(
            folder, quantization=case.quantization, dtype=case.dtype, device="cpu",
            max_new_tokens=8, max_pixels=case.pixels, max_images=case.images,
            max_context=case.context, batch_size=case.batch,
        )  # fmt: skip
    side = int(case.pixels**0.5)
    pictures = [ImagePart(Image.new("RGB", (side, side))) for _ in range(case.images)]

    def prompt(length: int) -> Prompt:
        return Prompt((*pictures, TextPart("a " * length)))

    fitting = bisect_right(
        range(1, case.context), reader.limits.context, key=lambda n: reader.count(prompt(n))
    )
    started = time.process_time()
    with watch_memory() as reading:
        done = reader.generate([prompt(fitting)] * case.batch)
    seconds = time.process_time() - started
    # Files that are mapped while loading can be let go; those while reading are in use.
    peak = max(loading["RssAnon"], reading["RssAnon"]) + reading["RssFile"]
    return {"before": before, "peak": peak, "tokens": done[0].tokens_in, "seconds": seconds}


def status() -> dict[str, float]:
    """Bytes of this process from /proc: anonymous, and mapped from files."""
    text = Path("/proc/self/status").read_text()
    found = re.findall(r"^(RssAnon|RssFile):\s+(\d+) kB", text, re.M)
    return {name: 1024.0 * int(kilobytes) for name, kilobytes in found}


@contextmanager
def watch_memory() -> Iterator[dict[str, float]]:
    """Yields the peaks of this process's memory while the block runs, read every millisecond."""
    seen = {"RssAnon": 0.0, "RssFile": 0.0}
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            for name, count in status().items():
                seen[name] = max(seen[name], count)
            time.sleep(0.001)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()


def predict_memory(folder: Path, case: Case) -> float:
    """Bytes of the whole process, as `doctor --fit` predicts them."""
    from transformers import AutoConfig

    from rag_vqa import memory
    from rag_vqa.memory import model_shape

    shape = model_shape(AutoConfig.from_pretrained(folder))
    load = memory.Workload(
        case.quantization, case.context, case.images, case.pixels, memory.BYTES[case.dtype],
        case.batch, on_cpu=True,
    )  # fmt: skip
    return memory.RUNTIME_CPU + sum(memory.reader_memory(shape, load).values())


def measure(root: Path, case: Case) -> dict[str, Any]:
    """One row. The error counts what the reader adds to a process that has imported everything."""
    folder = root / case.model if case.model != "demo" else embedded_model("reader")
    if not folder.is_dir():
        folder.mkdir()
        build(case.model, folder)
    command = [sys.executable, __file__, "--probe", str(folder), json.dumps(asdict(case))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{case}: {done.stderr[-2000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    computed = predict_memory(folder, case)
    added = found["peak"] - found["before"]
    row = {**asdict(case), **found, "predicted": computed}
    row["error"] = (computed - found["peak"]) / added
    row["error_of_process"] = computed / found["peak"] - 1
    print(
        f"{case.model:<14} {case.quantization:<5} {case.dtype} {case.context} tokens x {case.batch}"
        f"  measured {found['peak'] / 1e9:.3f} GB  predicted {computed / 1e9:.3f} GB"
        f"  {row['error']:+.1%} ({row['error_of_process']:+.1%} of the process)"
        f"{'' if case.fitted else '  not fitted'}",
        flush=True,
    )
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--json", type=Path, help="Write the rows to this file.")
    parser.add_argument("--only", nargs="+", help="Measure only these models.")
    parser.add_argument("--probe", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.probe:
        print(json.dumps(probe(given.probe[0], Case(**json.loads(given.probe[1])))))
        return
    rows: list[dict[str, Any]] = []
    when = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    machine = {"date": when, "machine": platform.machine(), "system": platform.system()}
    with TemporaryDirectory() as root:
        for case in sorted(CASES, key=lambda case: case.fitted):
            if not given.only or case.model in given.only:
                rows.append(measure(Path(root), case))
                if given.json:
                    given.json.write_text(json.dumps({**machine, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
