"""Middleware: checks headers, tokens, rates and body sizes before a request reaches its route.

Knows Host, Origin, the token, content types, how often a client asks, and how many bytes all
requests hold together. It also adds security headers and turns uncaught exceptions into error
responses. Does not know what a route does, nor what JSON means. Without the count of values, 10 MB
of `[[],[],…` would become a gigabyte.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rag_vqa.server.access import Access, required_level
from rag_vqa.server.engine.request_queue import ShuttingDown
from rag_vqa.server.error_responses import LOGGER, ApiError, to_api_error
from rag_vqa.server.request_limits import (
    BURST,
    CLIENTS,
    MAX_BODIES_BYTES,
    MAX_BODY_BYTES,
    MAX_VALUES,
    REQUESTS_PER_MINUTE,
)

SECURITY_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_BODY_METHODS: Final = ("POST", "PUT", "PATCH")
_IMAGE_COST: Final = 0.1
# What proxies add. Whoever leaves `Host` as it was passed on is told by that alone.
_PROXY_HEADERS: Final = ("x-forwarded-for", "x-forwarded-host", "x-real-ip", "forwarded", "via")


class AccessMiddleware:
    """ASGI middleware, the outermost."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access, self._rates = app, access, RateLimiter()
        self._turn = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # Routes are matched on the path as it was sent: an id may hold a slash, as %2F.
        raw: bytes = scope.get("raw_path") or b""
        scope["path"] = _strip_repeated_root(
            raw.decode("ascii", "replace"), scope.get("root_path", "")
        )
        begun = 0

        async def sent(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            self._check(scope)
            if scope["path"] != "/health":
                # One request begins in each turn of the loop: 200 that come at once would else be
                # parsed in one, and /health would wait for all of them.
                async with self._turn:
                    await asyncio.sleep(0)
            await self._app(scope, receive, sent)
        except asyncio.CancelledError:  # uvicorn's, of what is not done when it must end
            if begun:
                raise
            await to_api_error(ShuttingDown()).response(scope, receive, sent)
        except Exception as error:  # noqa: BLE001  whatever it is, a client gets no inside of ours
            if begun:  # the connection is cut, so that half of an answer is not taken for one
                to_api_error(error)
                raise _ConnectionCut from None
            await to_api_error(error).response(scope, receive, sent)
        finally:
            # Neither query nor client: they say who asked for what.
            LOGGER.info("%s %s %s", scope["method"], scope["path"], begun or "cut")

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        own = str((scope.get("server") or ("",))[0])
        host, origin = headers.getlist("host"), headers.getlist("origin")
        if len(host) != 1 or not self._access.accepts_host(host[0], own):
            raise ApiError(
                403, "This server is not known by that name. Start it with --allowed-host NAME.",
                "unknown_host",
            )  # fmt: skip
        if origin and not (len(origin) == 1 and self._access.accepts_origin(origin[0], host[0])):
            raise ApiError(403, "Pages of other origins may not ask.", "unknown_origin")
        if not self._access.token and any(name in headers for name in _PROXY_HEADERS):
            raise ApiError(
                403, "Behind a proxy everybody would be this machine: start with --token-file.",
                "no_token_behind_proxy",
            )  # fmt: skip
        self._check_rights(scope, headers)
        if scope["method"] in _BODY_METHODS:
            kind = headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind != "application/json":
                raise ApiError(415, "Send JSON, with Content-Type: application/json.", "not_json")

    def _check_rights(self, scope: Scope, headers: Headers) -> None:
        method, path = scope["method"], _strip_root_path(scope)
        wanted = required_level(method, path)
        trusted = self._access.holds_token(headers.get("authorization", ""))
        scope.setdefault("state", {})["trusted"] = trusted
        if not self._access.admits(wanted, trusted):
            raise ApiError(401, "This needs a token: Authorization: Bearer …", "invalid_api_key")
        if wanted == "public" and not trusted:
            client = str((scope.get("client") or ("",))[0])
            seconds = self._rates.wait(client, 1.0 if method == "POST" else _IMAGE_COST)
            if seconds:
                raise ApiError(429, "Too many questions: wait a moment.", "rate_limited", seconds)


class _ConnectionCut(Exception):
    """Ends the connection; it says nothing."""


def _strip_repeated_root(path: str, root: str) -> str:
    """The path with the root path before it once: uvicorn puts it there, and a proxy that hands
    on the path as it came (nginx decodes %2F in any other) sends it along too.

    >>> _strip_repeated_root("/rag/rag/v1/info", "/rag")
    '/rag/v1/info'
    >>> _strip_repeated_root("/rag/v1/info", "/rag")
    '/rag/v1/info'
    """
    return path[len(root) :] if root and path.startswith(f"{root}{root}/") else path


def _strip_root_path(scope: Scope) -> str:
    root: str = scope.get("root_path", "")
    path: str = scope["path"]
    return path[len(root) :] if root and path.startswith(f"{root}/") else path


class BodyMiddleware:
    """ASGI middleware. Room is held until the answer is out: a question that waits keeps its."""

    def __init__(self, app: ASGIApp) -> None:
        self._app, self._held = app, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "0")
        if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
            raise _body_too_large()
        held: list[int] = []
        hold = partial(self._hold, held)
        scope.setdefault("state", {})["hold"] = hold
        try:
            body = await self._read(receive, hold)
            if body is None:
                return
            await self._app(scope, _replay_body(body, receive), send)
        finally:
            self._held -= sum(held)

    def _hold(self, held: list[int], count: int) -> None:
        if self._held + count > MAX_BODIES_BYTES:
            raise ApiError(429, "Too many uploads at once: try again.", "busy", 2.0)
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
                raise _body_too_large()
            hold(len(piece))
        if sum(body.count(mark) for mark in (b"[", b"{", b",")) > MAX_VALUES:
            raise ApiError(400, f"The body holds over {MAX_VALUES:,} values.", "too_many_values")
        return bytes(body)


def _body_too_large() -> ApiError:
    most = MAX_BODY_BYTES // 2**20
    return ApiError(413, f"The body is over {most} MB. Send a smaller picture.", "too_large")


def _replay_body(body: bytes, receive: Receive) -> Receive:
    """The body in one piece, once; then whatever comes, which is that the client goes away."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return waiting.pop() if waiting else await receive()

    return replayed


class RateLimiter:
    """A bucket of BURST requests a client, filled again at REQUESTS_A_MINUTE."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, client: str, cost: float = 1.0) -> float:
        """Take `cost` out of a client's bucket: 0, or the seconds until that much is in it."""
        now, key = self._clock(), _client_network(client)
        left, before = self._left.pop(key, (BURST, now))
        left = min(BURST, left + (now - before) * REQUESTS_PER_MINUTE / 60)
        enough = left >= cost
        self._left[key] = (left - cost if enough else left, now)
        if len(self._left) > CLIENTS:
            self._left.popitem(last=False)
        return 0.0 if enough else (cost - left) * 60 / REQUESTS_PER_MINUTE


def _client_network(client: str) -> str:
    """Whom an address belongs to: one household has 2^64 addresses of version 6.

    >>> _client_network("2001:db8::1") == _client_network("2001:db8::2")
    True
    >>> _client_network("192.0.2.1")
    '192.0.2.1'
    """
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return client
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
