"""The application: routes behind a door. A service in, an ASGI application out.

It knows which routes there are and in which order a request meets what guards them. It does not
know addresses and signals (serving.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from rag_vqa import __version__
from rag_vqa.errors import RagVqaError
from rag_vqa.server import chat, documents, information, search
from rag_vqa.server.bodies import Bodies
from rag_vqa.server.door import Door
from rag_vqa.server.engine import Busy, Closing
from rag_vqa.server.failures import Refused, handle, invalid, log
from rag_vqa.server.service import Service

FORGETS_SECONDS = 3600.0  # between two looks for written questions that are too old


def create_app(service: Service) -> FastAPI:
    """The server of one knowledge base."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # Meanwhile /health answers, and /ready says that the models are not loaded yet.
        tasks = [asyncio.create_task(_start(app, service)), asyncio.create_task(_forget(service))]
        yield
        for task in tasks:
            task.cancel()
        service.engine.stop()  # by now uvicorn has finished, or given up, all requests

    # Without /docs, whose program comes from elsewhere. The schema needs the token, as all that
    # access.py does not name.
    app = FastAPI(
        title="rag-vqa", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None
    )
    # See serving.py.
    app.state.failure, app.state.end, app.state.warmed = None, lambda: None, lambda: None
    app.state.give_up = service.engine.stop
    warm = [Depends(service.check_warm)]
    for routes in (chat.router, search.router, documents.router, information.router):
        app.include_router(routes(service), dependencies=warm)
    app.include_router(information.standing_router(service))
    app.include_router(information.page_router())
    for kind in (Refused, RagVqaError, HTTPException):
        app.add_exception_handler(kind, handle)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Busy, _busy)
    app.add_middleware(Bodies)
    app.add_middleware(Door, access=service.access)
    return app


async def _start(app: FastAPI, service: Service) -> None:
    try:
        await service.engine.start()
        app.state.warmed()
    except Closing:  # told to end while models load: no failure
        return
    except Exception as error:  # noqa: BLE001  raised again where the server ends
        app.state.failure = error
        app.state.end()


async def _forget(service: Service) -> None:
    """Keeps what was promised of written questions where nobody asks any more."""
    while service.log is not None:
        await asyncio.sleep(FORGETS_SECONDS)
        try:
            await asyncio.to_thread(service.log.forget)
        except OSError as error:
            log(error)


async def _invalid(request: Request, error: Any) -> Response:
    return invalid(error.errors()).response


async def _busy(request: Request, error: Any) -> Response:
    message = "Too many questions are waiting: try again."
    return Refused(429, message, "queue_full", error.retry_after).response
