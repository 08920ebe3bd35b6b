"""Reads the body of a request, as far as there is room for it, before a route sees it.

It knows bytes: how many one request may have, how many all of them together, and how many values
they can hold. It does not know JSON's meaning. Without it, 10 MB of `[[],[],…` become a gigabyte.
What is fetched for a request takes of the same room, through `request.state.hold`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rag_vqa.server.budgets import MAX_BODIES_BYTES, MAX_BODY_BYTES, MAX_VALUES
from rag_vqa.server.failures import Refused


class Bodies:
    """ASGI middleware. Room is held until the answer is out: a question that waits keeps its."""

    def __init__(self, app: ASGIApp) -> None:
        self._app, self._held = app, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "0")
        if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
            raise _too_large()
        held: list[int] = []
        hold = partial(self._hold, held)
        scope.setdefault("state", {})["hold"] = hold
        try:
            body = await self._read(receive, hold)
            if body is None:
                return
            await self._app(scope, _replay(body, receive), send)
        finally:
            self._held -= sum(held)

    def _hold(self, held: list[int], count: int) -> None:
        if self._held + count > MAX_BODIES_BYTES:
            raise Refused(429, "Too many uploads at once: try again.", "busy", 2.0)
        self._held += count
        held.append(count)

    async def _read(self, receive: Receive, hold: Callable[[int], object]) -> bytes | None:
        """All of it; None if the client went away."""
        body = bytearray()
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            piece: bytes = message.get("body", b"")
            more = message.get("more_body", False)
            body += piece
            if len(body) > MAX_BODY_BYTES:
                raise _too_large()
            hold(len(piece))
        if sum(body.count(mark) for mark in (b"[", b"{", b",")) > MAX_VALUES:
            raise Refused(400, f"The body holds over {MAX_VALUES:,} values.", "too_many_values")
        return bytes(body)


def _too_large() -> Refused:
    most = MAX_BODY_BYTES // 2**20
    return Refused(413, f"The body is over {most} MB. Send a smaller picture.", "too_large")


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body in one piece, once; then whatever comes, which is that the client goes away."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return waiting.pop() if waiting else await receive()

    return replayed
