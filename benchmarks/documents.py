"""Measures how fast documents are read, and how much memory that takes. Writes JSON.

It writes PDF files of several lengths by hand, with text in two columns, tables and photographs,
and reads each as a build does: in a child process, one section after the other. Knows a clock and
the memory of processes. Does not know models.

    python benchmarks/documents.py --out benchmarks/results/documents.json
"""

import argparse
import datetime
import json
import os
import platform
import random
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from pdf_files import Mark, Page, make_pdf

from rag_vqa.formats.source import open_source

SENTENCE = (
    "the pump must be drained before lid and valve are lifted because pressure remains in chamber "
    "and hose after shutdown so inspect bolt seal motor shaft bearing filter flange torque and oil"
)
WORDS = tuple(SENTENCE.split())


def prose(draw: random.Random, lines: int, width: int) -> list[str]:
    """Lines of invented words, about equally long."""
    text = " ".join(draw.choice(WORDS) for _ in range(lines * width // 4))
    found: list[str] = []
    for _ in range(lines):
        cut = text.rindex(" ", 0, width)
        found.append(text[:cut])
        text = text[cut + 1 :]
    return found


def photograph(draw: random.Random) -> Image.Image:
    """Noise that is smoothed, as hard to pack as a photograph."""
    small = Image.frombytes("RGB", (40, 30), draw.randbytes(40 * 30 * 3))
    return small.resize((800, 600), Image.Resampling.BICUBIC)


def make_page(number: int) -> Page:
    """A page of a manual: header, two columns, a photograph, a table, a footer."""
    draw = random.Random(number)
    page = Page().text(72, 815, "Operating manual P-100", 8).text(290, 20, f"{number}", 8)
    page.text(60, 780, f"{number} Chapter on {draw.choice(WORDS)}", 16)
    page.lines(60, 750, prose(draw, 28, 46), 10, 12).lines(320, 750, prose(draw, 28, 46), 10, 12)
    page.image(60, 210, 240, 180, photograph(draw)).text(60, 195, f"Figure {number}: A part.", 9)
    page.grid((320, 420, 540), tuple(range(390, 209, -20)))
    for row in range(9):
        page.text(324, 375 - 20 * row, draw.choice(WORDS), 9)
        page.text(424, 375 - 20 * row, str(draw.randint(1, 9999)), 9)
    return page.lines(60, 170, prose(draw, 10, 100), 10, 12)


def make_manual(pages: int) -> bytes:
    """A PDF of many pages, with bookmarks."""
    marks = [Mark(f"Chapter {number + 1}", number) for number in range(0, pages, 3)]
    return make_pdf([make_page(number) for number in range(1, pages + 1)], marks, compress=True)


class PeakMemory:
    """The most memory that this process and its children use together, sampled."""

    def __init__(self) -> None:
        self.own = self.children = 0
        self.child_seconds = 0.0  # of a processor
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        process = psutil.Process()
        while not self._stop.wait(0.02):
            self.own = max(self.own, process.memory_info().rss)
            for child in process.children():
                try:  # between fork and exec it is a copy of this process
                    if child.cmdline() != process.cmdline():
                        self.children = max(self.children, child.memory_info().rss)
                        used = child.cpu_times()
                        self.child_seconds = max(self.child_seconds, used.user + used.system)
                except psutil.Error:
                    continue


def measure(path: Path) -> dict[str, Any]:
    """Read a file once, to its end."""
    with PeakMemory() as memory:
        before, start = memory_now(), time.monotonic()
        sections = pictures = characters = 0
        for record in open_source(path).records():
            sections += 1
            pictures += len(record.images)
            characters += len(record.text)
        seconds = time.monotonic() - start
    return {
        "seconds": round(seconds, 2), "processor_seconds": round(memory.child_seconds, 2),
        "sections": sections, "pictures": pictures,
        "characters": characters, "child_megabytes": round(memory.children / 1e6),
        "parent_megabytes_more": round((memory.own - before) / 1e6),
    }  # fmt: skip


def memory_now() -> int:
    return int(psutil.Process().memory_info().rss)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--pages", type=int, nargs="+", default=[50, 200, 500])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for pages in options.pages:
            path = Path(folder) / f"{pages}.pdf"
            path.write_bytes(make_manual(pages))
            for _ in range(options.repeats):
                found = {"pages": pages, "megabytes": round(path.stat().st_size / 1e6, 1)}
                results.append(found | measure(path))
                print(json.dumps(results[-1]), flush=True)
            path.unlink()
    if options.out is not None:
        written = {
            "date": datetime.date.today().isoformat(), "machine": platform.machine(),
            "cores": os.cpu_count(), "load": os.getloadavg(), "results": results,
        }  # fmt: skip
        options.out.write_text(json.dumps(written, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
