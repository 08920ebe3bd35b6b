"""Measures questions a second of a server's engine, one after another and 16 at once.

The engine runs the demo's models at default settings. All questions differ, their pictures are
bytes of files, and a client asks its next question as soon as it has an answer. Both ways are
measured in turn. Knows the engine, its clients and a clock. Does not measure HTTP. No test depends
on its figures.

    python benchmarks/serve.py --note "what else was running"
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import os
import platform
import random
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import transformers
from clock import Seconds

from rag_vqa import images
from rag_vqa.demo.gallery import build_knowledge_base, embedded_models_dir, example_questions
from rag_vqa.pipeline import RagVqa
from rag_vqa.retriever.modeling.encoder import Encoder
from rag_vqa.server.engine.engine import Engine
from rag_vqa.server.engine.request_queue import Question
from rag_vqa.types import Query

RESULTS = Path(__file__).parent / "results" / "serve.json"
MAX_CLIENTS = 16
DEPTH = 3  # of the preset "demo"


def questions(count: int) -> list[Question]:
    """Questions of the development half, each with another photo, in random order."""
    drawn = example_questions("dev")
    random.Random(0).shuffle(drawn)
    return [
        Question(Query(example.query.text, images.encode(example.query.image)))  # type: ignore[arg-type]
        for example in drawn[:count]
    ]


async def ask_all(engine: Engine, asked: list[Question], clients: int) -> dict[str, Any]:
    """Asks all questions with this many clients. Returns seconds in total and of each question."""
    left, each = iter(asked), []

    async def client() -> None:
        for question in left:
            start = time.perf_counter()
            await engine.ask(question).answer()
            each.append(time.perf_counter() - start)

    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(client() for _ in range(clients)))
    taken: Seconds = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    each.sort()
    return {
        "seconds": taken,
        "questions a second": len(asked) / taken["wall"],
        "cpu seconds a question": taken["cpu"] / len(asked),
        "latency, median and worst": [each[len(each) // 2], each[-1]],
        "load": os.getloadavg()[0],
    }


def ask_without_engine(rag: RagVqa, asked: list[Question]) -> float:
    """Questions a second of `RagVqa.ask`, one after another, without an engine."""
    start = time.perf_counter()
    for question in asked:
        rag.ask(question.query.text, question.query.image)
    return len(asked) / (time.perf_counter() - start)


async def measure_engine(rag: RagVqa, count: int, repeats: int) -> dict[str, Any]:
    engine, asked = Engine(rag), questions(count)
    await engine.start()
    await ask_all(engine, asked[: 2 * MAX_CLIENTS], MAX_CLIENTS)
    runs = []
    for _ in range(repeats):
        plain = ask_without_engine(rag, asked)
        alone = await ask_all(engine, asked, 1)
        together = await ask_all(engine, asked, MAX_CLIENTS)
        ratio = together["questions a second"] / alone["questions a second"]
        runs.append(
            {
                "one after another": alone,
                f"{MAX_CLIENTS} at once": together,
                "times": ratio,
                "RagVqa.ask, questions a second": plain,
            }
        )
        print(json.dumps(runs[-1]), flush=True)
    engine.stop()
    times = sorted(run["times"] for run in runs)
    batches = dict(
        zip([*engine.metrics.batches.bounds, "more"], engine.metrics.batches.counts, strict=True)
    )
    return {"times faster, median": times[len(times) // 2], "batches": batches, "runs": runs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=96)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--note", default="", help="Keep this note with the figures: what else was running."
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    with (
        TemporaryDirectory() as scratch,
        build_knowledge_base(
            Path(scratch) / "kb", Encoder.load(embedded_models_dir() / "retriever")
        ) as kb,
    ):
        rag = RagVqa(kb, reader="demo", k=DEPTH)
        result = asyncio.run(measure_engine(rag, given.questions, given.repeats))
    held = {
        "date": datetime.date.today().isoformat(),
        "command": " ".join(["python", *sys.argv]),
        "note": given.note,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        **result,
    }
    given.out.write_text(json.dumps(held, indent=1) + "\n")
    print(f"{result['times faster, median']:.2f} times")


if __name__ == "__main__":
    main()
