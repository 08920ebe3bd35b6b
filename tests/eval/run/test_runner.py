import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rag_vqa.errors import ReaderError, UsageError
from rag_vqa.eval.results.result_files import ANSWERS, FAILURES, RESULTS, TIMINGS, write_results
from rag_vqa.eval.run.ledger import Ledger, count_missing
from rag_vqa.eval.run.runner import EvaluationRun, Runner, open_run
from rag_vqa.eval.run.shards import merge_shards
from rag_vqa.eval.run.spec import Cell
from rag_vqa.eval.scorers import make_scorer
from rag_vqa.types import Completion, Prompt, Query

Make = Callable[..., EvaluationRun]


def go(run: EvaluationRun, folder: Path, **options: Any) -> dict[str, Any]:
    with open_run(run, folder) as ledger:
        Runner(run, ledger).run(**options)
        return write_results(ledger, make_scorer("text"))


def files(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in (RESULTS, ANSWERS, FAILURES)}


def test_conditions_stand_side_by_side(ask: Make, tmp_path: Path) -> None:
    results = go(ask(), tmp_path / "run")
    accuracy = {cell["cell"]: cell["accuracy"] for cell in results["cells"]}
    # The echo finds the answer in the evidence alone, and says the first place that it knows: with
    # all three birds before it that is the puffin's, right for 24 of 70 questions.
    assert accuracy == {
        "none": 0.0,
        "retrieved k=1 short": 1.0,
        "retrieved k=3 short": round(24 / 70, 6),
        "oracle short": 1.0,
    }
    assert results["recall"]["recall"]["1"]["value"] == 1.0
    assert results["questions"]["n"] == 70
    assert results["knowledge_base"]["documents"] == 3


def test_answers_are_by_question_then_cell_and_hold_no_clock(ask: Make, tmp_path: Path) -> None:
    go(ask(3), tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / ANSWERS).read_text().splitlines()]
    cells = ["none", "retrieved k=1 short", "retrieved k=3 short", "oracle short"]
    assert [(line["id"], line["cell"]) for line in lines] == [
        (f"q{i}", cell) for i in range(3) for cell in cells
    ]
    assert not any("second" in name or "time" in name for line in lines for name in line)
    assert "seconds" in (tmp_path / "run" / TIMINGS).read_text()


def test_interrupted_anywhere_a_run_ends_in_the_same_bytes(ask: Make, tmp_path: Path) -> None:
    go(ask(), tmp_path / "whole")

    class Killed(BaseException):
        pass

    for calls in range(1, 12):  # the run takes more: each time it gets a bit further
        run = ask()
        reader: Any = run.rag.reader
        before, generate = reader.calls, type(reader).generate

        def dying(self: Any, prompts: Any, *more: Any) -> Any:
            if self.calls - before == calls:  # noqa: B023
                raise Killed
            return generate(self, prompts, *more)  # noqa: B023

        reader.generate = dying.__get__(reader)
        with pytest.raises(Killed), open_run(run, tmp_path / "torn") as ledger:
            Runner(run, ledger).run()
        del reader.generate
        if calls == 3:
            break
    go(ask(), tmp_path / "torn")
    assert files(tmp_path / "torn") == files(tmp_path / "whole")


def test_going_on_reads_nothing_again(ask: Make, echo: Any, tmp_path: Path) -> None:
    go(ask(), tmp_path / "run")
    asked = echo.asked
    go(ask(), tmp_path / "run")
    assert echo.asked == asked


def test_the_same_prompt_is_read_once_a_batch(ask: Make, echo: Any, tmp_path: Path) -> None:
    # The oracle's one document is the first one found: 70 prompts that "retrieved k=1" has put.
    cells = [Cell("retrieved", 1, "short"), Cell("oracle", 1, "short")]
    go(ask(cells=cells), tmp_path / "run")
    assert echo.asked == 70


def test_shards_merge_to_what_one_run_makes(ask: Make, tmp_path: Path) -> None:
    go(ask(), tmp_path / "whole")
    parts = []
    for number in (1, 2, 3):
        part = tmp_path / f"part{number}"
        run = ask(shard=(number, 3))
        with open_run(run, part) as ledger:
            Runner(run, ledger).run()
        parts.append(part)
    assert merge_shards(tmp_path / "merged", parts) == 0
    with Ledger(tmp_path / "merged") as ledger:
        write_results(ledger, make_scorer("text"))
    assert files(tmp_path / "merged") == files(tmp_path / "whole")


def test_a_merge_without_a_part_says_how_many_are_missing(ask: Make, tmp_path: Path) -> None:
    run = ask(shard=(1, 2))
    with open_run(run, tmp_path / "part1") as ledger:
        Runner(run, ledger).run()
        assert (
            count_missing(ledger) == (70 - 32) * 4
        )  # of 9 batches of 8 the first half, 4, was done
    assert merge_shards(tmp_path / "merged", [tmp_path / "part1"]) == (70 - 32) * 4


def test_cells_can_be_added_later(ask: Make, echo: Any, tmp_path: Path) -> None:
    go(ask(cells=[Cell("retrieved", 1, "short")]), tmp_path / "run")
    asked = echo.asked
    results = go(ask(cells=[Cell("none", 0, "closed-book")]), tmp_path / "run")
    assert [cell["cell"] for cell in results["cells"]] == ["retrieved k=1 short", "none"]
    assert echo.asked == asked + 70


@pytest.mark.parametrize(
    ("change", "named"),
    [({"depth": 7}, "retrieval.depth"), ({"batch": 9}, "batch")],
)
def test_another_run_is_refused_by_name(
    ask: Make, tmp_path: Path, change: dict[str, Any], named: str
) -> None:
    go(ask(), tmp_path / "run")
    with pytest.raises(UsageError, match=named):
        go(ask(**change), tmp_path / "run")


def test_another_reader_is_refused(ask: Make, echo: Any, tmp_path: Path) -> None:
    go(ask(), tmp_path / "run")
    other = type(echo)()
    other.name = "another"
    with pytest.raises(UsageError, match=r"other options: reader\.name was echo, is another"):
        go(ask(reader=other), tmp_path / "run")


def test_a_knowledge_base_that_changes_ends_the_run(
    ask: Make, birds: Path, encoder: Any, tmp_path: Path
) -> None:
    from rag_vqa.retriever.knowledge_base import KnowledgeBase

    run = ask()
    with open_run(run, tmp_path / "run") as ledger:
        with KnowledgeBase.open(birds, encoder) as other:
            other.delete("swift")
        with pytest.raises(UsageError, match="has changed since the run began"):
            Runner(run, ledger).run()


class Failing:
    """Makes a reader fail for some prompts, as a server does, or for all."""

    def __init__(self, reader: Any, bad: Callable[[Prompt], bool], raises: bool) -> None:
        self._reader, self._bad, self._raises = reader, bad, raises

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    def generate(self, prompts: Sequence[Prompt], on_text: Any = None, *_: Any) -> list[Completion]:
        if self._raises and any(self._bad(prompt) for prompt in prompts):
            raise ReaderError("out of memory")
        read = self._reader.generate(prompts)
        return [
            Completion("", 0, 0, "failed", "the server said 500") if self._bad(p) else c
            for p, c in zip(prompts, read, strict=True)
        ]


@pytest.mark.parametrize("raises", [True, False])
def test_a_failed_row_is_apart_and_tried_again(
    ask: Make, echo: Any, tmp_path: Path, raises: bool
) -> None:
    bad = Failing(echo, lambda prompt: "question 5?" in prompt.text, raises)
    results = go(ask(reader=bad), tmp_path / "run")
    cells = {cell["cell"]: cell for cell in results["cells"]}
    assert {(cell["n"], cell["failed"]) for cell in cells.values()} == {(69, 1)}
    failures = (tmp_path / "run" / FAILURES).read_text()
    assert failures.count('"id":"q5"') == 4
    assert '"id":"q5"' not in (tmp_path / "run" / ANSWERS).read_text()
    results = go(ask(), tmp_path / "run")
    assert {(cell["n"], cell["failed"]) for cell in results["cells"]} == {(70, 0)}
    go(ask(), tmp_path / "other")
    assert files(tmp_path / "run") == files(tmp_path / "other")


def test_a_dead_server_ends_the_run_at_once(ask: Make, echo: Any, tmp_path: Path) -> None:
    dead = Failing(echo, lambda prompt: True, False)
    run = ask(reader=dead)
    with open_run(run, tmp_path / "run") as ledger, pytest.raises(ReaderError, match="said 500"):
        Runner(run, ledger).run()
    assert echo.asked == 2 * 8 * 4  # two batches, not all nine


def test_retrieval_alone_loads_no_reader(ask: Make, tmp_path: Path) -> None:
    class Unread:
        name = "unread"  # who combines models asks for it

        def __getattr__(self, name: str) -> Any:
            raise AssertionError(name)

    run = ask(cells=(), reader=Unread())
    with open_run(run, tmp_path / "run") as ledger:
        Runner(run, ledger).run()
        results = write_results(ledger, None)
    assert results["recall"]["mrr"]["value"] == 1.0
    assert results["cells"] == []


def test_repeats_tell_what_changes(ask: Make, echo: Any, tmp_path: Path) -> None:
    class Moody:
        def __init__(self) -> None:
            self.times = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(echo, name)

        def generate(
            self, prompts: Sequence[Prompt], on_text: Any = None, *_: Any
        ) -> list[Completion]:
            self.times += 1
            said = "burrows" if self.times % 2 else "roofs"
            return [Completion(said, 1, 1) for _ in prompts]

    cells = [Cell("none", 0, "closed-book"), Cell("none", 0, "closed-book", repeat=1)]
    results = go(ask(8, cells=cells, reader=Moody()), tmp_path / "run")
    [found] = results["repeats"]
    assert found == {"cell": "none", "again": "none #2", "n": 8, "changed": 8, "share": 1.0}


def test_two_processes_do_not_share_a_run(ask: Make, tmp_path: Path) -> None:
    from rag_vqa.errors import RagVqaError

    run = ask()
    with (
        open_run(run, tmp_path / "run"),
        pytest.raises(RagVqaError, match="Another process"),
        open_run(ask(), tmp_path / "run"),
    ):
        pass


def test_the_instruction_asked_for_is_searched_with(
    ask: Make, encoder: Any, tmp_path: Path
) -> None:
    searched: list[Any] = []
    run = ask(4, cells=(), instruction="find:")
    encode = run.rag.kb.encoder.encode_queries

    def listening(queries: Any) -> Any:
        searched.extend(queries)
        return encode(queries)

    run.rag.kb.encoder.encode_queries = listening  # type: ignore[method-assign]
    with open_run(run, tmp_path / "run") as ledger:
        Runner(run, ledger).run()
    assert {query.instruction for query in searched} == {"find:"}


def test_what_was_skipped_reaches_the_results_also_through_a_merge(
    ask: Make, tmp_path: Path
) -> None:
    for part in (1, 2):
        run = ask(shard=(part, 2))
        run.questions.skipped_count = 3  # type: ignore[misc]  # of a set whose photos are missing
        go(run, tmp_path / f"part{part}")
    merge_shards(tmp_path / "whole", [tmp_path / "part1", tmp_path / "part2"])
    with Ledger(tmp_path / "whole") as ledger:
        assert write_results(ledger, make_scorer("text"))["questions"]["skipped"] == 3


def test_questions_without_text_are_refused_before_answers_not_in_each_cell(
    ask: Make, tmp_path: Path
) -> None:
    run = ask()
    rows = list(run.questions.examples())
    rows[5] = replace(rows[5], query=Query(""))
    run.questions.rows = rows  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match=r"1 questions, such as 'q5', .*--conditions retrieval"):
        go(run, tmp_path / "run")
