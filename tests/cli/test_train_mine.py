"""`train mine`: a file of negatives that training reads; stopped, it goes on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pair_files import lines

from rag_vqa.errors import BadInput, RagVqaError, UsageError
from rag_vqa.retriever.training.source_mixture import open_source
from rag_vqa.retriever.training.training_settings import SourceSettings

ROWS: list[dict[str, Any]] = [
    {"id": "1", "question": "puffins nest", "document": "puffin"},
    {"question": "storks nest", "document": "stork", "document_ids": ["swift"]},
]
Mine = Callable[..., Any]


@pytest.fixture
def mine(cli: Any, birds: Path, tmp_path: Path) -> Mine:
    def run(*args: Any, rows: list[dict[str, Any]] = ROWS) -> Any:
        questions = lines(tmp_path / "pairs.jsonl", *rows)
        out = tmp_path / "negatives.jsonl"
        return cli("train", "mine", birds, "--questions", questions, "--out", out, *args)

    return run


def test_what_is_found_and_wrong_is_written(mine: Mine, tmp_path: Path, loads: list[str]) -> None:
    done = mine("-k", 5)
    assert done.code == 0 and done.out == "" and len(loads) == 1
    assert "2 rows → " in done.err
    assert "2 rows have fewer than 5 negatives" in done.err
    found = [json.loads(line) for line in (tmp_path / "negatives.jsonl").read_text().splitlines()]
    assert found == [
        {"id": "1", "negatives": ["stork", "swift"]},
        {"id": "row 2", "negatives": ["puffin"]},
    ]
    documents = lines(
        tmp_path / "documents.jsonl",
        *({"id": name, "text": name} for name in ("puffin", "stork", "swift")),
    )
    said = SourceSettings(
        format="pairs",
        questions=tmp_path / "pairs.jsonl",
        documents=documents,
        negatives=tmp_path / "negatives.jsonl",
        hard=1,
    )
    pairs = open_source(said).draw(0, range(8))
    assert {pair.negatives[0].id for pair in pairs if pair.name.endswith(":1")} == {
        "stork", "swift",
    }  # fmt: skip
    assert {pair.negatives[0].id for pair in pairs if pair.name.endswith("row 2")} == {"puffin"}


def test_skip_top_and_k(mine: Mine, tmp_path: Path) -> None:
    assert mine("-k", 1, "--skip-top", 1).code == 0
    first = json.loads((tmp_path / "negatives.jsonl").read_text().splitlines()[0])
    assert first == {"id": "1", "negatives": ["swift"]}


def test_a_file_without_any_negative_is_an_error(mine: Mine, tmp_path: Path) -> None:
    said = failed(mine("--skip-top", 2), BadInput)
    assert "no row has a negative" in said and "the 2 that --skip-top leaves out" in said
    assert not list(tmp_path.glob("negatives*"))


def test_bad_rows_are_told_and_left_out(mine: Mine, tmp_path: Path) -> None:
    done = mine(rows=[*ROWS, {"question": "x"}, {"image": "no.png", "document": "stork"}])
    assert done.code == 0
    assert "2 rows left out, the first:" in done.err and "line 3" in done.err
    assert len((tmp_path / "negatives.jsonl").read_text().splitlines()) == 2


def failed(done: Any, kind: type[RagVqaError]) -> str:
    *_, line = done.err.splitlines()
    assert done.code == kind.exit_code and line.startswith("error: ")
    return str(line)


def test_what_cannot_work_is_told_before_a_model_loads(
    mine: Mine, tmp_path: Path, loads: list[str]
) -> None:
    assert "no document is right" in failed(mine(rows=[{"question": "x"}]), BadInput)
    assert "is not a format of training data" in failed(mine("--format", "pear"), UsageError)
    assert "leaves out all 3 documents" in failed(mine("--skip-top", 3), UsageError)
    assert mine("-k", 0).code == 2 and mine("--skip-top", -1).code == 2
    (tmp_path / "negatives.jsonl").write_text("")
    assert "exists" in failed(mine(), UsageError)
    assert loads == []


def stopped(mine: Mine, *args: Any) -> Any:
    """Mined until one row is there."""
    from rag_vqa.jobs.signals import JobStopped
    from rag_vqa.retriever.training import hard_negatives

    whole = hard_negatives.mine_negatives

    def one(*given: Any) -> Any:
        yield next(whole(*given))
        raise JobStopped

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hard_negatives, "mine_negatives", one)
        return mine(*args)


def test_stopped_it_goes_on(mine: Mine, tmp_path: Path) -> None:
    whole, right = tmp_path / "whole.jsonl", tmp_path / "negatives.jsonl"
    assert mine().code == 0
    right.rename(whole)
    done = stopped(mine)
    assert done.code == 4 and "1 rows are safe" in done.err and not right.exists()
    assert mine().code == 0
    assert right.read_bytes() == whole.read_bytes()


def test_it_goes_on_with_the_same_retriever_search_and_questions_alone(
    mine: Mine, encoder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stopped(mine).code == 4
    with monkeypatch.context() as patch:
        patch.setattr(encoder, "query_fingerprint", "8" * 64)  # a query side that was tuned
        assert "was started with other options" in failed(mine(), UsageError)
    with monkeypatch.context() as patch:
        patch.setenv("RAG_VQA_RETRIEVER__HYBRID", "true")
        assert "was started with other options" in failed(mine(), UsageError)
    others = [{**ROWS[0], "question": "puffins nosh"}, ROWS[1]]  # of the same size
    assert "was started with other options" in failed(mine(rows=others), UsageError)
    assert mine().code == 0
