"""docs/layout.md is true: each stop of a journey is a function that its command calls, in order."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from rag_vqa.cli.app import run

ROOT = Path(__file__).resolve().parents[1]
MOST_STOPS = 12
QUESTION = "What is the capital of this country?"
_STOP = re.compile(r"^\d+\. `([\w/]+\.py)` `([\w.]+)`", re.M)


def journey(heading: str) -> list[tuple[str, str]]:
    """The stops below a heading of the page, each as (file, function)."""
    page = (ROOT / "docs" / "layout.md").read_text("utf-8")
    section = page.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return _STOP.findall(section)


class CallRecorder:
    """Records the calls of some functions of ours, in every thread, in order."""

    def __init__(self, stops: list[tuple[str, str]]) -> None:
        self.calls: list[tuple[str, str]] = []
        self._wanted = {function for _, function in stops}

    def __enter__(self) -> CallRecorder:
        sys.setprofile(self._record)
        threading.setprofile(self._record)
        return self

    def __exit__(self, *error: object) -> None:
        sys.setprofile(None)
        threading.setprofile(None)

    def _record(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code.co_qualname in self._wanted:
            file = Path(frame.f_code.co_filename).resolve()
            if file.is_relative_to(ROOT):
                stop = (file.relative_to(ROOT).as_posix(), frame.f_code.co_qualname)
                self.calls.append(stop)


def check(heading: str, command: list[str]) -> None:
    stops = journey(heading)
    assert 5 <= len(stops) <= MOST_STOPS
    with CallRecorder(stops) as recorder:
        assert run(command) == 0
    calls = iter(recorder.calls)
    missed = [stop for stop in stops if stop not in calls]  # a subsequence, in this order
    assert not missed, f"{missed} not reached in this order; called: {recorder.calls[:60]}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("journeys")
    assert run(["demo", "--kb", str(folder / "flags.kb"), "--photo", str(folder / "flag.png")]) == 0
    yield folder


def test_the_way_of_a_question(folder: Path) -> None:
    image = str(folder / "flag.png")
    check("The way of a question", ["ask", str(folder / "flags.kb"), QUESTION, "--image", image])


def test_the_way_of_a_build(folder: Path) -> None:
    source = folder / "docs.jsonl"
    source.write_text('{"id": "a", "text": "A vase.", "image": "flag.png"}\n', "utf-8")
    check("The way of a build", ["kb", "build", str(source), "--out", str(folder / "own.kb")])


def test_the_way_of_an_evaluation(folder: Path) -> None:
    questions = folder / "questions.jsonl"
    row = f'{{"id": "q", "question": "{QUESTION}", "image": "flag.png", "answers": ["Kingston"]}}\n'
    questions.write_text(row, "utf-8")
    arguments = ["--kb", str(folder / "flags.kb"), "--out", str(folder / "run")]
    check("The way of an evaluation", ["eval", "run", "own", str(questions), *arguments])
