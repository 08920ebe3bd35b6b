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
import threading
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

LOG_CLEANUP_SECONDS = 3600.0  # between two deletions of old logged questions
SHUTDOWN_SECONDS = 30.0  # for the requests that are running when shutdown begins
NOTICE_SECONDS = 5  # after that, to send clients their errors


def create_app(service: Service) -> FastAPI:
    """The ASGI application that serves one knowledge base."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # While the models load, /health answers and /ready says 503.
        tasks = [
            asyncio.create_task(_load_models(app, service)),
            asyncio.create_task(_clean_question_log(service)),
        ]
        yield
        for task in tasks:
            task.cancel()
        service.engine.stop()  # by now uvicorn has finished, or cancelled, all requests

    # No /docs: its script comes from another server. The schema needs the token, like every route
    # that access.py does not list.
    app = FastAPI(
        title="rag-vqa", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None
    )
    # `run_app` sets the callbacks.
    app.state.load_error, app.state.on_load_error = None, lambda: None
    app.state.on_ready = lambda: None
    app.state.cancel_all = service.engine.stop
    ready = [Depends(service.require_ready)]
    for routes in (
        chat_routes.chat_routes,
        kb_routes.search_routes,
        kb_routes.document_routes,
        status_routes.info_routes,
    ):
        app.include_router(routes(service), dependencies=ready)
    app.include_router(status_routes.health_routes(service))
    app.include_router(status_routes.page_routes(service.title))
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
        app.state.on_ready()
    except ShuttingDown:  # shutdown while the models load is no failure
        return
    except Exception as error:  # noqa: BLE001  raised again by run_app
        app.state.load_error = error
        app.state.on_load_error()


async def _clean_question_log(service: Service) -> None:
    """Delete old logged questions every hour, even if nobody asks any more."""
    while service.log is not None:
        await asyncio.sleep(LOG_CLEANUP_SECONDS)
        try:
            await asyncio.to_thread(service.log.delete_old_days)
        except OSError as error:
            log_error(error)


async def _on_invalid_request(request: Request, error: Any) -> Response:
    return validation_error(error.errors()).response


async def _on_queue_full(request: Request, error: Any) -> Response:
    message = "Too many questions are waiting: try again."
    return ApiError(429, message, "queue_full", error.retry_after).response


def open_socket(host: str, port: int) -> socket.socket:
    """A listening socket; `port` 0 means any free port.

    Opened before a model loads, so that an address in use is reported at once.

    Raises UsageError if the address is in use, or does not belong to this machine.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with ExitStack() as stack:
            # Without the protocol, asyncio leaves Nagle's algorithm on: 40 ms an answer.
            kind = (family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
            listener = stack.enter_context(socket.socket(*kind))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:  # `::` includes IPv4, whatever the system's default
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            listener.bind((host, port))
            listener.listen()  # otherwise a second server could bind the same address
            stack.pop_all()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        message = f"Cannot listen on {host}:{port}: {reason}. Try another --port."
        raise UsageError(message) from error
    return listener


def browser_url(listener: socket.socket, root_path: str = "") -> str:
    """The address for a browser on this machine."""
    host, port = listener.getsockname()[:2]
    name = {"0.0.0.0": "localhost", "::": "localhost"}.get(host, host)
    return f"http://{f'[{name}]' if ':' in name else name}:{port}{root_path}/"


def make_uvicorn_server(
    app: Any, root_path: str = "", shutdown_seconds: float = SHUTDOWN_SECONDS
) -> Any:
    """A uvicorn.Server for the application, with our deadlines and without uvicorn's logging."""
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
            # Only a proxy on this machine may say with X-Forwarded-For who asks.
            forwarded_allow_ips=["127.0.0.1", "::1", "::ffff:127.0.0.1"],
            limit_concurrency=MAX_CONNECTIONS,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=round(shutdown_seconds) + NOTICE_SECONDS,
        ),
        app.state.cancel_all,
        shutdown_seconds,
    )


def run_app(app: Any, listener: socket.socket, root_path: str = "", quiet: bool = False) -> None:
    """Serve until SIGTERM or ^C, and finish running requests first.

    Raises the error that kept the models from loading, if there was one.
    """
    server = make_uvicorn_server(app, root_path, SHUTDOWN_SECONDS)

    def exit_server() -> None:
        server.should_exit = True

    app.state.on_load_error = exit_server
    # Models' objects stay for good: a garbage collection over them stopped all answers for 0.3 s.
    app.state.on_ready = gc.freeze
    with log_requests(quiet), _absorb_repeated_sigterm():
        server.run(sockets=[listener])
    if app.state.load_error is not None:
        raise app.state.load_error


@contextmanager
def _absorb_repeated_sigterm() -> Iterator[None]:
    """uvicorn raises the signal that ended it once more. SIGTERM is a server's usual end and must
    not make the process fail; ^C may."""
    if threading.current_thread() is not threading.main_thread():  # signals go to the main thread
        yield
        return
    former = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


@contextmanager
def log_requests(quiet: bool) -> Iterator[None]:
    """Log one line a request to stderr, and uvicorn's errors without tracebacks.

    Not uvicorn's warnings: they describe what clients send, and recommend packages that are left
    out on purpose.
    """
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
    """Leaves out tracebacks: they end with the exception's message, which may quote a question."""

    def format(self, record: logging.LogRecord) -> str:
        exception = record.exc_info[0] if record.exc_info else None
        message = record.getMessage() + (f" ({exception.__name__})" if exception else "")
        return f"{self.formatTime(record, '%Y-%m-%d %H:%M:%S')} {message}"
