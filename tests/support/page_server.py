"""A server that answers as the HTTP contract says, out of what a test gives it: for the page.

It knows routes and canned answers, and runs beside the test in a thread. No model, no search.
"""

import asyncio
import io
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
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
        "id": id_, "title": f"Title {rank}", "section": "People", "text": f"Text of document {rank}.",
        "url": "", "parent": "", "metadata": {},
        "images": [f"/v1/documents/{id_.replace('/', '%2F')}/image?n=0"], **document,
    }  # fmt: skip
    passage = {"text": whole["text"][:200], "position": 0, "image": None}
    score = 30.0 - rank
    return {
        "rank": rank,
        "score": score,
        "scores": {"ret": score},
        "document": whole,
        "passage": passage,
    }


@dataclass
class Canned:
    """What the server says; a test changes it before it asks."""

    hits: list[dict[str, Any]] = field(default_factory=lambda: [hit(1), hit(2), hit(3)])
    says: str = "Kingston [1], not [9]."
    rest: dict[str, Any] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)
    explanation: dict[str, Any] = field(default_factory=dict)
    pause: float = 0.0  # seconds before each word
    busy: int = 0  # so many questions are refused for now
    token: str = ""
    broken: bool = False  # the stream ends in the middle
    error: str = ""
    requests: list[tuple[str, Any]] = field(default_factory=list)
    pictures: dict[str, bytes] = field(default_factory=dict)
    policy: str = POLICY
    gone: int = 0  # streams whose client left

    def about(self) -> dict[str, Any]:
        return {
            "name": "flags", "version": "0.1.0", "documents": 894, "retriever": "demo",
            "reader": {"name": "demo reader", "servers": []}, "k": 3, "public": False,
            "needs_token": bool(self.token), "log_questions": None, "feedback": False,
            "gallery": [
                {"id": "jm", "question": "What is the capital of this country?", "image": "/v1/gallery/jm"}
            ],
            "max_upload_bytes": 10_000_000, "max_pixels": 64_000_000,
            "command": "rag-vqa ask flags.kb", **self.info,
        }  # fmt: skip

    async def events(self, retrieval: bool, prompt: bool) -> AsyncIterator[str]:
        def event(choice: dict[str, Any], **more: Any) -> str:
            chunk = {"object": "chat.completion.chunk", "choices": [{"index": 0, **choice}]}
            return f"data: {json.dumps({**chunk, **more})}\n\n"

        finished = False
        try:
            hits = {"hits": self.hits if retrieval else []}
            await asyncio.sleep(self.pause)
            yield event({"delta": {"role": "assistant"}}, rag_vqa=hits)
            words = self.says.split(" ") if retrieval else ["Montego", "Bay."]
            for place, word in enumerate(words):
                await asyncio.sleep(self.pause)
                if self.broken and place == 1:
                    finished = True
                    return
                yield event({"delta": {"content": f" {word}" if place else word}})
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
    """A server that runs for many tests, and what it says just now."""

    canned: Canned = field(default_factory=Canned)
    address: str = ""


def app(stage: Stage) -> Starlette:
    def error(status: int, message: str, **headers: str) -> Response:
        body = {"error": {"message": message, "type": "refused", "code": None}}
        return JSONResponse(body, status, headers=headers)

    def barred(request: Request) -> bool:
        return (
            bool(stage.canned.token)
            and request.headers.get("authorization") != f"Bearer {stage.canned.token}"
        )

    async def chat(request: Request) -> Response:
        body = await request.json()
        stage.canned.requests.append(("chat", body))
        if barred(request):
            return error(401, "a token is needed")
        if stage.canned.busy > 0:
            stage.canned.busy -= 1
            return error(429, "the queue is full", **{"Retry-After": "1"})
        if stage.canned.error:
            return error(500, stage.canned.error)
        wanted = body["rag_vqa"]
        events = stage.canned.events(wanted["retrieval"], wanted["prompt"])
        return StreamingResponse(events, media_type="text/event-stream")

    async def explain(request: Request) -> Response:
        body = await request.json()
        stage.canned.requests.append(("explain", body))
        return (
            error(401, "a token is needed")
            if barred(request)
            else JSONResponse(stage.canned.explanation)
        )

    async def feedback(request: Request) -> Response:
        stage.canned.requests.append(("feedback", await request.json()))
        return error(401, "a token is needed") if barred(request) else JSONResponse({})

    async def info(request: Request) -> Response:
        return (
            error(401, "a token is needed")
            if barred(request)
            else JSONResponse(stage.canned.about())
        )

    async def image(request: Request) -> Response:
        if barred(request):
            return error(401, "a token is needed")
        data = stage.canned.pictures.get(request.url.path.rpartition("/v1/")[2], picture())
        return Response(data, media_type="image/png")

    routes = [
        Route("/", lambda request: FileResponse(PAGE / "index.html")),
        Mount("/static", StaticFiles(directory=PAGE)),
        Route("/v1/chat/completions", chat, methods=["POST"]),
        Route("/v1/explain", explain, methods=["POST"]),
        Route("/v1/feedback", feedback, methods=["POST"]),
        Route("/v1/info", info),
        Route("/v1/documents/{id:path}/image", image),
        Route("/v1/gallery/{id}", image),
    ]
    return Starlette(routes=routes)


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
