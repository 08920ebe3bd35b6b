"""A hub that cannot be reached is one line, exit 3, within ten seconds, whatever the verb."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rag_vqa import RagVqa
from rag_vqa.errors import Missing
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.retriever.modeling.encoder import Encoder

BUILD = ("kb", "build", "docs.jsonl", "--out", "new.kb", "--retriever", "owner/ret")


@pytest.fixture
def black_hole() -> Iterator[str]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def refused() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def folder(tmp_path: Path, encoder) -> Path:
    (tmp_path / "docs.jsonl").write_text('{"id": "1", "text": "a red bird"}\n')
    with KnowledgeBase.create(tmp_path / "birds.kb", encoder) as kb:
        kb.add([{"id": "1", "text": "a red bird"}])
    return tmp_path


def run(folder: Path, address: str, *verb: str) -> subprocess.CompletedProcess[str]:
    more = {"HF_ENDPOINT": address, "HF_HOME": str(folder / "home"), "HF_HUB_OFFLINE": "0",
            "HF_HUB_CACHE": str(folder / "home" / "hub"), "NO_PROXY": "127.0.0.1"}  # fmt: skip
    return subprocess.run(
        [sys.executable, "-m", "rag_vqa", *verb],
        cwd=folder, env={**os.environ, **more}, stdin=subprocess.DEVNULL, capture_output=True,
        text=True, check=False, timeout=60,
    )  # fmt: skip


def test_a_server_that_never_answers(folder: Path, black_hole: str) -> None:
    start = time.monotonic()
    done = run(folder, black_hole, *BUILD, "--yes", "--quiet")
    seconds = time.monotonic() - start
    assert done.returncode == 3, done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: The hub cannot be reached")
    assert "no answer within 5 s" in done.stderr
    assert seconds < 30  # ten, on a machine that does nothing else


@pytest.mark.parametrize(
    "verb",
    [
        ("models", "pull", "laptop", "--yes"),
        ("ask", "birds.kb", "Where?", "--reader", "owner/reader", "-k", "0"),
        ("serve", "birds.kb", "--reader", "owner/reader", "-k", "0"),
        ("doctor", "--reader", "owner/reader"),
    ],
)
def test_a_refused_connection(folder: Path, refused: str, verb: tuple[str, ...]) -> None:
    done = run(folder, refused, *verb, "--quiet")
    assert done.returncode == 3, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: The hub cannot be reached ({refused}: the connection is ref")
    assert "no such" not in line


def test_in_python_it_is_missing(monkeypatch, tmp_path: Path, refused: str) -> None:
    from huggingface_hub import constants

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(constants, "ENDPOINT", refused)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    from huggingface_hub.utils import _http

    _http.close_session()
    for load in (
        lambda: Encoder.load("owner/ret"),
        lambda: RagVqa(tmp_path, reader="owner/reader").reader,
    ):
        with pytest.raises(Missing, match="The hub cannot be reached"):
            load()
    _http.close_session()
