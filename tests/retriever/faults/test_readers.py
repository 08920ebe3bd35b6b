"""Readers beside a writer that adds and compacts: each answer is of one committed state."""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.types import Query

HERE = Path(__file__).parent


def answered(kb: KnowledgeBase, motions) -> int:
    """One query; the version that all of the answer is of."""
    (hits,) = kb.search([Query("sea")], 10)
    (version,) = {hit.document.metadata["version"] for hit in hits}
    assert {hit.document.id for hit in hits} == {f"d{n}" for n in range(10)}
    for hit in hits:
        query, row = (motions.tokens(t).astype(np.float32) for t in ("sea", hit.passage.text))
        assert hit.score == pytest.approx((query @ row.T).max(1).sum(), abs=1e-5)
        assert f"version {version}." in hit.document.text
    return int(version)


def read(path: Path, motions, seen: list[int], over: threading.Event) -> None:
    """Searches until it is over, and once more, by a reader that stays open."""
    with KnowledgeBase.open(path, motions.Encoder()) as kb:
        while not over.is_set():
            seen.append(answered(kb, motions))
            time.sleep(0.005)  # the writer may have to share a core with four readers
        seen.append(answered(kb, motions))


def readers(tmp_path: Path, root: Path, motions, compactions: int, queries: int) -> None:
    path = tmp_path / "x.kb"
    with motions.open_or_create(path) as kb:
        kb.add([motions.document(n, 1) for n in range(10)])
        answered(kb, motions)  # what must be imported is
    states, over = 2 * compactions, threading.Event()
    seen: list[list[int]] = [[], [], [], []]
    writer = subprocess.Popen(
        [sys.executable, str(HERE / "changes.py"), str(path), str(compactions)],
        env={**os.environ, "PYTHONPATH": str(root)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(read, path, motions, part, over) for part in seen]
        try:
            for state in range(states):
                assert writer.stdout.readline() == f"{state + 2}\n"
                while sum(map(len, seen)) < queries * (state + 1) // states:
                    time.sleep(0.001)
                    assert not any(job.done() for job in jobs)
                writer.stdin.write("\n")
                writer.stdin.flush()
        finally:
            over.set()
            writer.communicate()
        for job in jobs:
            job.result()
    for part in seen:
        assert part == sorted(part)  # never back to an older state
        assert part[-1] == 1 + states  # the last one, without reopening
        assert len(set(part)) > 2  # it moved while it was read
    assert sum(map(len, seen)) >= queries


def test_four_readers_during_ten_compactions(tmp_path, root, motions) -> None:
    readers(tmp_path, root, motions, compactions=10, queries=200)


@pytest.mark.nightly
def test_four_readers_during_a_hundred_compactions(tmp_path, root, motions) -> None:
    readers(tmp_path, root, motions, compactions=100, queries=10_000)


def test_a_compaction_between_snapshot_and_mapping(tmp_path, motions, monkeypatch) -> None:
    """The race that cannot be waited for: the files go after their list was read."""
    path = tmp_path / "x.kb"
    with motions.open_or_create(path) as kb, KnowledgeBase.open(path, motions.Encoder()) as reader:
        kb.add([motions.document(n, 1) for n in range(12)])
        gone = sum(len(kb.show(name).passages) for name in ("d10", "d11"))
        kb.delete(["d10", "d11"])
        real, compacted = reader.store.segments.read, []

        def slow(*place: int):
            if not compacted:
                compacted.append(kb.compact())
            return real(*place)

        monkeypatch.setattr(reader.store.segments, "read", slow)
        assert answered(reader, motions) == 1
        assert compacted[0].rows == gone > 2


def test_a_mapping_outlives_the_file(tmp_path, motions) -> None:
    path = tmp_path / "x.kb"
    with motions.open_or_create(path) as kb:
        kb.add([motions.document(n, 1) for n in range(4)])
        tokens, codes = kb.store.segments.read(1, 0, 3)
        before = tokens.copy(), codes.copy()
        kb.delete("d0")
        kb.compact()
        assert not (path / "segments" / "000001.tokens").exists()
        assert np.array_equal(tokens, before[0]) and np.array_equal(codes, before[1])
        with pytest.raises(ValueError, match="read-only"):
            tokens[0] = 0
