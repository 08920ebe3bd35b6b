"""Slow clients, with short deadlines."""

import json
import socket
import time

import pytest
from served import chat, running, wait

from rag_vqa.server import uvicorn_deadlines

HEAD = b"POST /v1/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"


@pytest.fixture
def short(monkeypatch) -> None:
    monkeypatch.setattr(uvicorn_deadlines, "SEND_CHECK_SECONDS", 0.4)
    monkeypatch.setattr(uvicorn_deadlines, "MIN_SEND_RATE", 1000)
    monkeypatch.setattr(uvicorn_deadlines, "READ_CHECK_SECONDS", 0.4)


def connect(address: str) -> socket.socket:
    host, _, port = address.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=10)


def is_cut(connection: socket.socket) -> bool:
    try:
        return connection.recv(4096) == b""
    except ConnectionResetError:
        return True


def trickle(connection: socket.socket, data: bytes, seconds: float = 5.0) -> bool:
    """Sends one byte at a time; True if the server disconnects."""
    end = time.monotonic() + seconds
    try:
        for byte in data:
            connection.sendall(bytes([byte]))
            time.sleep(0.02)
            if time.monotonic() > end:
                return False
    except (ConnectionResetError, BrokenPipeError):
        return True
    return is_cut(connection)


@pytest.mark.parametrize(
    "data",
    [b"", b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * 500,
     HEAD + b"Content-Length: 100000\r\n\r\n" + b" " * 500,
     HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 100],
    ids=["nothing", "headers", "body", "chunks"],
)  # fmt: skip
def test_who_sends_slowly_is_cut(make, short, data) -> None:
    with running(make()) as address, connect(address) as connection:
        assert trickle(connection, data)


def test_who_sends_steadily_is_not(make, short, monkeypatch) -> None:
    monkeypatch.setattr(
        uvicorn_deadlines, "MIN_SEND_RATE", 10
    )  # 50 bytes a second are more than that
    body = b'{"text": "nest"}' + b" " * 30
    with running(make()) as address, connect(address) as connection:
        connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body))
        for byte in body:
            connection.sendall(bytes([byte]))
            time.sleep(0.02)
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")


def test_who_waits_for_an_answer_is_not_cut(make, short, gate) -> None:
    with running(make(reader=gate)) as address, connect(address) as connection:
        body = json.dumps(chat()).encode()
        head = HEAD.replace(b"/v1/search", b"/v1/chat/completions")
        connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        wait(gate.begun.is_set)
        time.sleep(1.0)
        gate.opened.set()
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")


def test_a_second_request_has_its_own_time(make, short) -> None:
    with running(make()) as address, connect(address) as connection:
        for _ in range(4):
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            wait(lambda: b"ok" in connection.recv(4096))
            time.sleep(0.2)
        assert trickle(connection, b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * 500)


def test_who_reads_nothing_is_cut(make, short, birds, encoder) -> None:
    from rag_vqa.retriever.knowledge_base import KnowledgeBase

    with KnowledgeBase.open(birds, encoder) as kb:
        kb.add([{"id": "long", "text": "nest " * 200_000, "retrieval_text": "nest"}])
    service = make()
    with running(service) as address, connect(address) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        asked = b"GET /v1/documents/long HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        connection.sendall(asked * 8)  # 8 MB: more than the system takes for a client
        time.sleep(1.5)
        with pytest.raises(ConnectionResetError):
            for _ in range(100):
                connection.recv(2**20)


def test_a_refused_body_that_does_not_end_is_cut(make, monkeypatch) -> None:
    monkeypatch.setattr(uvicorn_deadlines, "MAX_BODY_BYTES", 2**18)
    with running(make()) as address, connect(address) as connection:
        connection.sendall(HEAD.replace(b"json", b"xml") + b"Transfer-Encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + b"x" * 2**16 + b"\r\n"
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            for _ in range(200):
                connection.sendall(chunk)
        connection.close()


def test_a_refused_upload_still_gets_its_answer(make) -> None:
    with running(make()) as address, connect(address) as connection:
        body = b" " * 2**20
        head = HEAD.replace(b"json", b"xml") + b"Content-Length: %d\r\n\r\n" % len(body)
        connection.sendall(head + body)
        assert connection.recv(4096).startswith(b"HTTP/1.1 415")
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        wait(lambda: b"HTTP/1.1 200" in connection.recv(4096))


@pytest.mark.parametrize("cut", ["stalls", "drags on"])
def test_what_came_fast_buys_no_time(make, short, monkeypatch, cut) -> None:
    if cut == "drags on":  # fast enough, and never done
        monkeypatch.setattr(uvicorn_deadlines, "MIN_SEND_RATE", 1)
        monkeypatch.setattr(uvicorn_deadlines, "REQUEST_SECONDS", 0.8)
    with running(make()) as address, connect(address) as connection:
        connection.sendall(HEAD + b"Content-Length: 1000000\r\n\r\n" + b" " * 900_000)
        begun = time.monotonic()
        assert trickle(connection, b" " * (1 if cut == "stalls" else 500))
        assert time.monotonic() - begun < 5
