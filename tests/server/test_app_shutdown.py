"""Shutdown: running requests finish, or get an error if they take too long."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai_server import OpenAiServer
from served import QUESTION, chat, running, wait

CLOSING = {
    "message": "The server is shutting down. Ask again once it is back.",
    "type": "server_error",
    "code": "closing",
}
# `rag-vqa serve` with a fake encoder and a shorter wait at shutdown.
SERVE = """
import sys
from conftest import FakeEncoder
from rag_vqa import cli
from rag_vqa.jobs import download_consent, models
from rag_vqa.server import app
app.SHUTDOWN_SECONDS = float(sys.argv.pop(1))
models.load_encoder = lambda *_: FakeEncoder()
download_consent.is_available = lambda *_: True
models.model_source = lambda model, role: "embedded retriever"
cli.main()
"""


def posts(asking: ThreadPoolExecutor, address: str, path: str, body: Any) -> Future[httpx.Response]:
    return asking.submit(httpx.post, f"{address}{path}", json=body, timeout=60)


def test_what_is_in_flight_is_finished(make, gate) -> None:
    with ThreadPoolExecutor() as asking:
        with running(make(reader=gate)) as address:
            sent = posts(asking, address, "/v1/chat/completions", chat())
            assert gate.begun.wait(10)
            threading.Timer(0.3, gate.opened.set).start()
        assert sent.result().status_code == 200


def test_who_waits_too_long_is_told(make, gate, monkeypatch) -> None:
    service, ended = make(reader=gate), threading.Event()
    with ThreadPoolExecutor() as asking:
        with running(service, stop_seconds=0.2) as address:
            stream = posts(asking, address, "/v1/chat/completions", chat(stream=True))
            assert gate.begun.wait(10)
            whole = posts(asking, address, "/v1/chat/completions", chat())
            wait(lambda: service.engine.waiting_count == 1)
            monkeypatch.setattr(service.engine.rag, "search", lambda *_, **__: ended.wait(20))
            search = posts(asking, address, "/v1/search", {"text": "storks"})
            wait(lambda: service.engine.call_count == 1)
            begun = time.monotonic()
        assert time.monotonic() - begun < 5  # uvicorn did not have to cancel anything
        ended.set()
        for sent in (whole, search):
            assert sent.result().status_code == 503 and sent.result().json() == {"error": CLOSING}
            assert sent.result().headers["retry-after"] == "5"
        assert stream.result().status_code == 200
        *_, last = stream.result().text.strip().splitlines()
        assert json.loads(last.removeprefix("data: ")) == {"error": CLOSING}


def test_a_body_that_does_not_end_is_told_too(make, monkeypatch) -> None:
    monkeypatch.setattr("rag_vqa.server.app.NOTICE_SECONDS", 0)
    head = "POST /v1/search HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 99\r\n"
    with running(make(), stop_seconds=1) as address:
        host, _, port = address.removeprefix("http://").partition(":")
        one = socket.create_connection((host, int(port)), timeout=20)
        one.sendall(f"{head}Host: {host}\r\n\r\n{{".encode())
        time.sleep(0.2)
    told = b"".join(iter(lambda: one.recv(4096), b""))
    one.close()
    assert told.startswith(b"HTTP/1.1 503") and b"application/json" in told, told
    assert json.loads(told.partition(b"\r\n\r\n")[2]) == {"error": CLOSING}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_the_process_waits_for_no_reader_elsewhere(birds, number, code) -> None:
    slow = threading.Event()

    def plan(body: Any, tries: int) -> str:
        if QUESTION not in json.dumps(body):  # the warm-up
            return "ok"
        slow.set()
        return "hang"

    with OpenAiServer(plan) as elsewhere, ThreadPoolExecutor() as asking:
        program = [sys.executable, "-c", SERVE, "1", "serve", str(birds), "--port", "0",
                   "--reader", "served", "--server", elsewhere.address]  # fmt: skip
        path = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, sys.path)])
        serving = subprocess.Popen(
            program, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
        )
        assert serving.stderr is not None
        told = ""
        try:
            while not (found := re.search(r"(http://127\.0\.0\.1:\d+)/  ", told)):
                line = serving.stderr.readline()
                assert line, told
                told += line
            wait(lambda: ready(found[1]), 60)
            sent = posts(asking, found[1], "/v1/chat/completions", chat())
            assert slow.wait(20)
            begun = time.monotonic()
            serving.send_signal(number)
            assert serving.wait(20) == code
            seconds = time.monotonic() - begun
            told += serving.stderr.read()
        finally:
            serving.kill()
            serving.communicate()
    assert sent.result().status_code == 503 and sent.result().json() == {"error": CLOSING}
    assert 1 <= seconds < 6, told
    assert "Traceback" not in told and "leaked" not in told
    assert sorted(file.name for file in Path(birds).glob("kb.sqlite*")) == ["kb.sqlite"]


def ready(address: str) -> bool:
    try:
        return httpx.get(f"{address}/ready").status_code == 200
    except httpx.TransportError:
        return False
