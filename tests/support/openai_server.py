"""An OpenAI-compatible server in this process that answers as it is told to, or misbehaves.

`plan(body, tries)` says what happens to a request: "ok", "429", "500", "400", "cut", "hang",
"empty", "other" (another answer), "endless", "page" (of HTML), or a dict, which is sent as it is,
with its "status". `tries` counts requests with the same last text, from 0.
"""

import json
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from rag_vqa.types import Prompt, TextPart

Plan = Callable[[dict[str, Any], int], Any]


def question(body: dict[str, Any]) -> str:
    """The last text of a request."""
    content = body["messages"][-1]["content"]
    if isinstance(content, str):
        return content
    return next(part["text"] for part in reversed(content) if part["type"] == "text")


def answer(text: str) -> str:
    """What the server says to a question."""
    return f"answer to {text}"


class OpenAiServer:
    """Runs while it is entered; `requests` holds (path, headers, body) of each."""

    def __init__(self, plan: Plan = lambda body, tries: "ok", key: str = "") -> None:
        self.plan, self.key = plan, key
        self.requests: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.tries: Counter[str] = Counter()
        self.closing = threading.Event()
        self.cancelled = 0
        self.lock: AbstractContextManager[Any] = threading.Lock()

    def __enter__(self) -> "OpenAiServer":
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self.port = self._http.server_port
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """No more connections, and those that hang are let go; once."""
        if self.closing.is_set():
            return
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def next_step(self, path: str, headers: dict[str, str], body: dict[str, Any]) -> Any:
        with self.lock:
            self.requests.append((path, headers, body))
            text = question(body)
            self.tries[text] += 1
            return self.plan(body, self.tries[text] - 1)


def _handler(server: OpenAiServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_: object) -> None: ...

        def do_GET(self) -> None:
            self.send({"object": "list", "data": [{"id": "served", "object": "model"}]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            headers = {name.lower(): value for name, value in self.headers.items()}
            if server.closing.is_set():  # a process that died answers on no connection
                self.close_connection = True
                return
            step = server.next_step(self.path, headers, body)
            sent = headers.get("authorization", "")
            if server.key and sent != f"Bearer {server.key}":
                self.send({"error": {"message": f"Incorrect API key: {sent}"}}, 401)
            elif isinstance(step, dict):
                self.send(step, step.pop("status", 200))
            elif step in ("429", "500", "400"):
                self.send({"error": {"message": f"this is {step}"}}, int(step))
            elif step == "page":
                self.send("<p>hello</p>", kind="text/html")
            elif step == "hang":
                server.closing.wait()
                self.close_connection = True
            elif body.get("stream"):
                with suppress(BrokenPipeError, ConnectionResetError):
                    self.stream(body, step)
                    return
                server.cancelled += 1
            else:
                self.whole(body, step)

        def send(
            self, content: Any, status: int = 200, cut: bool = False, kind: str = "application/json"
        ) -> None:
            data = content.encode() if isinstance(content, str) else json.dumps(content).encode()
            self.send_response(status)
            if status == 429:
                self.send_header("Retry-After", "0.1")
            if status == 302:
                self.send_header("Location", content["location"])
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2] if cut else data)
            self.close_connection = cut

        def text(self, body: dict[str, Any], step: str) -> str:
            texts = {"empty": "", "other": "nothing of the kind"}
            return texts.get(step, answer(question(body)))

        def whole(self, body: dict[str, Any], step: str) -> None:
            text = self.text(body, step)
            message = {"role": "assistant", "content": text}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            usage = {"prompt_tokens": 7, "completion_tokens": len(text.split()), "total_tokens": 9}
            self.send(
                {"id": "1", "object": "chat.completion", "created": 1, "model": "served",
                 "choices": [choice], "usage": usage},
                cut=step == "cut",
            )  # fmt: skip

        def stream(self, body: dict[str, Any], step: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            text = self.text(body, step)
            words = ["word"] * 100_000 if step == "endless" else text.split(" ") if text else []
            for number, word in enumerate(words):
                if step == "cut" and number == 2:
                    self.close_connection = True
                    return
                self.piece({"delta": {"content": f" {word}" if number else word}})
            self.piece({"delta": {}, "finish_reason": "stop"})
            counts = {"prompt_tokens": 7, "completion_tokens": len(words), "total_tokens": 9}
            self.chunk({"choices": [], "usage": counts})
            self.event("[DONE]")
            self.wfile.write(b"0\r\n\r\n")

        def piece(self, choice: dict[str, Any]) -> None:
            self.chunk({"choices": [{"index": 0, "finish_reason": None, **choice}]})

        def chunk(self, content: dict[str, Any]) -> None:
            head = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "served"}
            self.event(json.dumps(head | content))

        def event(self, data: str) -> None:
            line = f"data: {data}\n\n".encode()
            self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")

    return Handler


def text_prompt(text: str) -> Prompt:
    return Prompt((TextPart("Answer.", trusted=True, role="system"), TextPart(text)))


def row_prompts(count: int) -> list[Prompt]:
    return [text_prompt(f"row {number}") for number in range(count)]


def asked_questions(server: OpenAiServer) -> list[str]:
    return [question(body) for _, _, body in server.requests]
