"""python kills.py FOLDER QUESTIONS KILLS SEED: kills a run at random moments, ends it, and compares
its files with those of a run that nobody killed.

Each child is forked from this process, which has imported everything already. It tells through a
pipe what it is at; most are killed while they answer, some while they begin or score.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from birds_asked import CELLS, Asked, Echo, questions
from conftest import FakeEncoder

from rag_vqa.eval.results.result_files import ANSWERS, FAILURES, RESULTS, write_results
from rag_vqa.eval.run.runner import EvaluationRun, Runner, open_run
from rag_vqa.eval.scorers import make_scorer
from rag_vqa.pipeline import RagVqa
from rag_vqa.retriever.knowledge_base import KnowledgeBase

TEXTS = {"puffin": "puffins nest in burrows on sea cliffs", "swift": "swifts sleep while they fly",
         "stork": "storks nest on roofs and chimneys"}  # fmt: skip
TARGETS = ("begin", *["answer"] * 6, "score")  # eighths of the kills


def run(kb: Path, count: int, folder: Path, tell=lambda stage: None) -> None:
    tell("begin")
    with KnowledgeBase.open(kb, FakeEncoder()) as opened_kb:
        asked = EvaluationRun(
            questions=Asked(questions(count)),
            rag=RagVqa(opened_kb, reader=Echo()),
            cells=CELLS,
        )
        with open_run(asked, folder) as ledger:
            tell("answer")
            Runner(asked, ledger).run()
            tell("score")
            write_results(ledger, make_scorer("text"))
    tell("end")


def timed(kb: Path, count: int, folder: Path) -> float:
    started = time.monotonic()
    run(kb, count, folder)
    return time.monotonic() - started


def killed(kb: Path, count: int, folder: Path, target: str, patience: float) -> str:
    """At what it was, when it was killed so long after it began `target` (if it got so far)."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        run(kb, count, folder, lambda stage: os.write(writing, f"{stage}\n".encode()))
        os._exit(0)
    os.close(writing)
    told: list[str] = []
    with os.fdopen(reading) as lines:
        while target not in told and (line := lines.readline().strip()):
            told.append(line)
        time.sleep(patience)
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        told += lines.read().split()
    assert os.WIFSIGNALED(status) or told[-1] == "end", "it failed by itself"
    return told[-1]


def main(folder: Path, count: int, kills: int, seed: int) -> None:
    kb, whole, torn = folder / "birds.kb", folder / "whole", folder / "torn"
    with KnowledgeBase.create(kb, FakeEncoder()) as made:
        made.add({"id": name, "title": name, "text": text} for name, text in TEXTS.items())
    run(kb, count, whole)
    seconds = timed(kb, count, folder / "again")  # the first one imported much
    chance = random.Random(seed)
    at: dict[str, int] = {}
    for number in range(kills):
        target = TARGETS[number * len(TARGETS) // kills]
        # So short that the run is not at its end before its last kills.
        patience = chance.uniform(0, seconds / kills)
        stage = killed(kb, count, torn, target, patience)
        at[stage] = at.get(stage, 0) + 1
    run(kb, count, torn)
    for name in (RESULTS, ANSWERS, FAILURES):
        assert (torn / name).read_bytes() == (whole / name).read_bytes(), name
    rows = (torn / ANSWERS).read_text(encoding="utf-8").splitlines()
    assert len({(json.loads(row)["id"], json.loads(row)["cell"]) for row in rows}) == len(rows)
    assert len(rows) == count * len(CELLS)
    print(json.dumps({"kills": kills, "at": at, "seconds": round(seconds, 2)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:5]))
