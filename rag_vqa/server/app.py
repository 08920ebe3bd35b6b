"""The server's application: builds it from a Service, and runs it with uvicorn.

Knows which routes and middleware there are, the listening socket, signals, and what is logged: of a
request its method, path and status, of an error its kind and place, never the question. Does not
know deadlines of connections (uvicorn_deadlines.py).
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from rag_vqa import __version__
from rag_vqa.errors import RagVqaError, UsageError
from rag_vqa.server.engine.request_queue import QueueFull, ShuttingDown
from rag_vqa.server.error_responses import ApiError, handle_error, log_error, validation_error
from rag_vqa.server.middleware import AccessMiddleware, BodyMiddleware
from rag_vqa.server.request_limits import MAX_CONNECTIONS
from rag_vqa.server.routes import chat_routes, kb_routes, status_routes
from rag_vqa.server.service import Service

FORGETS_SECONDS = 3600.0  # between two looks for written questions that are too old
STOP_SECONDS = 30.0  # for what is in flight when the server is told to end, all in all
_TELL_SECONDS = 5  # more, in which those who still wait are told, and take what they were sent


def create_app(service: Service) -> FastAPI:
    """The server of one knowledge base."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # Meanwhile /health answers, and /ready says that the models are not loaded yet.
        tasks = [
            asyncio.create_task(_load_models(app, service)),
            asyncio.create_task(_clean_question_log(service)),
        ]
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
    for routes in (
        chat_routes.chat_routes,
        kb_routes.search_routes,
        kb_routes.document_routes,
        status_routes.info_routes,
    ):
        app.include_router(routes(service), dependencies=warm)
    app.include_router(status_routes.health_routes(service))
    app.include_router(status_routes.page_routes())
    for kind in (ApiError, RagVqaError, HTTPException):
        app.add_exception_handler(kind, handle_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(QueueFull, _on_queue_full)
    app.add_middleware(BodyMiddleware)
    app.add_middleware(AccessMiddleware, access=service.access)
    return app


async def _load_models(app: FastAPI, service: Service) -> None:
    try:
        await service.engine.start()
        app.state.warmed()
    except ShuttingDown:  # told to end while models load: no failure
        return
    except Exception as error:  # noqa: BLE001  raised again where the server ends
        app.state.failure = error
        app.state.end()


async def _clean_question_log(service: Service) -> None:
    """Keeps what was promised of written questions where nobody asks any more."""
    while service.log is not None:
        await asyncio.sleep(FORGETS_SECONDS)
        try:
            await asyncio.to_thread(service.log.forget)
        except OSError as error:
            log_error(error)


async def _on_invalid_request(request: Request, error: Any) -> Response:
    return validation_error(error.errors()).response


async def _on_queue_full(request: Request, error: Any) -> Response:
    message = "Too many questions are waiting: try again."
    return ApiError(429, message, "queue_full", error.retry_after).response


def open_socket(host: str, port: int) -> socket.socket:
    """The socket that requests are to come in on; `port` 0 is any that is free.

    It is taken before a model loads, so that an address that cannot be had is told at once.

    Raises UsageError if the address is another's, or none of this machine.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with ExitStack() as stack:
            # The protocol is named, or asyncio leaves Nagle's algorithm on: 40 ms an answer.
            kind = (family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
            taken = stack.enter_context(socket.socket(*kind))
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:  # `::` is IPv4 too, whatever is usual here
                taken.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            taken.bind((host, port))
            taken.listen()  # else a second server may bind the same, as this one did
            stack.pop_all()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UsageError(f"{host}:{port} cannot be listened on: {reason}. Try --port") from error
    return taken


def browser_url(taken: socket.socket, root_path: str = "") -> str:
    """Where a browser finds it."""
    host, port = taken.getsockname()[:2]
    named = {"0.0.0.0": "localhost", "::": "localhost"}.get(host, host)
    return f"http://{f'[{named}]' if ':' in named else named}:{port}{root_path}/"


def make_uvicorn_server(app: Any, root_path: str = "", stop_seconds: float = STOP_SECONDS) -> Any:
    """A uvicorn.Server of the application, with the deadlines and without uvicorn's logging."""
    import uvicorn

    from rag_vqa.server.uvicorn_deadlines import DeadlineProtocol, GracefulServer

    return GracefulServer(
        uvicorn.Config(
            app,
            http=DeadlineProtocol,
            ws="none",
            loop="asyncio",
            root_path=root_path,
            log_config=None,
            access_log=False,
            server_header=False,
            # X-Forwarded-For says who asks, where a proxy on this machine sends it.
            forwarded_allow_ips=["127.0.0.1", "::1", "::ffff:127.0.0.1"],
            limit_concurrency=MAX_CONNECTIONS,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=round(stop_seconds) + _TELL_SECONDS,
        ),
        app.state.give_up,
        stop_seconds,
    )


def run_app(app: Any, taken: socket.socket, root_path: str = "", quiet: bool = False) -> None:
    """Serve until SIGTERM or ^C; what is in flight is finished first.

    Raises what kept the models from loading, if that is how it ended.
    """
    server = make_uvicorn_server(app, root_path, STOP_SECONDS)

    def end() -> None:
        server.should_exit = True

    app.state.end = end
    # What models hold stays: looking through it for garbage stopped all answers for 0.3 s.
    app.state.warmed = gc.freeze
    with _configure_logging(quiet), _absorb_repeated_sigterm():
        server.run(sockets=[taken])
    if app.state.failure is not None:
        raise app.state.failure


@contextmanager
def exit_cleanly_on_sigterm() -> Iterator[None]:
    """SIGTERM before uvicorn runs ends the process as a server ends too: with exit code 0."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _absorb_repeated_sigterm() -> Iterator[None]:
    """uvicorn raises the signal that ended it once more: SIGTERM is how a server ends, and no
    failure; ^C stays one."""
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _configure_logging(quiet: bool) -> Iterator[None]:
    """A line a request on stderr; of uvicorn only errors, without tracebacks: its warnings are of
    what clients send, and recommend to install what is left out on purpose."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_NoTracebackFormatter())
    loggers = {"rag_vqa": logging.WARNING if quiet else logging.INFO}
    loggers |= {"uvicorn.error": logging.ERROR, "asyncio": logging.CRITICAL}
    for name, level in loggers.items():
        logger = logging.getLogger(name)
        logger.setLevel(level)
        logger.addHandler(handler)
        logger.propagate = False
    try:
        yield
    finally:
        for name in loggers:
            logging.getLogger(name).removeHandler(handler)


class _NoTracebackFormatter(logging.Formatter):
    """A traceback ends with an exception's message, which may hold what somebody asked."""

    def format(self, record: logging.LogRecord) -> str:
        kind = record.exc_info[0] if record.exc_info else None
        what = record.getMessage() + (f" ({kind.__name__})" if kind else "")
        return f"{self.formatTime(record, '%Y-%m-%d %H:%M:%S')} {what}"
