"""What the server says about itself: info, gallery, health, readiness, metrics, and the page.

It knows routes without a question in them, and the one that takes an opinion of an answer.
"""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import Response

from rag_vqa.server.asked import FeedbackRequest
from rag_vqa.server.failures import Refused, json_response
from rag_vqa.server.metrics import metrics_text
from rag_vqa.server.service import Service
from rag_vqa.server.uploads import shown

PAGE = Path(__file__).parent / "page"
_KINDS = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".woff2": "font/woff2",
}


def standing_router(service: Service) -> APIRouter:
    """How the server is: these answer before the models are loaded."""
    routes = APIRouter()

    @routes.head("/health", include_in_schema=False)
    @routes.get("/health")
    async def health() -> Response:
        return json_response({"status": "ok"})

    @routes.head("/ready", include_in_schema=False)
    @routes.get("/ready")
    async def ready() -> Response:
        warm = service.engine.ready
        return json_response({"ready": warm}, 200 if warm else 503)

    @routes.get("/metrics")
    async def metrics() -> Response:
        text, kind = metrics_text(service.engine)
        return Response(text, 200, media_type=kind)

    return routes


def router(service: Service) -> APIRouter:
    """Info, gallery, and opinions."""
    routes = APIRouter()

    @routes.get("/v1/info")
    async def info(request: Request) -> Response:
        return json_response(await asyncio.to_thread(service.about, request.state.trusted))

    @routes.get("/v1/gallery/{number}")
    async def gallery(number: int) -> Response:
        if not 0 <= number < len(service.gallery):
            raise Refused(404, "There is no such picture.")
        data, kind = await shown(service.gallery[number].image)
        return Response(data, 200, {"Cache-Control": "private, max-age=3600"}, kind)

    @routes.post("/v1/feedback")
    async def feedback(asked: FeedbackRequest) -> Response:
        if service.log is None:
            raise Refused(404, "This server writes no questions down, and no opinions of answers.")
        if not await asyncio.to_thread(service.log.opinion, asked.id, asked.good):
            raise Refused(404, "There is no such answer, or there was an opinion of it already.")
        return json_response({"noted": True})

    return routes


def page_router() -> APIRouter:
    """The page and its files, read once: no request names a path of the disk."""
    routes = APIRouter(include_in_schema=False)
    files = {file.name: file for file in PAGE.iterdir() if file.suffix in _KINDS}
    contents = {name: file.read_bytes() for name, file in files.items()}
    tags = {name: f'"{hashlib.sha256(data).hexdigest()[:16]}"' for name, data in contents.items()}

    def sent(name: str, request: Request) -> Response:
        if name not in contents:
            raise Refused(404, "There is no such file.")
        headers = {"Cache-Control": "no-cache", "ETag": tags[name]}
        if request.headers.get("if-none-match") == tags[name]:
            return Response(status_code=304, headers=headers)
        return Response(contents[name], 200, headers, _KINDS[files[name].suffix])

    @routes.get("/")
    async def page(request: Request) -> Response:
        return sent("index.html", request)

    @routes.get("/static/{name}")
    async def static(name: str, request: Request) -> Response:
        return sent(name, request)

    return routes
