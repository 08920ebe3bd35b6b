"""A knowledge base served from Python, in a thread of a program that goes on."""

import re
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from served import wait

from rag_vqa.errors import UsageError
from rag_vqa.jobs.serve import ServeOptions, serve_knowledge_base
from rag_vqa.progress import LogReporter
from rag_vqa.server import app
from rag_vqa.settings import load_settings


class NoteReporter(LogReporter):
    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


def test_a_thread_serves_until_it_is_asked_to_exit(
    birds: Path, encoder: Any, reader: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("rag_vqa.jobs.models.load_encoder", lambda *_: encoder)
    monkeypatch.setattr("rag_vqa.jobs.models.check_models", lambda *_, **__: None)
    monkeypatch.setattr("rag_vqa.readers.local.reader.LocalReader", lambda *_, **__: reader)
    monkeypatch.setattr("rag_vqa.demo_limits.default_reader", lambda kb: "demo")
    servers, make_server = [], app.make_uvicorn_server
    monkeypatch.setattr(
        app, "make_uvicorn_server", lambda *args: servers.append(make_server(*args)) or servers[0]
    )
    reporter = NoteReporter()
    options = ServeOptions(kb=birds, port=0, log_questions=tmp_path / "asked", log_requests=False)
    job = threading.Thread(
        target=serve_knowledge_base, args=(options, load_settings(environment={}), reporter)
    )
    job.start()
    try:
        wait(lambda: servers and servers[0].started, seconds=60)
        address = re.search(r"http://[\d.:]+", reporter.notes[-1])
        assert address is not None
        info = httpx.get(f"{address[0]}/health")
        assert info.json() == {"status": "ok"}
        written = [note for note in reporter.notes if str(tmp_path / "asked") in note]
        assert len(written) == 1 and "30 days" in written[0]
    finally:
        servers[0].should_exit = True
        job.join(60)
    assert not job.is_alive()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"host": "0.0.0.0"}, "token"), ({"root_path": "rag"}, "--root-path"),
     ({"keep_days": 3}, "--log-questions")],
)  # fmt: skip
def test_options_are_checked_before_the_knowledge_base_opens(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        serve_knowledge_base(ServeOptions(kb=Path("nowhere.kb"), port=0, **options))
