"""Knowledge base routes: search it, explain a match, add, show and delete documents, send pictures.

Knows request and response shapes, and ids in addresses. Does not know how documents are found or
stored (the retriever does), nor when (the engine does); it never reveals a file name. An
explanation costs several searches, so a public server requires the token for it.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote

from fastapi import APIRouter, Request
from fastapi import Query as QueryParameter
from starlette.responses import Response

from rag_vqa.errors import Locked
from rag_vqa.server.error_responses import ApiError, json_response
from rag_vqa.server.request_limits import MAX_DOCUMENT_IMAGES
from rag_vqa.server.schemas import (
    AddDocumentsRequest,
    ExplainRequest,
    NewDocument,
    SearchRequest,
    document_response,
    hit_response,
)
from rag_vqa.server.service import Service, cancel_on_disconnect
from rag_vqa.server.uploads import display_image, open_data_url, question_image
from rag_vqa.types import Document, Query

_DEFAULT_K = 5  # if neither the request nor the server says how many documents
_KB_LOCKED = "Another process is writing to the knowledge base: try again."
_ImageNumber = Annotated[int, QueryParameter(ge=0, lt=10 * MAX_DOCUMENT_IMAGES)]


def search_routes(service: Service) -> APIRouter:
    """Search and explain."""
    routes = APIRouter()
    engine = service.engine

    @routes.post("/v1/search")
    async def search(body: SearchRequest, request: Request) -> Response:
        query = await cancel_on_disconnect(request, _to_query(body, request, service))
        start = time.perf_counter()
        k = body.k or service.k or _DEFAULT_K
        hits = await cancel_on_disconnect(request, engine.search(query, k, body.where))
        seconds = {"retrieve": time.perf_counter() - start}
        notice = {} if hits else await service.notice(body.where)
        content = {"hits": [hit_response(hit) for hit in hits], "seconds": seconds}
        return json_response(content | notice)

    @routes.post("/v1/explain")
    async def explain(body: ExplainRequest, request: Request) -> Response:
        query = await cancel_on_disconnect(request, _to_query(body, request, service))
        stored = await engine.run_in_retriever(partial(engine.rag.kb.show, body.document))
        passages = [] if stored is None else stored.passages
        passage = next((each for each in passages if each.position == body.position), None)
        if passage is None:
            raise ApiError(404, "There is no such document, or no such passage of it.")
        work = engine.run_in_retriever(partial(engine.rag.explain, query, passage))
        explanation = await cancel_on_disconnect(request, work)
        return json_response(asdict(explanation))

    return routes


async def _to_query(
    body: SearchRequest | ExplainRequest, request: Request, service: Service
) -> Query:
    if not body.text.strip() and not body.image:
        raise ApiError(400, "The query is empty: give a text, an image, or both.")
    image = await question_image(service, request, body.image, "image")
    return Query(body.text, image and image.data, body.instruction)


def document_routes(service: Service) -> APIRouter:
    """Add, delete and show documents, and send their pictures."""
    routes = APIRouter()
    engine = service.engine

    @routes.post("/v1/documents")
    async def add(body: AddDocumentsRequest) -> Response:
        rejected: list[dict[str, Any]] = []
        documents = []
        for new in body.documents:
            try:
                documents.append(await _to_document(new, service))
            except ApiError as error:
                rejected.append({"id": new.id, "reason": error.message})
        report = await _await_write(engine.add(documents))
        rejected += [{"id": each.id, "reason": each.reason} for each in report.rejected]
        added = report.added + report.replaced
        unchanged = len(documents) - added - len(report.rejected)
        return json_response({"added": added, "unchanged": unchanged, "rejected": rejected})

    @routes.delete("/v1/documents/{id}")
    async def delete(id: str) -> Response:
        return json_response({"deleted": await _await_write(engine.delete([_decode_id(id)]))})

    @routes.get("/v1/documents/{id}")
    async def get(id: str) -> Response:
        return json_response(document_response(await find_document(id)))

    @routes.get("/v1/documents/{id}/image")
    async def image(id: str, request: Request, n: _ImageNumber = 0) -> Response:
        document = await find_document(id)
        if n >= len(document.images):
            raise ApiError(404, "The document has no such picture.")
        source = document.images[n]
        # The file name of a stored picture is the hash of its bytes.
        tag = f'"{Path(str(source)).name}"' if isinstance(source, (str, Path)) else ""
        headers = {"Cache-Control": "private, no-cache"} | ({"ETag": tag} if tag else {})
        if tag and request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        data, media_type = await display_image(source)
        return Response(data, 200, headers, media_type)

    async def find_document(id: str) -> Document:
        document: Document | None = await engine.get(_decode_id(id))
        if document is None:
            raise ApiError(404, "There is no document with this id.")
        return document

    return routes


def _decode_id(encoded: str) -> str:
    """The id in a part of an address, where everything is percent-encoded, even slashes."""
    try:
        return unquote(encoded, errors="strict")
    except UnicodeDecodeError as error:
        raise ApiError(400, "The id in the address is not UTF-8.") from error


async def _to_document(new: NewDocument, service: Service) -> Document:
    urls = enumerate(new.images)
    images = [await open_data_url(service.engine, url, f"images[{n}]") for n, url in urls]
    fields = new.model_dump(exclude={"images"})
    return Document(**fields, images=tuple(image.data for image in images if image))


async def _await_write(work: Any) -> Any:
    try:
        return await work
    except Locked as error:
        raise ApiError(409, _KB_LOCKED, "busy", 2.0) from error
