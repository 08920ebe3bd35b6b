"""`eval run own` of 70 questions on birds, in this process."""

from pathlib import Path
from typing import Any

import pytest
from bird_runs import write_questions


@pytest.fixture
def ask(tmp_path: Path) -> Path:
    """70 questions: three batches of 32."""
    return write_questions(tmp_path / "questions.jsonl", 70)


@pytest.fixture
def go(cli: Any, birds: Path, ask: Path, reader: Any, tmp_path: Path) -> Any:
    """`eval run own` of the questions, into the folder "run"."""
    reader.says = "burrows"  # right for each third question, whatever it is shown

    def call(*more: object, data: Path = ask, out: str = "run", kb: Path | None = birds) -> Any:
        named = ["--kb", kb] if kb else []
        return cli("eval", "run", "own", data, *named, "--out", tmp_path / out, *more)

    return call
