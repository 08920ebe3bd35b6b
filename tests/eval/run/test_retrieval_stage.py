"""Hits out of one run and into another: the same hits, the same answers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from birds_asked import questions

from rag_vqa.errors import BadInput, UsageError
from rag_vqa.eval.results.result_files import ANSWERS, write_results
from rag_vqa.eval.run.ledger import Ledger
from rag_vqa.eval.run.retrieval_stage import StoredHits, export_trec
from rag_vqa.eval.run.runner import EvaluationRun, Runner, open_run
from rag_vqa.eval.scorers import make_scorer

Make = Callable[..., EvaluationRun]


def go(run: EvaluationRun, folder: Path) -> dict[str, Any]:
    with open_run(run, folder) as ledger:
        Runner(run, ledger).run()
        return write_results(ledger, make_scorer("text"))


def hits(folder: Path) -> list[tuple[int, list[str], list[float]]]:
    with Ledger(folder) as ledger:
        rows = ledger.rows("SELECT position, body FROM hits ORDER BY position")
        stored = [(position, StoredHits.from_bytes(body)) for position, body in rows]
        return [(position, found.ids, found.scores) for position, found in stored]


def test_out_and_in_again(ask: Make, tmp_path: Path) -> None:
    first = go(ask(), tmp_path / "a")
    with Ledger(tmp_path / "a") as ledger:
        lines = list(export_trec(ledger))
    assert lines[0].split()[:4] == ["q0", "Q0", "puffin", "1"] and len(lines) == 70 * 3
    (tmp_path / "run.trec").write_text("\n".join(lines) + "\n\n")
    second = go(ask(hits=tmp_path / "run.trec"), tmp_path / "b")
    assert hits(tmp_path / "b") == hits(tmp_path / "a")
    assert (tmp_path / "b" / ANSWERS).read_bytes() == (tmp_path / "a" / ANSWERS).read_bytes()
    assert second["cells"] == first["cells"] and second["recall"] == first["recall"]
    go(ask(hits=tmp_path / "run.trec"), tmp_path / "b")  # goes on


def test_the_score_counts_not_the_rank_nor_the_place(ask: Make, tmp_path: Path) -> None:
    lines = ["q0 Q0 stork 1 0.5 x", "q0 Q0 swift 2 1e3 x", "q0 Q0 puffin 3 0.5 x"]
    (tmp_path / "run.trec").write_text("\n".join(lines))
    go(ask(1, hits=tmp_path / "run.trec"), tmp_path / "run")
    assert hits(tmp_path / "run")[0][1] == ["swift", "stork", "puffin"]


def test_no_deeper_than_asked(ask: Make, tmp_path: Path) -> None:
    lines = [f"q0 Q0 {bird} 1 {n} x" for n, bird in enumerate(("stork", "swift", "puffin"))]
    (tmp_path / "run.trec").write_text("\n".join(lines))
    go(ask(1, hits=tmp_path / "run.trec", depth=3), tmp_path / "a")
    assert len(hits(tmp_path / "a")[0][1]) == 3
    go(ask(1, cells=(), hits=tmp_path / "run.trec", depth=2), tmp_path / "b")
    assert hits(tmp_path / "b")[0][1] == ["puffin", "swift"]


BAD = [
    (b"q0 Q0 puffin 1 x\n", "line 1"),
    (b"q0 Q0 puffin 1 high x\n", "line 1"),
    (b"q0 Q0 puffin 1 nan x\n", "line 1"),
    (b"q0 Q0 puffin 1 1.0 x\nq0 Q0 a bird 1 1.0 x\n", "line 2"),
    (b"\x89PNG\r\n\x1a\n\xff\xfe\n", "line 1"),
    (b"", "names none of the questions"),
    (b"q1 Q0 puffin 1 1.0 x\n", "names none of the questions"),
    (b"q0 Q0 dodo 1 1.0 x\n", "holds no document 'dodo'"),
    (b"q0 Q0 puffin 1 1.0 x\nq0 Q0 puffin 2 0.5 x\n", "a document twice for the question 'q0'"),
]


@pytest.mark.parametrize(("content", "says"), BAD)
def test_a_bad_file_is_refused_and_leaves_nothing(
    ask: Make, tmp_path: Path, content: bytes, says: str
) -> None:
    path = tmp_path / "run.trec"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=says):
        go(ask(1, hits=path), tmp_path / "run")
    with Ledger(tmp_path / "run") as ledger:
        assert list(ledger.rows("SELECT * FROM hits")) == []


def test_other_hits_are_another_run(ask: Make, tmp_path: Path) -> None:
    path = tmp_path / "run.trec"
    path.write_text("q0 Q0 puffin 1 1.0 x\n")
    go(ask(rows=questions(1), hits=path), tmp_path / "run")
    path.write_text("q0 Q0 stork 1 1.0 x\n")
    with pytest.raises(UsageError, match=r"retrieval\.hits"):
        go(ask(rows=questions(1), hits=path), tmp_path / "run")
