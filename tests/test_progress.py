"""The reporter of jobs that a Python program calls."""

import logging

import pytest

from rag_vqa.cli.context import CommandContext
from rag_vqa.progress import LOG, Reporter


def test_notes_and_warnings_go_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "rag_vqa.jobs")
    LOG.note("a note")
    LOG.warn("a warning")
    assert [(each.levelname, each.message) for each in caplog.records] == [
        ("INFO", "a note"), ("WARNING", "a warning"),
    ]  # fmt: skip
    with LOG.progress("encode", 3) as advance:
        advance(3)
    assert LOG.confirm("Download now?") is True


def test_the_command_line_is_a_reporter(capsys: pytest.CaptureFixture[str]) -> None:
    reporter: Reporter = CommandContext(quiet=True)
    reporter.note("dropped")
    reporter.warn("shown")
    with reporter.progress("encode", 1) as advance:
        advance(1)
    assert capsys.readouterr().err == "shown\n"
    assert reporter.confirm("Download now?") is None  # pytest is no terminal
