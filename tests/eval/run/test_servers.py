"""Runs whose reader is behind a server that misbehaves: one row a question, none lost or empty."""

import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from openai_server import OpenAiServer, question

from rag_vqa.eval.results.result_files import ANSWERS, FAILURES, write_results
from rag_vqa.eval.run.runner import EvaluationRun, Runner, open_run
from rag_vqa.eval.run.spec import SERVED_BATCH_SIZE, Cell
from rag_vqa.eval.scorers import make_scorer
from rag_vqa.readers.remote.reader import RemoteReader

Make = Callable[..., EvaluationRun]
CELL = Cell("retrieved", 1, "short")
SHARES = (("429", 0.10), ("500", 0.05), ("cut", 0.02), ("hang", 0.01), ("empty", 0.01))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits before another try that take no second."""
    monkeypatch.setattr("rag_vqa.readers.remote.retrying_client.FIRST_WAIT", 0.01)


def reader(*servers: OpenAiServer) -> RemoteReader:
    return RemoteReader("served", [server.address for server in servers], timeout=2.0, retries=8)


def go(run: EvaluationRun, folder: Path) -> dict[str, Any]:
    with open_run(run, folder) as ledger:
        Runner(run, ledger).run()
        return write_results(ledger, make_scorer("text"))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_server_that_misbehaves_leaves_exactly_one_row_a_question(
    ask: Make, tmp_path: Path
) -> None:
    happened: Counter[str] = Counter()

    def plan(body: dict[str, Any], tries: int) -> str:
        chance = random.Random(f"{question(body)} {tries}").random()
        for step, share in SHARES:
            chance -= share
            if chance < 0:
                happened[step] += 1
                return step
        return "ok"

    with OpenAiServer(plan) as server:
        run = ask(200, cells=[CELL], reader=reader(server), batch=SERVED_BATCH_SIZE)
        results = go(run, tmp_path / "run")
    assert set(happened) == {name for name, _ in SHARES}  # each of them did happen
    assert (results["cells"][0]["answers"], results["cells"][0]["failed"]) == (200, 0)
    rows = lines(tmp_path / "run" / ANSWERS)
    assert [row["id"] for row in rows] == [f"q{i}" for i in range(200)]
    for number, row in enumerate(rows):
        assert f"question {number}?" in row["prediction"]  # its own answer, whole
        assert row["prediction"].startswith("answer to ") and row["finish"] == "stop"
    assert results["cells"][0]["served"] == {"served": 200}


def test_rows_that_always_fail_stand_apart_until_the_server_is_well(
    ask: Make, tmp_path: Path
) -> None:
    ill = True

    def plan(body: dict[str, Any], tries: int) -> str:
        numbers = ("question 3?", "question 11?", "question 64?")
        return "400" if ill and any(n in question(body) for n in numbers) else "ok"

    with OpenAiServer(plan) as server:
        first = go(ask(cells=[CELL], reader=reader(server)), tmp_path / "run")
        assert (first["cells"][0]["answers"], first["cells"][0]["failed"]) == (67, 3)
        failed = lines(tmp_path / "run" / FAILURES)
        assert [row["id"] for row in failed] == ["q3", "q11", "q64"]
        assert all("this is 400" in row["error"] for row in failed)
        asked = len(server.requests)
        ill = False
        second = go(ask(cells=[CELL], reader=reader(server)), tmp_path / "run")
        assert len(server.requests) == asked + 3  # no other row is asked again
        straight = go(ask(cells=[CELL], reader=reader(server)), tmp_path / "straight")
    assert second == straight
    assert lines(tmp_path / "run" / FAILURES) == []
    assert (tmp_path / "run" / ANSWERS).read_bytes() == (
        tmp_path / "straight" / ANSWERS
    ).read_bytes()


def test_several_servers_share_a_batch(ask: Make, tmp_path: Path) -> None:
    with OpenAiServer() as one, OpenAiServer() as two:
        run = ask(128, cells=[CELL], reader=reader(one, two), batch=SERVED_BATCH_SIZE)
        go(run, tmp_path / "run")
        asked = [len(server.requests) for server in (one, two)]
    assert sum(asked) == 128 and min(asked) >= 32
