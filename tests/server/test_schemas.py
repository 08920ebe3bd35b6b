"""Request bodies: every field is used, or refused with our own message."""

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


@pytest.mark.parametrize(
    ("option", "value"), [("k", 3), ("instruction", "Find it."), ("where", {"lang": "de"})]
)
def test_what_is_of_retrieval_is_refused_where_there_is_none(make, option, value) -> None:
    with client(make()) as asking:
        asked = chat(rag_vqa={"retrieval": False, option: value})
        response = asking.post("/v1/chat/completions", json=asked)
        assert response.status_code == 400 and f"rag_vqa.{option} " in response.text
        asked = chat(rag_vqa={"retrieval": False, "k": 0})
        assert asking.post("/v1/chat/completions", json=asked).status_code == 200


@pytest.mark.parametrize(
    ("content", "told"),
    [([{"type": "input_audio"}], "parts 'text', 'image_url'"),
     ([{"type": "text", "text": "x"}] * 65, "at most 64 items"),
     ([{"type": "image_url", "image_url": {"url": 3}}], "image_url.url: Input should be a valid"),
     ([{"type": "image_url"}], "image_url: Field required"), (3, "a valid string")],
)  # fmt: skip
def test_what_is_wrong_with_a_part_is_told_of_that_part(make, content, told) -> None:
    with client(make()) as asking:
        body = chat() | {"messages": [{"role": "user", "content": content}]}
        message = asking.post("/v1/chat/completions", json=body).json()["error"]["message"]
        assert message.startswith("messages.0.user.content") and "constrained" not in message
        for part in told.removeprefix("parts ").split(", "):
            assert part in message


@pytest.mark.parametrize(("stop", "told"), [(["a"] * 5, "at most 4 items"), (3, "valid string"),
                                            (["a", ""], "stop.list.1: String")])  # fmt: skip
def test_what_is_wrong_with_a_stop_is_told(make, stop, told) -> None:
    with client(make()) as asking:
        message = asking.post("/v1/chat/completions", json=chat(stop=stop)).json()["error"]
        assert told in message["message"] and "constrained" not in message["message"]


@pytest.mark.parametrize("path", ["/v1/search", "/v1/prompt"])
def test_a_search_of_who_went_away_is_not_made(make, monkeypatch, path) -> None:
    service, gate, asked = make(), threading.Event(), []
    rag, name = service.engine.rag, "search" if path == "/v1/search" else "retrieve"
    search = getattr(rag, name)

    def held(what, *rest, **more):
        asked.append(what if isinstance(what, str) else what[0].text)
        assert gate.wait(20)
        return search(what, *rest, **more)

    with running(service) as address:
        monkeypatch.setattr(rag, name, held)
        host, _, port = address.removeprefix("http://").partition(":")
        clients = []
        for text in ("stays", "goes"):
            body = json.dumps({"text": text} if name == "search" else chat(text)).encode()
            head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n"
            one = socket.create_connection((host, int(port)), timeout=20)
            one.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)
            clients.append(one)
            calls = len(clients)
            wait(lambda calls=calls: service.engine.call_count == calls)
        clients[1].close()
        wait(lambda: service.engine.call_count == 1)
        gate.set()
        assert clients[0].recv(4096).startswith(b"HTTP/1.1 200")
        clients[0].close()
    assert asked == ["stays"]
