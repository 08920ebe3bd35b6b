"""What can go wrong around a run's batches: filters, folders, journals, kills before the first."""

import shutil
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from rag_vqa.errors import BadInput, Missing, ReaderError, UsageError
from rag_vqa.eval.results.result_files import ANSWERS, FAILURES, RESULTS, write_results
from rag_vqa.eval.run.ledger import LEDGER_FILE, Ledger
from rag_vqa.eval.run.runner import EvaluationRun, Runner, open_run
from rag_vqa.eval.run.shards import merge_shards
from rag_vqa.eval.run.spec import Cell, make_cells
from rag_vqa.eval.scorers import make_scorer
from rag_vqa.types import Hit, Query

Make = Callable[..., EvaluationRun]
FILTERED = [Cell("retrieved", 3, "short"), Cell("filtered", 3, "short")]


def go(run: EvaluationRun, folder: Path) -> dict[str, Any]:
    with open_run(run, folder) as ledger:
        Runner(run, ledger).run()
        return write_results(ledger, make_scorer("text"))


class Choosy:
    """Keeps the last of the documents; of one question it can judge nothing."""

    name = "choosy"
    well = False

    def __call__(self, queries: Sequence[Query], hits: Sequence[Sequence[Hit]]) -> list[list[Hit]]:
        if not self.well and any("question 5?" in query.text for query in queries):
            raise ReaderError("the critic's server said 500")
        return [list(found[-1:]) for found in hits]


def test_a_filter_that_fails_makes_failed_rows(ask: Make, tmp_path: Path) -> None:
    choosy = Choosy()
    results = go(ask(20, cells=FILTERED, filter=choosy), tmp_path / "run")
    retrieved, filtered = results["cells"]
    assert (retrieved["failed"], filtered["failed"], filtered["answers"]) == (0, 1, 19)
    assert "said 500" in (tmp_path / "run" / FAILURES).read_text()
    choosy.well = True
    again = go(ask(20, cells=FILTERED, filter=choosy), tmp_path / "run")
    assert again == go(ask(20, cells=FILTERED, filter=choosy), tmp_path / "straight")
    assert again["cells"][1]["causes"]["filtered"] > 0  # the right one is rarely the last


def test_killed_before_its_first_batch(
    ask: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:

        def die(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr("rag_vqa.eval.run.runner._store_cells", die)
        with pytest.raises(KeyboardInterrupt), open_run(ask(), tmp_path / "run"):
            pass
    assert (tmp_path / "run" / LEDGER_FILE).exists()
    go(ask(), tmp_path / "run")
    go(ask(), tmp_path / "straight")
    for name in (RESULTS, ANSWERS, FAILURES):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()


def test_a_torn_beginning_is_begun_anew(ask: Make, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / f"{LEDGER_FILE}.begun").write_bytes(b"half of a ledger")
    assert go(ask(3), tmp_path / "run")["questions"]["n"] == 3


def test_a_journal_of_a_ledger_that_is_gone_is_not_played_back(ask: Make, tmp_path: Path) -> None:
    go(ask(), tmp_path / "part")
    merge_shards(tmp_path / "run", [tmp_path / "part"])
    database = tmp_path / "run" / LEDGER_FILE
    # What a kill in the middle of a transaction leaves: pages of the old ledger in a journal.
    db = sqlite3.connect(database, isolation_level=None)
    db.execute("PRAGMA cache_size = 1")
    db.execute("BEGIN IMMEDIATE")
    db.execute("UPDATE answers SET body = body || ' '")
    shutil.copy(tmp_path / "run" / f"{LEDGER_FILE}-journal", tmp_path / "journal")
    db.execute("ROLLBACK")
    db.close()
    database.unlink()
    shutil.copy(tmp_path / "journal", tmp_path / "run" / f"{LEDGER_FILE}-journal")
    assert merge_shards(tmp_path / "run", [tmp_path / "part"]) == 0
    with Ledger(tmp_path / "run") as ledger:
        assert list(ledger.rows("PRAGMA integrity_check")) == [("ok",)]
        write_results(ledger, make_scorer("text"))
    whole = (tmp_path / "part" / ANSWERS).read_bytes()
    assert (tmp_path / "run" / ANSWERS).read_bytes() == whole


def test_folders_that_are_something_else(ask: Make, birds: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for folder, says in ((tmp_path / "file", "is a file"), (birds, "is a knowledge base")):
        with pytest.raises(UsageError, match=says), open_run(ask(), folder):
            pass
    assert (tmp_path / "file").read_text() == "mine" and not (birds / LEDGER_FILE).exists()
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / LEDGER_FILE).write_text(
        "no database at all, but long enough to be read as one"
    )
    with (
        pytest.raises(BadInput, match="damaged, or is not the ledger"),
        open_run(ask(), tmp_path / "text"),
    ):
        pass
    with pytest.raises(Missing, match="holds no run"):
        Ledger(tmp_path / "nowhere")


def test_a_ledger_of_another_version_is_refused(ask: Make, tmp_path: Path) -> None:
    go(ask(3), tmp_path / "run")
    with Ledger(tmp_path / "run") as ledger:
        ledger.set_meta("version", 99)
    with pytest.raises(UsageError, match="another version"):
        Ledger(tmp_path / "run")


@pytest.mark.parametrize(
    ("conditions", "options", "says"),
    [
        (["all"], {}, "--conditions all"),
        (["retrieved"], {"grid": {"k": []}}, "give values, as k=1,3,5"),
        (["retrieved"], {"grid": {"k": ["0"]}}, "k = 0"),
        (["retrieved"], {"grid": {"k": ["ten"]}}, "k = ten"),
        (["retrieved"], {"grid": {"depth": ["1"]}}, "take one of k, prompt"),
        (["retrieved"], {"repeat": 0}, "--repeat 0"),
        (["retrieval"], {"repeat": 2}, "answers nothing"),
        (["retrieval"], {"grid": {"k": ["1"]}}, "answers nothing"),
        (["retrieval", "none"], {}, "only alone"),
    ],
)
def test_cells_that_cannot_be_meant(
    conditions: list[str], options: dict[str, Any], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        make_cells(conditions, 3, "short", **options)


def test_a_grid_is_every_pair_once() -> None:
    grid = {"k": ["1", "3", "1"], "prompt": ["short", "answer"]}
    names = [cell.name for cell in make_cells(["oracle", "retrieved", "none"], 5, "x", grid)]
    assert names == [
        "none", "retrieved k=1 short", "retrieved k=3 short", "retrieved k=1 answer",
        "retrieved k=3 answer", "oracle short", "oracle answer",
    ]  # fmt: skip
