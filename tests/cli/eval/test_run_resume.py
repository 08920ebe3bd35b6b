"""`rag-vqa eval run`, stopped, with failed rows, or in a folder of something else."""

import json
import os
import signal
import time
from typing import Any

import pytest
from bird_runs import FAILURES, count_answers, result_files

from rag_vqa.storage import lock


def test_another_run_is_not_gone_on_with(go) -> None:
    assert go("--conditions", "none", "--limit", 2).code == 0
    done = go("--conditions", "none", "--limit", 3)
    assert done.code == 2 and "was started with other options: questions.split was" in done.err


def test_words_change_no_figure_by_themselves(go, monkeypatch, tmp_path) -> None:
    """The embedded retriever's runs search as before words were searched as needed: they resume.
    Whoever asks for words gets another run, which says so."""
    for module in ("retriever.knowledge_base", "retriever.search", "jobs.evaluate"):
        monkeypatch.setattr(f"rag_vqa.{module}.EMBEDDED", "fake")  # the birds' retriever
    what = ("--conditions", "retrieval", "--limit", 2)
    never = go(*what, "--no-hybrid")
    assert never.code == 0, never.err
    as_given = go(*what)
    assert as_given.code == 0 and "Searching without words" in as_given.err
    words = ("--set", "retriever.hybrid=auto")
    refused = go(*what, *words)
    assert refused.code == 2 and "method was" in refused.err and "ret+words" in refused.err
    assert go(*what, *words, out="words").code == 0
    names = [json.loads((tmp_path / run / "results.json").read_text()) for run in ("run", "words")]
    assert [json.dumps(found).count("ret+words") for found in names] == [0, 1]


def test_failed_rows_are_told_and_tried_again(go, reader, monkeypatch, tmp_path) -> None:
    from rag_vqa.types import Completion

    write = type(reader)._write

    def failing(self: Any, row: int, prompt: Any, *more: Any) -> Completion:
        if "question 5?" in prompt.text:
            return Completion("", 0, 0, "failed", "the server said 500")
        return write(self, row, prompt, *more)

    with monkeypatch.context() as patch:
        patch.setattr(type(reader), "_write", failing)
        done = go("--conditions", "none")
    assert done.code == 4 and "1 rows failed, see" in done.err
    assert "the server said 500" in (tmp_path / "run" / FAILURES).read_text()
    assert go("--conditions", "none").code == 0
    assert (tmp_path / "run" / FAILURES).read_text() == ""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 4), (signal.SIGINT, 130)])
@pytest.mark.parametrize("moment", ["loading", "answering", "scoring"])
def test_stopped_at_any_moment_it_goes_on(
    go, reader, encoder, monkeypatch, tmp_path, number, code, moment
) -> None:
    def stop(*_: object, **__: object) -> None:
        os.kill(os.getpid(), number)
        time.sleep(10)  # the signal ends it
        raise AssertionError("still there")

    generate, calls = type(reader).generate, []

    def third(self: Any, prompts: Any, *more: Any) -> Any:
        calls.append(len(prompts))
        return stop() if len(calls) == 3 else generate(self, prompts, *more)

    with monkeypatch.context() as patch:
        if moment == "loading":
            patch.setattr("rag_vqa.jobs.models.load_encoder", stop)
        elif moment == "answering":
            patch.setattr(type(reader), "generate", third)
        else:
            patch.setattr("rag_vqa.eval.results.result_files.collect_results", stop)
        began = time.monotonic()
        done = go("--conditions", "none,retrieved", "-k", 1)
        assert time.monotonic() - began < 10
    assert (done.code, done.out) == (code, "")
    how = "^C stopped" if number == signal.SIGINT else "Stopped"
    assert f"{how}: what was committed is safe. The same command goes on." in done.err
    if moment == "answering":
        assert count_answers(tmp_path / "run") == 64  # of the first batch both cells
    assert go("--conditions", "none,retrieved", "-k", 1).code == 0
    assert go("--conditions", "none,retrieved", "-k", 1, out="straight").code == 0
    assert result_files(tmp_path / "run") == result_files(tmp_path / "straight")


def test_one_process_a_run(go, tmp_path) -> None:
    (tmp_path / "run").mkdir()
    with lock.hold_lock(tmp_path / "run"):
        done = go("--conditions", "none")
    assert done.code == 1 and "Another process" in done.err
    assert go("--conditions", "none", "--limit", 2).code == 0


def test_folders_that_cannot_be_a_run(go, birds, tmp_path) -> None:
    (tmp_path / "file").write_text("mine")
    done = go("--conditions", "none", out="file")
    assert done.code == 2 and "is a file" in done.err
    done = go("--conditions", "none", out="birds.kb")
    assert done.code == 2 and "is a knowledge base" in done.err
    (tmp_path / "sealed").mkdir(mode=0o500)
    done = go("--conditions", "none", out="sealed/run")
    assert done.code == (0 if os.access(tmp_path / "sealed", os.W_OK) else 1)
