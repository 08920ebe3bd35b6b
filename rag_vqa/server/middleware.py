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
    BURST_REQUESTS,
    MAX_BODIES_BYTES,
    MAX_BODY_BYTES,
    MAX_CLIENTS,
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
_IMAGE_COST: Final = 0.1  # of a question
# Headers that proxies add. They give away a proxy that passes the `Host` header on unchanged.
_PROXY_HEADERS: Final = ("x-forwarded-for", "x-forwarded-host", "x-real-ip", "forwarded", "via")


class AccessMiddleware:
    """The outermost ASGI middleware: who asks, from where, and how often; read from the headers."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access, self._rate_limiter = app, access, RateLimiter()
        self._one_at_a_time = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # Routes match the path as it was sent, still encoded: an id may contain a slash, as %2F.
        raw: bytes = scope.get("raw_path") or b""
        scope["path"] = _strip_repeated_root(
            raw.decode("ascii", "replace"), scope.get("root_path", "")
        )
        status = 0  # once the response has begun

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            self._check_headers(scope)
            if scope["path"] != "/health":
                # Each turn of the event loop starts one request. Otherwise 200 requests that arrive
                # together would be parsed in one turn, and /health would wait for all of them.
                async with self._one_at_a_time:
                    await asyncio.sleep(0)
            await self._app(scope, receive, send_with_headers)
        except asyncio.CancelledError:  # by uvicorn, which ends late requests at shutdown
            if status:
                raise
            await to_api_error(ShuttingDown()).response(scope, receive, send_with_headers)
        except Exception as error:  # noqa: BLE001  clients must not see internal details
            api_error = to_api_error(error)
            if status:  # cut the connection, so that half an answer is not taken for a whole one
                raise _ConnectionCut from None
            await api_error.response(scope, receive, send_with_headers)
        finally:
            # Without query and client, which would tell who asked for what.
            LOGGER.info("%s %s %s", scope["method"], scope["path"], status or "cut")

    def _check_headers(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        server_address = str((scope.get("server") or ("",))[0])
        host, origin = headers.getlist("host"), headers.getlist("origin")
        if len(host) != 1 or not self._access.accepts_host(host[0], server_address):
            raise ApiError(
                403, "This host name is not allowed. Start the server with --allowed-host NAME.",
                "unknown_host",
            )  # fmt: skip
        if origin and not (len(origin) == 1 and self._access.accepts_origin(origin[0], host[0])):
            raise ApiError(403, "Pages of other origins may not send requests.", "unknown_origin")
        if not self._access.token and any(name in headers for name in _PROXY_HEADERS):
            raise ApiError(
                403, "Behind a proxy, all clients look like this machine: start with --token-file.",
                "no_token_behind_proxy",
            )  # fmt: skip
        self._check_access(scope, headers)
        if scope["method"] in _BODY_METHODS:
            media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
            if media_type != "application/json":
                raise ApiError(415, "Send JSON, with Content-Type: application/json.", "not_json")

    def _check_access(self, scope: Scope, headers: Headers) -> None:
        method, path = scope["method"], _strip_root_path(scope)
        level = required_level(method, path)
        trusted = self._access.holds_token(headers.get("authorization", ""))
        scope.setdefault("state", {})["trusted"] = trusted
        if not self._access.admits(level, trusted):
            raise ApiError(
                401, "This route needs a token: Authorization: Bearer …", "invalid_api_key"
            )
        if level == "public" and not trusted:
            client = str((scope.get("client") or ("",))[0])
            seconds = self._rate_limiter.take(client, 1.0 if method == "POST" else _IMAGE_COST)
            if seconds:
                raise ApiError(429, "Too many requests: wait a moment.", "rate_limited", seconds)


class _ConnectionCut(Exception):
    """Ends the connection without a word to the client."""


def _strip_repeated_root(path: str, root: str) -> str:
    """The path with the root path in front of it once.

    uvicorn adds the root path. A proxy that forwards the path unchanged sends it too; nginx decodes
    %2F in any path that it changes.

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
    """ASGI middleware that reads request bodies within limits.

    A request's bytes are counted until its response is out, also while its question waits. What is
    fetched for a request is counted too, through `request.state.reserve_bytes`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app, self._reserved = app, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "0")
        if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
            raise _body_too_large()
        reserved: list[int] = []
        reserve = partial(self._reserve, reserved)
        scope.setdefault("state", {})["reserve_bytes"] = reserve
        try:
            body = await self._read_body(receive, reserve)
            if body is None:
                return
            await self._app(scope, _replay_body(body, receive), send)
        finally:
            self._reserved -= sum(reserved)

    def _reserve(self, reserved: list[int], count: int) -> None:
        if self._reserved + count > MAX_BODIES_BYTES:
            raise ApiError(429, "Too many uploads at once: try again.", "busy", 2.0)
        self._reserved += count
        reserved.append(count)

    async def _read_body(self, receive: Receive, reserve: Callable[[int], object]) -> bytes | None:
        """The whole body; None if the client disconnects."""
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
            reserve(len(piece))
        if sum(body.count(mark) for mark in (b"[", b"{", b",")) > MAX_VALUES:
            raise ApiError(
                400, f"The body holds more than {MAX_VALUES:,} values.", "too_many_values"
            )
        return bytes(body)


def _body_too_large() -> ApiError:
    limit = MAX_BODY_BYTES // 2**20
    message = f"The body is larger than {limit} MB. Send a smaller picture."
    return ApiError(413, message, "too_large")


def _replay_body(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the whole body first, and then the client's disconnect."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return messages.pop() if messages else await receive()

    return receive_again


class RateLimiter:
    """A token bucket for each client: BURST_REQUESTS requests at once, then REQUESTS_PER_MINUTE.

    Attributes:
        client_count: clients that are remembered, at most MAX_CLIENTS; the oldest is forgotten.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # level, when

    @property
    def client_count(self) -> int:
        return len(self._buckets)

    def take(self, client: str, cost: float = 1.0) -> float:
        """Take `cost` from a client's bucket: 0, or the seconds until it holds that much."""
        now, key = self._clock(), _client_network(client)
        level, before = self._buckets.pop(key, (BURST_REQUESTS, now))
        level = min(BURST_REQUESTS, level + (now - before) * REQUESTS_PER_MINUTE / 60)
        is_enough = level >= cost
        self._buckets[key] = (level - cost if is_enough else level, now)
        if len(self._buckets) > MAX_CLIENTS:
            self._buckets.popitem(last=False)
        return 0.0 if is_enough else (cost - level) * 60 / REQUESTS_PER_MINUTE


def _client_network(client: str) -> str:
    """The network that stands for one client: a household has 2^64 IPv6 addresses.

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
