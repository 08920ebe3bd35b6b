"""`/v1/documents`: add, look at, delete; and the pictures of documents, each as a new file.

It knows ids as they stand in an address, and what is said of a document. What adding means is the
knowledge base's matter; nothing here names a file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from rag_vqa.errors import Locked
from rag_vqa.server.asked import DocumentGiven, DocumentsRequest
from rag_vqa.server.budgets import MAX_DOCUMENT_IMAGES
from rag_vqa.server.failures import Refused, json_response
from rag_vqa.server.hits import document_json
from rag_vqa.server.service import Service
from rag_vqa.server.uploads import shown, upload
from rag_vqa.types import Document

_WRITING = "Another process writes the knowledge base just now: try again."
_Number = Annotated[int, Query(ge=0, lt=10 * MAX_DOCUMENT_IMAGES)]


def router(service: Service) -> APIRouter:
    """The routes."""
    routes = APIRouter()
    engine = service.engine

    @routes.post("/v1/documents")
    async def add(asked: DocumentsRequest) -> Response:
        refused: list[dict[str, Any]] = []
        documents = []
        for given in asked.documents:
            try:
                documents.append(await _document(given, service))
            except Refused as error:
                refused.append({"id": given.id, "reason": error.message})
        report = await _written(engine.add(documents))
        refused += [{"id": each.id, "reason": each.reason} for each in report.rejected]
        taken = report.added + report.replaced
        unchanged = len(documents) - taken - len(report.rejected)
        return json_response({"added": taken, "unchanged": unchanged, "rejected": refused})

    @routes.delete("/v1/documents/{id}")
    async def delete(id: str) -> Response:
        return json_response({"deleted": await _written(engine.delete([_named(id)]))})

    @routes.get("/v1/documents/{id}")
    async def get(id: str) -> Response:
        return json_response(document_json(await _found(id)))

    @routes.get("/v1/documents/{id}/image")
    async def image(id: str, request: Request, n: _Number = 0) -> Response:
        document = await _found(id)
        if n >= len(document.images):
            raise Refused(404, "The document has no such picture.")
        source = document.images[n]
        # A stored picture is named by the hash of its bytes.
        tag = f'"{Path(str(source)).name}"' if isinstance(source, (str, Path)) else ""
        headers = {"Cache-Control": "private, no-cache"} | ({"ETag": tag} if tag else {})
        if tag and request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        data, kind = await shown(source)
        return Response(data, 200, headers, kind)

    async def _found(id: str) -> Document:
        document: Document | None = await engine.get(_named(id))
        if document is None:
            raise Refused(404, "There is no document of that id.")
        return document

    return routes


def _named(encoded: str) -> str:
    """The id that a part of an address names: percent-encoded, slashes too."""
    try:
        return unquote(encoded, errors="strict")
    except UnicodeDecodeError as error:
        raise Refused(400, "The id in the address is not UTF-8.") from error


async def _document(given: DocumentGiven, service: Service) -> Document:
    pictures = enumerate(given.images)
    images = [await upload(service.engine, each, f"images[{n}]") for n, each in pictures]
    fields = given.model_dump(exclude={"images"})
    return Document(**fields, images=tuple(image.data for image in images if image))


async def _written(work: Any) -> Any:
    try:
        return await work
    except Locked as error:
        raise Refused(409, _WRITING, "busy", 2.0) from error
