"""Measures how fast a source is surveyed: the pass that counts before a build, on one core.

Writes documents with an id, a title, a text of about 40 words, and three values of metadata, as
JSONL, gzipped JSONL, CSV or Parquet; with --pictures each names one of 1,000 pictures, of which one
in a hundred is missing. Then it calls rag_vqa.formats.source_statistics.collect_statistics, as
`kb build` and `kb build --dry-run` do, and prints rows a second of CPU time, which
other work on the machine changes little. The file is in the page cache.

    python benchmarks/survey.py --rows 1000000 --json benchmarks/results/survey.json
    python benchmarks/survey.py --rows 100000 --pictures --profile
"""

import argparse
import csv
import datetime
import gzip
import json
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rag_vqa.formats.source import open_source
from rag_vqa.formats.source_statistics import collect_statistics

SENTENCE = (
    "the museum of this city has a blue vase with two handles that was made in the year by potters "
    "who came from the north and sold their work to merchants at market when it was cold outside"
)
PICTURES = 1_000


def documents(rows: int, pictures: bool) -> Iterator[dict[str, Any]]:
    draw, words = random.Random(0), SENTENCE.split()
    for number in range(rows):
        document: dict[str, Any] = {
            "id": f"object-{number:07}",
            "title": f"Vase {number}",
            "text": " ".join(draw.choices(words, k=40)).capitalize() + ".",
            "maker": draw.choice(("Bow", "Meissen", "Sèvres")),
            "year": draw.randrange(1650, 1900),
            "height": draw.randrange(40, 900) / 10,
        }
        if pictures:
            document["image"] = f"pictures/{draw.randrange(PICTURES)}.jpg"
        yield document


def write_source(folder: Path, kind: str, rows: int, pictures: bool) -> Path:
    if pictures:
        (folder / "pictures").mkdir()
        for number in range(PICTURES):
            if number % 100:
                (folder / f"pictures/{number}.jpg").write_bytes(b"\xff\xd8\xff")
    path = folder / f"objects.{kind}"
    if kind in ("jsonl", "jsonl.gz"):
        with gzip.open(path, "wt", 1) if kind.endswith(".gz") else path.open("w") as file:
            file.writelines(json.dumps(one) + "\n" for one in documents(rows, pictures))
    elif kind == "csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, [*next(documents(1, pictures))])
            writer.writeheader()
            writer.writerows(documents(rows, pictures))
    else:
        import pyarrow as pa
        from pyarrow import parquet

        parquet.write_table(pa.Table.from_pylist([*documents(rows, pictures)]), path)
    return path


def survey(path: Path, rows: int) -> tuple[float, float]:
    """Seconds of a clock on the wall, and of the CPU."""
    wall, cpu = time.perf_counter(), time.process_time()
    found = collect_statistics(open_source(path))
    seconds = time.perf_counter() - wall, time.process_time() - cpu
    assert found.documents == rows, found
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--kinds", default="jsonl")
    parser.add_argument("--pictures", action="store_true")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results: dict[str, Any] = {"date": str(datetime.date.today()), "rows": options.rows}
    for kind in options.kinds.split(","):
        with tempfile.TemporaryDirectory() as folder:
            path = write_source(Path(folder), kind, options.rows, options.pictures)
            seconds = [survey(path, options.rows) for _ in range(options.repeats)]
            if options.profile:
                import cProfile

                cProfile.runctx(
                    "collect_statistics(open_source(path))", globals(), locals(), sort="tottime"
                )
        speed = options.rows / statistics.median(cpu for _, cpu in seconds)
        print(f"{kind}: {speed:,.0f} rows a second (median of {len(seconds)})", flush=True)
        results[kind] = {"rows_per_second": speed, "wall_and_cpu_seconds": seconds}
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
