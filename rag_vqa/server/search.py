"""`POST /v1/search` and `/v1/explain`: retrieval alone, and why something was found.

It knows what is sent and said. How documents are found is the retriever's matter, when the
engine's. An explanation takes as long as several searches: a public server keeps it for those who
hold the token.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from functools import partial

from fastapi import APIRouter, Request
from starlette.responses import Response

from rag_vqa.server.asked import ExplainRequest, SearchRequest
from rag_vqa.server.failures import Refused, json_response
from rag_vqa.server.hits import hit_json
from rag_vqa.server.presence import unless_gone
from rag_vqa.server.service import Service
from rag_vqa.server.uploads import picture_asked
from rag_vqa.types import Query

_USUAL = 5  # documents, where neither the request nor the server says how many


def router(service: Service) -> APIRouter:
    """The routes."""
    routes = APIRouter()

    @routes.post("/v1/search")
    async def search(asked: SearchRequest, request: Request) -> Response:
        query = await unless_gone(request, _query(asked, request, service))
        start = time.perf_counter()
        k = asked.k or service.k or _USUAL
        hits = await unless_gone(request, service.engine.search(query, k, asked.where))
        seconds = {"retrieve": time.perf_counter() - start}
        return json_response({"hits": [hit_json(hit) for hit in hits], "seconds": seconds})

    @routes.post("/v1/explain")
    async def explain(asked: ExplainRequest, request: Request) -> Response:
        engine, query = service.engine, await unless_gone(request, _query(asked, request, service))
        found = await engine.in_retriever(partial(engine.rag.kb.show, asked.document))
        passages = [] if found is None else found.passages
        passage = next((each for each in passages if each.position == asked.position), None)
        if passage is None:
            raise Refused(404, "There is no such document, or no such passage of it.")
        explaining = engine.in_retriever(partial(engine.rag.explain, query, passage))
        told = await unless_gone(request, explaining)
        return json_response(asdict(told))

    return routes


async def _query(
    asked: SearchRequest | ExplainRequest, request: Request, service: Service
) -> Query:
    if not asked.text.strip() and not asked.image:
        raise Refused(400, "There is nothing to look for: give a text, an image, or both.")
    image = await picture_asked(service, request, asked.image, "image")
    return Query(asked.text, image and image.data, asked.instruction)
