"""Draws loss and recall@1 by step from the log of a training run.

python benchmarks/curve.py run/log.jsonl --out curve.svg
"""

import argparse
import json
from pathlib import Path
from typing import Any

RECALL = "recall@1"


def main() -> None:
    """Reads the log and draws it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="Write an SVG or PNG file.")
    given = parser.parse_args()
    rows = [json.loads(line) for line in given.log.read_text("utf-8").splitlines()]
    draw(rows, given.out)


def draw(rows: list[dict[str, Any]], out: Path) -> None:
    """Draws loss above and recall below: batches as a line, held-out pairs as points."""
    from matplotlib.figure import Figure

    trained = [row for row in rows if row["kind"] == "train"]
    held_out = [row for row in rows if row["kind"] == "validation"]
    figure = Figure(figsize=(7, 4.4), layout="constrained")
    loss, recall = figure.subplots(2, 1, sharex=True)
    loss.plot([row["step"] for row in trained], [row["loss"] for row in trained], color="#5b6b8c")
    loss.set_ylabel("loss")
    loss.set_yscale("log", base=2)
    loss.yaxis.set_major_formatter("{x:g}")
    recall.plot(
        [row["step"] for row in trained], [row[RECALL] for row in trained], color="#5b6b8c",
        label="in the batch",
    )  # fmt: skip
    recall.plot(
        [row["step"] for row in held_out], [row[RECALL] for row in held_out], "o", color="#b4592b",
        label="held-out pairs",
    )  # fmt: skip
    recall.set_ylabel(RECALL)
    recall.set_xlabel("step")
    recall.set_ylim(0, 1)
    recall.legend(loc="lower right", frameon=False)
    for axes in (loss, recall):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    figure.savefig(out, metadata={"Date": None} if out.suffix == ".svg" else None)


if __name__ == "__main__":
    main()
