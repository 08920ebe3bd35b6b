"""Measures what an evaluation costs beside retrieval and reader: ledger, prompts, scores, files.

Knows clocks and memory. Does not know models: in their place are a retriever that does not search
and a reader that sleeps. The time that these two take is subtracted.

    python benchmarks/evaluate.py overhead
    python benchmarks/evaluate.py memory --questions 1000 4000 16000
    python benchmarks/evaluate.py finish --questions 73620

Each command writes its part of benchmarks/results/evaluate.json. Other work on the machine
lengthens wall time, so the file also holds CPU time, and wall time without the waits for a core.
"""

import argparse
import datetime
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rag_vqa.eval.results.result_files import write_results
from rag_vqa.eval.run.runner import EvaluationRun, Runner, open_run
from rag_vqa.eval.run.spec import Cell
from rag_vqa.eval.scorers import make_scorer
from rag_vqa.pipeline import RagVqa
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.types import Completion, Document, Example, Hit, Passage, PromptLimits, Query

DOCUMENTS, K = 1000, 5
SLEEP = 0.05  # seconds a question
CLOCKS = ("", "_cpu", "_unqueued")  # suffixes: wall, CPU, wall minus waits for a core
TEXT = " ".join(["The tower was built by masons of the valley and is open in summer."] * 12)
RESULTS = Path(__file__).parent / "results" / "evaluate.json"


class Clock:
    """Seconds since its creation: wall, CPU, and wall minus the waits for a core."""

    def __init__(self) -> None:
        self._began = self._now()

    @staticmethod
    def _now() -> np.ndarray:
        queued = int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9  # Linux
        wall = time.perf_counter()
        return np.array([wall, time.process_time(), wall - queued])

    def __call__(self) -> np.ndarray:
        return self._now() - self._began


class Encoder:
    """Makes tokens from a seed, without a model, in almost no time."""

    source, revision, fingerprint, instruction = "fake", None, "f" * 64, ""
    options: Mapping[str, str | bool] = {}
    K, D, window = 32, 128, 77

    def count_tokens(self, text: str) -> int:
        return 1  # one passage a document

    def encode_passages(self, passages: Sequence[Any], on_progress: Any = None) -> np.ndarray:
        return self._tokens(len(passages), 1)

    def encode_queries(self, queries: Sequence[Query]) -> np.ndarray:
        return self._tokens(len(queries), 2)

    def _tokens(self, count: int, seed: int) -> np.ndarray:
        random = np.random.default_rng(seed)
        tokens = random.standard_normal((count, self.K, self.D), np.float32)
        return tokens / np.linalg.norm(tokens, axis=-1, keepdims=True)


@dataclass
class Reader:
    """Sleeps for each question, and makes up an answer."""

    sleep: float = 0.0
    name: str = "sleeper"
    settings: Mapping[str, Any] = field(default_factory=dict)
    limits: PromptLimits = field(default_factory=lambda: PromptLimits(images=4, context=16_384))
    seconds: np.ndarray = field(default_factory=lambda: np.zeros(3))

    def count(self, prompt: Any) -> int:
        return len(prompt.text) // 4

    def render(self, prompt: Any) -> str:
        return prompt.text

    def generate(self, prompts: Sequence[Any], on_text: Any = None, *_: Any) -> list[Completion]:
        clock = Clock()
        if self.sleep:
            time.sleep(self.sleep * len(prompts))
        said = [Completion(f"answer {len(prompt.text) % 7} [1]", 900, 4) for prompt in prompts]
        self.seconds += clock()
        return said


@dataclass
class MadeQuestions:
    count: int
    name: str = "made"
    split: str = "test"
    scorer: str = "text"
    missing_policy: str = "fail"
    skipped_count: int = 0
    files: Mapping[str, str] = field(default_factory=dict)

    def examples(self) -> Iterator[Example]:
        for i in range(self.count):
            query = Query(f"Who built the tower number {i}?")
            yield Example(f"q{i:06}", query, answers=(f"answer {i % 7}",),
                          relevant=(f"d{i % DOCUMENTS}",), kind="ab"[i % 2])  # fmt: skip


def knowledge_base(folder: Path) -> Path:
    with KnowledgeBase.create(folder / "made.kb", Encoder()) as kb:
        kb.add({"id": f"d{i}", "title": f"Tower {i}", "text": TEXT} for i in range(DOCUMENTS))
    return folder / "made.kb"


class InstantRetrieval(RagVqa):
    """Returns the documents that follow the question's number, without a search."""

    found: Sequence[Document] = ()
    seconds = np.zeros(3)

    def retrieve(self, queries: Sequence[Query], k: int | None = None, where: Any = None) -> Any:
        clock = Clock()
        self.found = self.found or list(self.kb.documents())
        hits = [self._hits(int(query.text.split()[-1].rstrip("?")), k or K) for query in queries]
        self.seconds = self.seconds + clock()
        return hits

    def _hits(self, first: int, k: int) -> list[Hit]:
        ranked = [self.found[(first + place) % DOCUMENTS] for place in range(k)]
        return [
            Hit(document, Passage(document.id, 0, TEXT), rank, 1 / rank, {"retrieve": 1 / rank})
            for rank, document in enumerate(ranked, 1)
        ]


def evaluate(
    kb: Path, folder: Path, count: int, reader: Reader, cells: Sequence[Cell]
) -> dict[str, float]:
    """Runs and finishes an evaluation. Returns the seconds of each part by each clock."""
    clock = Clock()
    with KnowledgeBase.open(kb, Encoder()) as opened_kb:
        rag = InstantRetrieval(opened_kb, reader=reader)
        run = EvaluationRun(questions=MadeQuestions(count), rag=rag, cells=cells)
        with open_run(run, folder) as ledger:
            begun = clock()
            Runner(run, ledger).run()
            answered = clock()
            write_results(ledger, make_scorer("text"))
    ended = clock()
    own = ended - rag.seconds - reader.seconds
    parts = {"begin": begun, "go": answered - begun, "finish": ended - answered,
             "retrieve": rag.seconds, "read": reader.seconds, "own": own, "all": ended}  # fmt: skip
    return {
        f"{name}{clock_}": round(float(value), 4)
        for name, values in parts.items()
        for clock_, value in zip(CLOCKS, values, strict=True)
    }


RETRIEVED = (Cell("retrieved", K, "short"),)


def overhead(questions: int, repeats: int) -> dict[str, Any]:
    """The time outside retriever and reader, as a share of the whole run."""
    found = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kb = knowledge_base(folder)
        evaluate(kb, folder / "warm", 64, Reader(), RETRIEVED)
        for repeat in range(repeats):
            run = folder / f"run{repeat}"
            took = evaluate(kb, run, questions, Reader(sleep=SLEEP), RETRIEVED)
            for clock in CLOCKS:  # as if the reader did nothing but sleep
                own = took[f"own{clock}"]
                took[f"share{clock}"] = round(own / (own + questions * SLEEP), 5)
            found.append(took)
    middle = {
        f"share{clock}": statistics.median(row[f"share{clock}"] for row in found)
        for clock in CLOCKS
    }
    return {"questions": questions, **middle, "repeats": found}


def measure_run(questions: int, cells: int) -> dict[str, Any]:
    """Times and peak memory of a run in this process, with a reader that takes no time."""
    several = [Cell("retrieved", K, "short", repeat) for repeat in range(cells)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        took = evaluate(knowledge_base(folder), folder / "run", questions, Reader(), several)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"questions": questions, "cells": cells, "peak_mib": peak, **took}


def run_in_process(questions: int, cells: int) -> dict[str, Any]:
    """Runs `measure_run` in a process of its own."""
    command = [sys.executable, __file__, "one", "--questions", str(questions)]
    done = subprocess.run([*command, "--cells", str(cells)], check=True, capture_output=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["overhead", "memory", "finish", "one"])
    parser.add_argument("--questions", type=int, nargs="+")
    parser.add_argument("--cells", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    if args.what == "one":
        return print(json.dumps(measure_run(args.questions[0], args.cells)))
    machine = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": platform.platform(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
    }
    if args.what == "overhead":
        measured: Any = overhead((args.questions or [500])[0], args.repeats)
    else:
        counts = args.questions or ([1000, 4000, 16_000] if args.what == "memory" else [73_620])
        measured = [run_in_process(count, args.cells) for count in counts]
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results[args.what] = {**machine, "measured": measured}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    return print(json.dumps(results[args.what], indent=1))


if __name__ == "__main__":
    main()
