"""What a request may say: refused in our words, and nothing is passed over."""

import json
import socket
import threading

import pytest
from served import chat, client, running, wait


def test_what_was_sent_is_not_repeated(make) -> None:
    with client(make()) as asking:
        body = {"messages": [{"role": "SECRETROLE", "content": "x"}]}
        response = asking.post("/v1/chat/completions", json=body)
        assert response.status_code == 400 and "SECRETROLE" not in response.text
        assert "'user'" in response.text  # what is known
        body = chat() | {"messages": [{"role": "user", "content": [{"type": "SECRETTYPE"}]}]}
        assert "SECRETTYPE" not in asking.post("/v1/chat/completions", json=body).text


@pytest.mark.parametrize(
    "more", [{"tool_choice": "none"}, {"tool_choice": "auto"}, {"reasoning_effort": "low"}]
)
def test_what_asks_for_nothing_is_taken(make, more) -> None:
    with client(make()) as asking:
        assert asking.post("/v1/chat/completions", json=chat(**more)).status_code == 200
        assert asking.post("/v1/chat/completions", json=chat(tool_choice="required")).is_error


def test_a_filter_of_documents_that_are_not_looked_for_is_refused(make) -> None:
    service = make()
    service.engine.rag.k = 0
    with client(service) as asking:
        asked = chat(rag_vqa={"where": {"lang": "de"}})
        response = asking.post("/v1/chat/completions", json=asked)
        assert response.status_code == 400 and "where" in response.text


def test_a_search_of_who_went_away_is_not_made(make, monkeypatch) -> None:
    service, gate, asked = make(), threading.Event(), []
    search = service.engine.rag.search

    def held(text, *rest, **more):
        asked.append(text)
        assert gate.wait(20)
        return search(text, *rest, **more)

    with running(service) as address:
        monkeypatch.setattr(service.engine.rag, "search", held)
        host, _, port = address.removeprefix("http://").partition(":")
        clients = []
        for text in ("stays", "goes"):
            body = json.dumps({"text": text}).encode()
            head = f"POST /v1/search HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n"
            one = socket.create_connection((host, int(port)), timeout=20)
            one.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)
            clients.append(one)
            calls = len(clients)
            wait(lambda calls=calls: len(service.engine._calls) == calls)
        clients[1].close()
        wait(lambda: len(service.engine._calls) == 1)
        gate.set()
        assert clients[0].recv(4096).startswith(b"HTTP/1.1 200")
        clients[0].close()
    assert asked == ["stays"]
