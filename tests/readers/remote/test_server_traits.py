"""What a server has shown is remembered for it: refused parameters, thoughts that it opens."""

import json
import socket
import threading
from typing import Any

import pytest
from scripted_server import ScriptedServer

from rag_vqa.readers.remote.reader import RemoteReader
from rag_vqa.readers.remote.server_error import parse_error
from rag_vqa.readers.remote.server_traits import adapt, refused_parameters
from rag_vqa.types import Prompt, TextPart, Thinking

PROMPT = Prompt((TextPart("Which town is this?"),))
BODY = {"model": "m", "messages": [], "max_tokens": 9, "temperature": 0, "logprobs": True,
        "top_logprobs": 20, "stream": True, "stream_options": {}}  # fmt: skip


def test_a_request_is_adapted_step_by_step() -> None:
    assert adapt(BODY, ()) == BODY
    renamed = adapt(BODY, ("max_tokens",))
    assert (renamed.get("max_tokens"), renamed["max_completion_tokens"]) == (None, 9)
    assert not adapt(BODY, ("max_tokens", "max_completion_tokens")).keys() & {
        "max_tokens",
        "max_completion_tokens",
    }
    assert adapt(BODY, ("top_logprobs",))["top_logprobs"] == 5
    assert "top_logprobs" not in adapt(BODY, ("top_logprobs", "top_logprobs"))
    assert not adapt(BODY, ("stream",)).keys() & {"stream", "stream_options"}
    assert BODY["max_tokens"] == 9  # unchanged


@pytest.mark.parametrize("name", ["model", "messages", "logprobs"])
def test_what_a_request_cannot_do_without_is_not_left_out(name: str) -> None:
    error = parse_error({"error": {"message": f"{name} is not supported", "param": name}}, 400)
    assert refused_parameters(error, BODY) == ()


@pytest.mark.parametrize("status", [401, 403, 404, 429])
def test_errors_with_a_meaning_of_their_own_refuse_no_parameter(status: int) -> None:
    error = parse_error({"error": {"message": "temperature is not supported"}}, status)
    assert refused_parameters(error, BODY) == ()


def test_pydantics_details_in_a_message_are_read() -> None:
    """As vLLM wrote them in 0.8, in the message of an error without `param`."""
    message = "[{'type': 'extra_forbidden', 'loc': ('body', 'temperature'), 'msg': 'Extra inputs'}]"
    error = parse_error({"object": "error", "message": message, "code": 400}, 400)
    assert refused_parameters(error, BODY) == ("temperature",)


def test_a_refused_parameter_is_reported_once(caplog: Any) -> None:
    refusal = {"status": 400, "body": {"error": {"message": "no", "param": "temperature"}}}
    rules = [{"when": {"has": ["temperature"]}, **refusal}, {"say": "Porto"}]
    with ScriptedServer(rules) as server:
        reader = RemoteReader("m", [server.address], concurrency=1)
        assert [each.text for each in reader.generate([PROMPT] * 3)] == ["Porto"] * 3
    assert len(server.requests) == 4
    assert len(caplog.messages) == 1
    assert "does not take temperature: further requests do without" in caplog.messages[0]


@pytest.mark.parametrize(
    ("thinking", "effort"), [("off", "none"), ("on", None), ("low", "low"), ("high", "high")]
)
def test_how_much_to_think_is_asked_for(thinking: Thinking, effort: str | None) -> None:
    with ScriptedServer([{"say": "Porto"}]) as server:
        RemoteReader("m", [server.address], thinking=thinking).generate([PROMPT])
    [body] = server.requests
    on = thinking != "off"
    assert body["chat_template_kwargs"] == {"enable_thinking": on, "thinking": on}
    assert body.get("reasoning_effort") == effort


def test_a_server_that_opens_thoughts_is_known_after_its_first_stream() -> None:
    pieces: list[str] = []
    with ScriptedServer([{"say": ["A bridge, ", "a river.\n</think>\n\n", "Por", "to"]}]) as server:
        reader = RemoteReader("m", [server.address])
        [first] = reader.generate([PROMPT], lambda row, piece: None)
        [second] = reader.generate([PROMPT], lambda row, piece: pieces.append(piece))
    assert (first.text, first.finish) == ("", "failed")
    assert "</think>" in first.error
    assert (second.text, second.reasoning) == ("Porto", "A bridge, a river.")
    assert "".join(pieces) == "Porto"
    assert len(server.requests) == 2


def test_thoughts_are_kept_apart_and_counted() -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 40,
             "completion_tokens_details": {"reasoning_tokens": 38}}  # fmt: skip
    rule = {"say": "Porto", "message": {"reasoning": "A bridge."}, "usage": usage}
    with ScriptedServer([rule]) as server:
        [answer] = RemoteReader("m", [server.address]).generate([PROMPT])
    assert (answer.text, answer.reasoning) == ("Porto", "A bridge.")
    assert (answer.tokens_out, answer.reasoning_tokens) == (40, 38)


def test_a_stream_that_stays_open_behind_its_end_is_left(monkeypatch: Any) -> None:
    monkeypatch.setattr("rag_vqa.readers.remote.completion_request._LINGER", 0.05)
    listener = socket.create_server(("127.0.0.1", 0))
    done = threading.Event()
    threading.Thread(target=_answer_and_hang, args=(listener, done), daemon=True).start()
    address = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    try:
        reader = RemoteReader("m", [address], timeout=60, retries=0)
        [answer] = reader.generate([PROMPT], lambda row, piece: None)
    finally:
        done.set()
        listener.close()
    assert (answer.text, answer.finish, answer.error) == ("Porto", "stop", "")


def _answer_and_hang(listener: socket.socket, done: threading.Event) -> None:
    connection, _ = listener.accept()
    connection.recv(65536)
    choice = {"delta": {"content": "Porto"}, "finish_reason": "stop"}
    connection.sendall(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
        + f"data: {json.dumps({'choices': [choice]})}\n\n".encode()
    )
    done.wait(60)
    connection.close()
