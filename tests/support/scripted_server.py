"""A server that answers chat completions as a case says, byte by byte.

A case is an object in tests/readers/servers/*.json (one, or a list):

- `server`: rules. The first one that fits a request answers it. `when` has `has` and `lacks`
  (fields of the body), `first` (the first n requests of this server), `server` (its number) and
  `stream`. A rule answers with `say` (a text or its pieces, whole or streamed as the request
  asks; beside it `finish`, `message`, `usage`, `logprobs`), `sse` (events: a text, or a delta
  with its `finish`), `body` (JSON) or `text`; with `status`, `headers` and `type`; `crlf`, `bom`,
  `gzip`; `cut` (bytes that are sent) and `promised` (bytes that are announced beyond them);
  `pieces_of` (bytes a packet).
- `want`: `text`, `finish`, `error_has`, `error_like`, `error_lacks`, `text_lacks`, `tokens_in`,
  `tokens_out`, `likeliest` (of yes and no), `requests_max`, `gap_min`, `seconds_max`; a list: any
  of them is right.
- `runs`: whole, stream, both with " line" (`stop_at_newline`), or choose; `calls`: how often.
"""

import gzip
import json
import re
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Rule = dict[str, Any]
USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
HEAD = {"id": "c1", "created": 1, "model": "m"}
DELTA = {"content", "reasoning", "reasoning_content", "role", "finish"}


class ScriptedServer:
    """Runs while it is entered; `requests` holds the bodies that it got."""

    def __init__(self, rules: list[Rule], number: int = 0) -> None:
        self.requests: list[dict[str, Any]] = []
        self._rules, self._number, self._lock = rules, number, threading.Lock()

    def __enter__(self) -> "ScriptedServer":
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._http.server_port}/v1"
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def pick(self, body: dict[str, Any]) -> Rule:
        """The rule that answers this request."""
        with self._lock:
            self.requests.append(body)
            count = len(self.requests)
        for rule in self._rules:
            when = rule.get("when", {})
            streams = bool(body.get("stream"))
            if (
                all(name in body for name in when.get("has", ()))
                and not any(name in body for name in when.get("lacks", ()))
                and count <= when.get("first", count)
                and when.get("server", self._number) == self._number
                and when.get("stream", streams) == streams
            ):
                return rule
        return {"status": 400, "body": {"error": {"message": "no rule of this case fits"}}}


def content_of(rule: Rule, body: dict[str, Any]) -> tuple[str, bytes]:
    """(type, bytes) of the answer, before anything happens to it on its way."""
    if "text" in rule:
        return "application/json", rule["text"].encode()
    if "sse" in rule:
        return "text/event-stream", b"".join(map(_event, rule["sse"]))
    if "body" in rule:
        return "application/json", json.dumps(rule["body"]).encode()
    pieces = rule["say"] if isinstance(rule["say"], list) else [rule["say"]]
    if body.get("stream"):
        return "text/event-stream", b"".join(_chunks(rule, pieces, body))
    text = None if pieces == [None] else "".join(pieces)
    message = {"role": "assistant", "content": text, **rule.get("message", {})}
    choice = {"index": 0, "message": message, "finish_reason": rule.get("finish", "stop")}
    if "logprobs" in rule:
        top = [{"token": token, "logprob": p, "bytes": None} for token, p in rule["logprobs"]]
        choice["logprobs"] = {"content": [{**top[0], "top_logprobs": top}]}
    whole = {**HEAD, "choices": [choice], "usage": rule.get("usage", USAGE)}
    return "application/json", json.dumps(whole).encode()


def _chunks(rule: Rule, pieces: list[Any], body: dict[str, Any]) -> Iterator[bytes]:
    message = [{name: value} for name, value in rule.get("message", {}).items()]
    for delta in [{"role": "assistant"}, *message, *({"content": piece} for piece in pieces)]:
        yield _choice(delta)
    yield _choice({}, rule.get("finish", "stop"))
    if (body.get("stream_options") or {}).get("include_usage"):
        yield _data({**HEAD, "choices": [], "usage": rule.get("usage", USAGE)})
    yield b"data: [DONE]\n\n"


def _event(event: Any) -> bytes:
    if isinstance(event, str):
        return event.encode()
    assert set(event) <= DELTA
    return _choice({n: v for n, v in event.items() if n != "finish"}, event.get("finish"))


def _choice(delta: dict[str, Any], finish: str | None = None) -> bytes:
    return _data({**HEAD, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})


def _data(chunk: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(chunk)}\n\n".encode()


def _handler(server: ScriptedServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_: object) -> None: ...

        def do_GET(self) -> None:
            self.answer({"body": {"data": [{"id": "m"}]}}, {})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.answer(server.pick(body), body)

        def answer(self, rule: Rule, body: dict[str, Any]) -> None:
            kind, data = content_of(rule, body)
            data = data.replace(b"\n", b"\r\n") if rule.get("crlf") else data
            data = b"\xef\xbb\xbf" + data if rule.get("bom") else data
            headers = {"Content-Type": rule.get("type", kind), **rule.get("headers", {})}
            if rule.get("gzip"):
                data, headers["Content-Encoding"] = gzip.compress(data), "gzip"
            data = data[: rule.get("cut", len(data))]
            self.send_response(rule.get("status", 200))
            for name, value in headers.items():
                self.send_header(name, _with_date(value))
            self.send_header("Content-Length", str(len(data) + rule.get("promised", 0)))
            self.end_headers()
            self.close_connection = "promised" in rule
            step = rule.get("pieces_of", len(data) or 1)
            for start in range(0, len(data), step):
                self.wfile.write(data[start : start + step])
                if step < len(data):  # so that each is a packet of its own
                    time.sleep(0.0005)

    return Handler


def _with_date(value: str) -> str:
    """{date+3}: three seconds from now."""
    later = re.fullmatch(r"\{date\+(\d+)\}", value)
    return formatdate(time.time() + int(later[1]), usegmt=True) if later else value
