"""python kills.py FOLDER ROUNDS SEED: kills a writer at random moments of each of its
operations and looks at what is left.

Each round forks a child of this process, which has imported everything already. The child tells
through a pipe what it begins and what is safe; the parent kills it, then compares.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import motions
from motions import Plan, Versions

from rag_vqa.retriever.knowledge_base import KnowledgeBase


def child(path: Path, seed: int, pipe: int) -> None:
    def tell(line: str) -> None:
        os.write(pipe, f"{line}\n".encode())

    kb = motions.open_or_create(path)
    for kind, documents in Plan(seed).steps():
        tell(f"begin {kind}")
        motions.do(kb, kind, documents, lambda done: tell(f"safe {done}"))
        tell("done")


def one_round(
    path: Path, seed: int, state: Versions, target: str, patience: float
) -> tuple[Versions, str]:
    """The state that is found, and what the child was at: killed so long after it began `target`,
    or after its start."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        child(path, seed, writing)
        os._exit(1)
    os.close(writing)
    told: list[str] = []
    with os.fdopen(reading) as lines:
        while target != "create" and (not told or told[-1] != f"begin {target}"):
            line = lines.readline()
            assert line, f"the writer ended by itself: {told[-3:]}"
            told.append(line.rstrip())
        time.sleep(patience)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        told += lines.read().splitlines()
    kind, allowed = "create", [state]
    steps = Plan(seed).steps()
    for line in told:
        word, _, rest = line.partition(" ")
        if word == "begin":
            kind, documents = next(steps)
            assert kind == rest
            allowed = motions.after(state, kind, documents, 0)
        elif word == "safe":
            allowed = motions.after(state, kind, documents, int(rest))
        else:  # the last of the states allowed is the whole operation
            state = motions.after(state, kind, documents, len(documents))[-1]
            allowed, kind = [state], "between"
    found = look(path)
    assert found in allowed, f"{kind}: {len(found)} documents, told {told[-3:]}"
    return found, kind


TARGETS = ("add", "delete", "compact")
slowest = 0.0


def look(path: Path) -> Versions:
    """Reopen as a reader and check all; then as a writer, who tidies up."""
    global slowest
    if not (path / "kb.sqlite").exists():
        return {}
    began = time.monotonic()
    with KnowledgeBase.open(path, motions.Encoder()) as kb:
        count = len(kb)
        slowest = max(slowest, time.monotonic() - began)
        found = motions.held(kb)
        assert count == len(found)
        with kb.store.hold_writer_lock():
            assert motions.unnamed(kb) == []
        assert motions.held(kb) == found
    return found


def main(folder: Path, rounds: int, seed: int) -> None:
    chance = random.Random(seed)
    state: Versions = {}
    killed: dict[str, int] = {}
    path = folder / "0.kb"
    for number in range(rounds):
        if number % 10 == 0:  # a new one: killed while it is made, too
            path, state = folder / f"{number}.kb", {}
        target = TARGETS[number % 3] if number % 10 else "create"
        patience = 10 ** chance.uniform(-4, -1.3)  # 0.1 to 50 ms: some take one, some take many
        state, kind = one_round(path, seed * 1_000_003 + number, state, target, patience)
        killed[kind] = killed.get(kind, 0) + 1
    print(json.dumps({"rounds": rounds, "killed": killed, "slowest": slowest}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
