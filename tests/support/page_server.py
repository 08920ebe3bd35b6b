"""A fake server for the page: answers by the HTTP contract with what the test prepares.

It knows routes and canned answers, and runs beside the test in a thread. No model, no search.
"""

import asyncio
import io
import json
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

import rag_vqa.server

PAGE = Path(rag_vqa.server.__file__).parent / "page"
# Stricter than a server need be: nothing but its own files, and no markup out of strings.
POLICY = "; ".join(
    (
        "default-src 'self'", "base-uri 'none'", "form-action 'none'", "object-src 'none'",
        "frame-ancestors 'none'", "require-trusted-types-for 'script'",
    )
)  # fmt: skip


def picture(colour: str = "teal", size: tuple[int, int] = (120, 80)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def hit(rank: int, **document: Any) -> dict[str, Any]:
    id_ = document.get("id", f"d/{rank}")
    whole = {
        "id": id_, "title": f"Title {rank}", "section": "People",
        "text": f"Text of document {rank}.", "url": "", "parent": "", "metadata": {},
        "images": [f"/v1/documents/{id_.replace('/', '%2F')}/image?n=0"], **document,
    }  # fmt: skip
    passage = {"text": whole["text"][:200], "position": 0, "image": None}
    score = {"score": 30.0 - rank, "scores": {"ret": 30.0 - rank}}
    return {"rank": rank, **score, "document": whole, "passage": passage}


def traced(*places: list[dict[str, Any]]) -> dict[str, Any]:
    """Words and patches of the query, then of the document, as an explanation has them."""
    names = ("query_words", "query_patches", "document_words", "document_patches")
    return dict(zip(names, places, strict=True))


def explanation(
    whole: dict[str, Any], pairs: list[dict[str, Any]], query_text: str, document_text: str
) -> dict[str, Any]:
    texts = {"query_text": query_text, "document_text": document_text}
    return {"score": 29.0, "approximate": True, "pairs": pairs, **texts, **whole}


OFFERED = {"id": "jm", "question": "What is the capital of this country?"}
OFFERED["image"] = "/v1/gallery/0"


@dataclass
class Canned:
    """The server's answers; a test changes them before the page asks."""

    hits: list[dict[str, Any]] = field(default_factory=lambda: [hit(1), hit(2), hit(3)])
    says: str = "Kingston [1], not [9]."
    guess: str = "Montego Bay."  # without documents
    thinks: str = ""
    rest: dict[str, Any] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)
    explanation: dict[str, Any] = field(default_factory=dict)
    held: int | None = None  # after this many words the answer waits until the client leaves
    busy: int = 0  # number of questions to refuse
    loading: int = 0  # number of requests to answer while models load
    token: str = ""
    broken: bool = False  # the stream ends in the middle
    late_error: str = ""  # the stream says so in the middle
    error: str = ""
    code: str = ""  # of the error
    cut: bool = False  # the stream ends within an event
    requests: list[tuple[str, Any]] = field(default_factory=list)
    pictures: dict[str, bytes] = field(default_factory=dict)
    policy: str = POLICY
    gone: int = 0  # streams whose client left

    def about(self) -> dict[str, Any]:
        return {
            "name": "flags", "version": "0.1.0", "documents": 894, "retriever": "demo",
            "reader": {"name": "demo reader", "servers": []}, "k": 3, "public": False,
            "needs_token": bool(self.token), "log_questions": None, "feedback": False,
            "gallery": [OFFERED],
            "max_upload_bytes": 10_000_000, "max_pixels": 64_000_000,
            "command": "rag-vqa ask flags.kb",
            "trusted": not self.info.get("public"), **self.info,
        }  # fmt: skip

    async def events(self, retrieval: bool, prompt: bool) -> AsyncIterator[str]:
        def event(choice: dict[str, Any], **more: Any) -> str:
            chunk = {"object": "chat.completion.chunk", "choices": [{"index": 0, **choice}]}
            return f"data: {json.dumps({**chunk, **more})}\n\n"

        finished = False
        try:
            hits = {"hits": self.hits if retrieval else []}
            yield event({"delta": {"role": "assistant"}}, rag_vqa=hits)
            words = self.says.split(" ") if retrieval else self.guess.split(" ")
            for place, word in enumerate(words):
                if place == self.held:
                    await asyncio.sleep(3600)
                if self.broken and place == 1:
                    finished = True
                    return
                if self.cut and place == 1:
                    yield 'data: {"choices"\n\n'
                    finished = True
                    return
                if self.late_error and place == 1:
                    yield f"data: {json.dumps({'error': {'message': self.late_error}})}\n\n"
                    finished = True
                    return
                yield event({"delta": {"content": f" {word}" if place else word}})
            if self.thinks:
                yield event({"delta": {"reasoning_content": self.thinks}})
            rest: dict[str, Any] = {
                "citations": [1] if retrieval else [], "invalid_citations": [], "finish": "stop",
                "seconds": {"retrieve": 0.038, "read": 1.94}, "dropped": {}, "id": "a1",
                **({"prompt": "<user>The question</user>"} if prompt else {}), **self.rest,
            }  # fmt: skip
            yield event({"delta": {}, "finish_reason": rest["finish"]}, rag_vqa=rest)
            yield "data: [DONE]\n\n"
            finished = True
        finally:
            self.gone += not finished


@dataclass
class Stage:
    """A server that runs for many tests, and its current answers."""

    canned: Canned = field(default_factory=Canned)
    address: str = ""


def app(stage: Stage) -> Starlette:
    def error(status: int, message: str, **headers: str) -> Response:
        code = stage.canned.code or None
        body = {"error": {"message": message, "type": "refused", "code": code}}
        return JSONResponse(body, status, headers=headers)

    def route(path: str, answer: Callable[[Request], Awaitable[Response]], *methods: str) -> Route:
        async def guarded(request: Request) -> Response:
            canned = stage.canned
            if canned.loading > 0:
                canned.loading -= 1
                return error(503, "the models are loading", **{"Retry-After": "1"})
            if canned.token and request.headers.get("authorization") != f"Bearer {canned.token}":
                return error(401, "a token is needed")
            return await answer(request)

        return Route(path, guarded, methods=list(methods) or ["GET"])

    async def chat(request: Request) -> Response:
        canned = stage.canned
        body = await request.json()
        canned.requests.append(("chat", body))
        if canned.busy > 0:
            canned.busy -= 1
            return error(429, "the queue is full", **{"Retry-After": "1"})
        if canned.error:
            return error(500, canned.error)
        events = canned.events(body["rag_vqa"]["retrieval"], body["rag_vqa"]["prompt"])
        return StreamingResponse(events, media_type="text/event-stream")

    async def explain(request: Request) -> Response:
        stage.canned.requests.append(("explain", await request.json()))
        return JSONResponse(stage.canned.explanation)

    async def feedback(request: Request) -> Response:
        stage.canned.requests.append(("feedback", await request.json()))
        return JSONResponse({"noted": True})

    async def info(request: Request) -> Response:
        return JSONResponse(stage.canned.about())

    async def image(request: Request) -> Response:
        data = stage.canned.pictures.get(request.url.path.rpartition("/v1/")[2], picture())
        return Response(data, media_type="image/png")

    return Starlette(
        routes=[
            Route("/", lambda request: FileResponse(PAGE / "index.html")),
            Mount("/static", StaticFiles(directory=PAGE)),
            route("/v1/chat/completions", chat, "POST"),
            route("/v1/explain", explain, "POST"),
            route("/v1/feedback", feedback, "POST"),
            route("/v1/info", info),
            route("/v1/documents/{id:path}/image", image),
            route("/v1/gallery/{id}", image),
        ]
    )


class _Policy:
    """The headers that matter to a page."""

    def __init__(self, inner: Any, stage: Stage):
        self.inner = inner
        self.stage = stage

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                policy = (b"content-security-policy", self.stage.canned.policy.encode())
                message["headers"] += [policy, (b"x-content-type-options", b"nosniff")]
            await send(message)

        await self.inner(scope, receive, sending)


@contextmanager
def served() -> Iterator[Stage]:
    """The page at an address of this machine, and once more below its path `x/`."""
    stage = Stage()
    inner = app(stage)
    both = Starlette(routes=[Mount("/x", inner), Mount("/", inner)])
    config = uvicorn.Config(
        _Policy(both, stage), port=0, log_level="critical", ws="none", lifespan="off"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 10
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.005)
    stage.address = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    try:
        yield stage
    finally:
        server.should_exit = server.force_exit = True
        thread.join(10)
