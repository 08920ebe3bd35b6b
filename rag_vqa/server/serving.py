"""Runs the application: an address, deadlines, signals, and what is logged.

It knows uvicorn. It does not know routes (app.py). Nothing of a question is logged: a line has
method, path and status; of an error its kind and place.
"""

from __future__ import annotations

import gc
import logging
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from rag_vqa.errors import UsageError
from rag_vqa.server.budgets import CONNECTIONS

STOP_SECONDS = 30.0  # for what is in flight when the server is told to end, all in all
_TELL_SECONDS = 5  # more, in which those who still wait are told, and take what they were sent


def listen(host: str, port: int) -> socket.socket:
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


def address_of(taken: socket.socket, root_path: str = "") -> str:
    """Where a browser finds it."""
    host, port = taken.getsockname()[:2]
    named = {"0.0.0.0": "localhost", "::": "localhost"}.get(host, host)
    return f"http://{f'[{named}]' if ':' in named else named}:{port}{root_path}/"


def make_server(app: Any, root_path: str = "", stop_seconds: float = STOP_SECONDS) -> Any:
    """A uvicorn.Server of the application, with the deadlines and without uvicorn's logging."""
    import uvicorn

    from rag_vqa.server.ending import EndingServer
    from rag_vqa.server.timing import TimedProtocol

    return EndingServer(
        uvicorn.Config(
            app,
            http=TimedProtocol,
            ws="none",
            loop="asyncio",
            root_path=root_path,
            log_config=None,
            access_log=False,
            server_header=False,
            # X-Forwarded-For says who asks, where a proxy on this machine sends it.
            forwarded_allow_ips=["127.0.0.1", "::1", "::ffff:127.0.0.1"],
            limit_concurrency=CONNECTIONS,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=round(stop_seconds) + _TELL_SECONDS,
        ),
        app.state.give_up,
        stop_seconds,
    )


def serve(app: Any, taken: socket.socket, root_path: str = "", quiet: bool = False) -> None:
    """Serve until SIGTERM or ^C; what is in flight is finished first.

    Raises what kept the models from loading, if that is how it ended.
    """
    server = make_server(app, root_path, STOP_SECONDS)

    def end() -> None:
        server.should_exit = True

    app.state.end = end
    # What models hold stays: looking through it for garbage stopped all answers for 0.3 s.
    app.state.warmed = gc.freeze
    with _logging(quiet), _ended_by_signal():
        server.run(sockets=[taken])
    if app.state.failure is not None:
        raise app.state.failure


@contextmanager
def ends_while_opening() -> Iterator[None]:
    """SIGTERM before uvicorn runs ends the process as a server ends too: with exit code 0."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _ended_by_signal() -> Iterator[None]:
    """uvicorn raises the signal that ended it once more: SIGTERM is how a server ends, and no
    failure; ^C stays one."""
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _logging(quiet: bool) -> Iterator[None]:
    """A line a request on stderr; of uvicorn only errors, without tracebacks: its warnings are of
    what clients send, and recommend to install what is left out on purpose."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_WithoutTraceback())
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


class _WithoutTraceback(logging.Formatter):
    """A traceback ends with an exception's message, which may hold what somebody asked."""

    def format(self, record: logging.LogRecord) -> str:
        kind = record.exc_info[0] if record.exc_info else None
        what = record.getMessage() + (f" ({kind.__name__})" if kind else "")
        return f"{self.formatTime(record, '%Y-%m-%d %H:%M:%S')} {what}"
