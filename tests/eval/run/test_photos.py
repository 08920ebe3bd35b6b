"""Pictures that change or vanish while a run goes on."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from rag_vqa.errors import UsageError
from rag_vqa.eval.results.result_files import write_results
from rag_vqa.eval.run.ledger import Ledger
from rag_vqa.eval.run.runner import EvaluationRun, Runner, open_run
from rag_vqa.eval.run.shards import merge_shards
from rag_vqa.eval.run.spec import Cell
from rag_vqa.eval.scorers import make_scorer

Make = Callable[..., EvaluationRun]
CELLS = [Cell("retrieved", 1, "short")]


def pictured(ask: Make, photos: Path, **options: Any) -> EvaluationRun:
    run = ask(8, cells=options.pop("cells", CELLS), **options)
    rows = [
        replace(example, query=replace(example.query, image=str(photos / f"{example.id}.png")))
        for example in run.questions.rows  # type: ignore[attr-defined]
    ]
    run.questions.rows = rows  # type: ignore[attr-defined]
    return run


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(8):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / f"q{number}.png")
    return folder


def go(run: EvaluationRun, folder: Path) -> dict[str, Any]:
    with open_run(run, folder) as ledger:
        Runner(run, ledger).run()
        return write_results(ledger, make_scorer("text"))


def test_another_picture_never_stands_beside_answers_to_the_old_one(
    ask: Make, photos: Path, tmp_path: Path
) -> None:
    go(pictured(ask, photos), tmp_path / "run")
    Image.new("RGB", (8, 8), (200, 0, 0)).save(photos / "q3.png")
    go(pictured(ask, photos), tmp_path / "run")  # nothing is asked: what is there stays
    more = [*CELLS, Cell("none", 0, "closed-book")]
    with pytest.raises(UsageError, match="picture of question 'q3' has changed"):
        go(pictured(ask, photos, cells=more), tmp_path / "run")


def test_a_picture_that_is_gone_fails_its_question_alone(
    ask: Make, photos: Path, tmp_path: Path
) -> None:
    (photos / "q3.png").rename(photos / "away.png")
    run = pictured(ask, photos, cells=[Cell("none", 0, "closed-book")])
    build = run.rag.prompt  # fakes open no picture: here it is missed

    def building(query: Any, *rest: Any) -> Any:
        from rag_vqa import images

        images.load(query.image)
        return build(query, *rest)

    run.rag.prompt = building  # type: ignore[method-assign]
    results = go(run, tmp_path / "run")
    assert (results["cells"][0]["n"], results["cells"][0]["failed"]) == (7, 1)


def test_a_run_goes_on_from_another_folder(
    ask: Make, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with open_run(pictured(ask, Path("photos")), tmp_path / "run") as ledger:
        [(_, example), *_] = ledger.examples(0, 1)
    assert example.query.image == str(photos / "q0.png")


def test_a_refused_command_leaves_the_run_as_it_is(ask: Make, tmp_path: Path) -> None:
    go(ask(8, cells=CELLS), tmp_path / "run")
    with Ledger(tmp_path / "run") as ledger:
        before = ledger.meta("spec")
    with pytest.raises(UsageError, match=r"retrieval\.depth"):
        go(ask(8, cells=[Cell("none", 0, "closed-book"), *CELLS], depth=7), tmp_path / "run")
    with Ledger(tmp_path / "run") as ledger:
        assert ledger.meta("spec") == before


def test_a_merge_that_is_refused_leaves_nothing(ask: Make, tmp_path: Path) -> None:
    for number in (1, 2):
        run = ask(40, cells=CELLS, shard=(number, 2))
        with open_run(run, tmp_path / f"p{number}") as ledger:
            Runner(run, ledger).run()
    go(ask(40, cells=[Cell("oracle", 1, "short")]), tmp_path / "other")
    with pytest.raises(UsageError, match="answer different cells"):
        merge_shards(tmp_path / "m", [tmp_path / "p1", tmp_path / "other"])
    with pytest.raises(UsageError, match="name each shard once"):
        merge_shards(tmp_path / "m", [tmp_path / "p1", tmp_path / "p1"])
    assert merge_shards(tmp_path / "m", [tmp_path / "p1", tmp_path / "p2"]) == 0
    assert not (tmp_path / "m" / "merging").exists()
