"""What stands before every route: who asks, from where, and how. All of it read from the headers.

It knows Host, Origin, the token, the kind of body and how often a client asks. It does not know
bodies (bodies.py) nor what a route does. It also sends what every answer carries, and catches
what nobody caught.
"""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rag_vqa.server.access import Access, level
from rag_vqa.server.failures import LOG, Refused, refusal_of
from rag_vqa.server.question import Closing
from rag_vqa.server.rates import Rates

HEADERS: Final = {
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
_WITH_BODY: Final = ("POST", "PUT", "PATCH")
_PICTURE_COST: Final = 0.1
# What proxies add. Whoever leaves `Host` as it was passed on is told by that alone.
_HANDED_ON: Final = ("x-forwarded-for", "x-forwarded-host", "x-real-ip", "forwarded", "via")


class Door:
    """ASGI middleware, the outermost."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access, self._rates = app, access, Rates()
        self._turn = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # Routes are matched on the path as it was sent: an id may hold a slash, as %2F.
        raw: bytes = scope.get("raw_path") or b""
        scope["path"] = _once(raw.decode("ascii", "replace"), scope.get("root_path", ""))
        begun = 0

        async def sent(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
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
            await refusal_of(Closing()).response(scope, receive, sent)
        except Exception as error:  # noqa: BLE001  whatever it is, a client gets no inside of ours
            if begun:  # the connection is cut, so that half of an answer is not taken for one
                refusal_of(error)
                raise _Cut from None
            await refusal_of(error).response(scope, receive, sent)
        finally:
            # Neither query nor client: they say who asked for what.
            LOG.info("%s %s %s", scope["method"], scope["path"], begun or "cut")

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        own = str((scope.get("server") or ("",))[0])
        host, origin = headers.getlist("host"), headers.getlist("origin")
        if len(host) != 1 or not self._access.knows_host(host[0], own):
            raise Refused(
                403, "This server is not known by that name. Start it with --allowed-host NAME.",
                "unknown_host",
            )  # fmt: skip
        if origin and not (len(origin) == 1 and self._access.knows_origin(origin[0], host[0])):
            raise Refused(403, "Pages of other origins may not ask.", "unknown_origin")
        if not self._access.token and any(name in headers for name in _HANDED_ON):
            raise Refused(
                403, "Behind a proxy everybody would be this machine: start with --token-file.",
                "no_token_behind_proxy",
            )  # fmt: skip
        self._check_rights(scope, headers)
        if scope["method"] in _WITH_BODY:
            kind = headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind != "application/json":
                raise Refused(415, "Send JSON, with Content-Type: application/json.", "not_json")

    def _check_rights(self, scope: Scope, headers: Headers) -> None:
        method, path = scope["method"], _route(scope)
        wanted = level(method, path)
        trusted = self._access.holds_token(headers.get("authorization", ""))
        scope.setdefault("state", {})["trusted"] = trusted
        if not self._access.admits(wanted, trusted):
            raise Refused(401, "This needs a token: Authorization: Bearer …", "invalid_api_key")
        if wanted == "public" and not trusted:
            client = str((scope.get("client") or ("",))[0])
            seconds = self._rates.wait(client, 1.0 if method == "POST" else _PICTURE_COST)
            if seconds:
                raise Refused(429, "Too many questions: wait a moment.", "rate_limited", seconds)


class _Cut(Exception):
    """Ends the connection; it says nothing."""


def _once(path: str, root: str) -> str:
    """The path with the root path before it once: uvicorn puts it there, and a proxy that hands
    on the path as it came (nginx decodes %2F in any other) sends it along too.

    >>> _once("/rag/rag/v1/info", "/rag"), _once("/rag/v1/info", "/rag")
    ('/rag/v1/info', '/rag/v1/info')
    """
    return path[len(root) :] if root and path.startswith(f"{root}{root}/") else path


def _route(scope: Scope) -> str:
    root: str = scope.get("root_path", "")
    path: str = scope["path"]
    return path[len(root) :] if root and path.startswith(f"{root}/") else path
