"""What an answer and a hit depend on changes their keys, and nothing else does."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from birds_asked import Echo, questions
from PIL import Image

from rag_vqa.eval.run.ledger import Ledger
from rag_vqa.eval.run.runner import EvaluationRun, Runner, open_run
from rag_vqa.eval.run.spec import Cell
from rag_vqa.types import Query

Make = Callable[..., EvaluationRun]
CELL = Cell("retrieved", 1, "short")


@pytest.fixture
def keys(ask: Make, tmp_path: Path) -> Callable[..., tuple[str, str]]:
    """The keys of hits and answer of one question."""
    made = iter(range(100))

    def of(query: Query | None = None, cell: Cell = CELL, **options: Any) -> tuple[str, str]:
        [row] = questions(1)
        row = row if query is None else replace(row, query=query)
        run, folder = ask(rows=[row], cells=[cell], **options), tmp_path / f"run{next(made)}"
        with open_run(run, folder) as ledger:
            assert Runner(run, ledger).run() == 0
        with Ledger(folder) as ledger:
            [(hit,)] = ledger.rows("SELECT key FROM hits")
            [(answer,)] = ledger.rows("SELECT key FROM answers")
        return hit, answer

    return of


def test_the_same_is_the_same(keys: Any) -> None:
    assert keys() == keys()


def other_reader(name: str = "echo", **settings: Any) -> Echo:
    reader = Echo()
    reader.name, reader.settings = name, {"max_new_tokens": 8} | settings
    return reader


class Reversed:
    name = "reversed"

    def __call__(self, queries: Any, hits: Any) -> Any:
        return [list(found) for found in hits]


def test_reader_decoding_template_filter_and_repeat_change_answers_alone(keys: Any) -> None:
    changed = [
        keys(),
        keys(reader=other_reader("another")),
        keys(reader=other_reader(max_new_tokens=9)),
        keys(reader=other_reader(revision="b")),
        keys(cell=replace(CELL, template="answer")),
        keys(cell=replace(CELL, repeat=1)),
        keys(filter=Reversed()),
    ]
    assert len({answer for _, answer in changed}) == len(changed)
    assert len({hit for hit, _ in changed}) == 1


def test_the_instruction_changes_hits_alone(keys: Any) -> None:
    usual, own, given = keys(), keys(Query("puffins cliffs question 0?", None, "Find:")), keys(
        instruction="Find:"
    )  # fmt: skip
    assert usual[0] != own[0] and given[0] not in (usual[0], own[0])  # it is in the run's, too
    assert usual[1] == own[1] == given[1]  # the documents are the same ones, and so is the prompt


def test_bytes_of_the_picture_count_not_its_name(keys: Any, tmp_path: Path) -> None:
    red, copy, blue = (tmp_path / name for name in ("red.png", "copy.png", "blue.png"))
    Image.new("RGB", (8, 8), "red").save(red)
    copy.write_bytes(red.read_bytes())
    Image.new("RGB", (8, 8), "blue").save(blue)
    first, same, other = (keys(Query("puffins cliffs?", path)) for path in (red, copy, blue))
    assert first == same
    assert first[0] != other[0] and first[1] != other[1]


def test_the_instruction_of_a_run_reaches_the_search(
    ask: Make, encoder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str | None] = []
    encode = type(encoder).encode_queries

    def watched(self: Any, queries: Any) -> Any:
        seen.extend(query.instruction for query in queries)
        return encode(self, queries)

    monkeypatch.setattr(type(encoder), "encode_queries", watched)
    run = ask(2, cells=[CELL], instruction="Find the page:")
    with open_run(run, tmp_path / "run") as ledger:
        Runner(run, ledger).run()
    assert set(seen) == {"Find the page:"}
