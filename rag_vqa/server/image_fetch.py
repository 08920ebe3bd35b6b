"""Fetches the picture of a question from an http(s) address, from public servers only.

Knows addresses, IP ranges, and as much HTTP as one file takes. Does not know pictures
(rag_vqa.images opens them) nor when fetching is allowed (uploads.py).

Whoever names an address could otherwise reach whatever this machine reaches: its own network, and
the metadata servers that hand out a cloud machine's keys. So each host name is resolved once, all
of its addresses must be public, and the connection goes to exactly the address that was checked: a
second look-up could give another answer. HTTP clients resolve names themselves, ask proxies of the
environment, keep cookies and unpack bodies; this one has no code for any of it, which is why it is
written by hand. Everything but the look-up runs in the event loop: a slow server holds no thread,
and a client that disconnects ends its fetch at once.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import ssl
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from urllib.parse import urljoin

import h11

from rag_vqa import __version__
from rag_vqa.server.error_responses import ApiError, log_error
from rag_vqa.server.request_limits import (
    FETCH_REDIRECTS,
    FETCH_SECONDS,
    MAX_FETCHES,
    MAX_UPLOAD_BYTES,
)

ReserveBytes: TypeAlias = Callable[
    [int], object
]  # counts this many bytes as in memory, or raises ApiError
# On other ports mostly other services listen, which may take our request for their commands.
_ALLOWED_PORTS: Final = (80, 443)
# Must match the whole address. User-info, backslashes, blanks, control characters and non-ASCII
# letters are refused: programs disagree on their meaning. Names go to the resolver unchanged.
_URL: Final = re.compile(
    r"(https?)://(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]{1,253}))(?::([0-9]{1,5}))?"
    r"([/?][!-\"$-\[\]-~]*)?(?:#[!-~]*)?",
    re.IGNORECASE | re.ASCII,
)
_MAX_URL_LENGTH: Final = 2_048
_REDIRECT_STATUSES: Final = (301, 302, 303, 307, 308)
_DNS_THREADS: Final = ThreadPoolExecutor(MAX_FETCHES, "rag-vqa-names")
# Ranges of IANA's special-purpose registries that Python 3.11's `is_global` misses or judges
# differently, and the public address of Azure's metadata server. In IPv6 only 2000::/3 is assigned:
# mapped and compatible IPv4, NAT64 (64:ff9b:…), link-local, unique local and multicast lie outside.
# A site's own NAT64 prefix cannot be known here.
_GLOBAL_UNICAST: Final = ipaddress.ip_network("2000::/3")
_SPECIAL_RANGES: Final = tuple(
    map(
        ipaddress.ip_network,
        ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32",
         "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"),
    )
)  # fmt: skip


class FetchError(ValueError):
    """The address is refused, or the response is not accepted; only kind and place are logged."""


@dataclass(frozen=True, slots=True)
class _Target:
    """The parts of an address."""

    tls: bool
    name: str
    port: int
    path: str

    @property
    def host(self) -> str:
        """The `Host` header."""
        name = f"[{self.name}]" if ":" in self.name else self.name
        return name if self.port == (443 if self.tls else 80) else f"{name}:{self.port}"


def resolve_host(name: str, port: int) -> list[str]:
    """All IP addresses of a name, best first; `127.1` and `0x7f.1` count as names."""
    results = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    return [str(each[4][0]) for each in results]


class ImageFetcher:
    """Fetches a few pictures at once, so that fetches cannot fill the queue of questions.

    Args:
        resolve: (name, port) → IP addresses; it may block.
        connect: as `asyncio.open_connection`.
        tls: trusted certificates; None means those of this machine.
    """

    def __init__(
        self,
        resolve: Callable[[str, int], Sequence[str]] = resolve_host,
        connect: Callable[..., Any] = asyncio.open_connection,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._resolve, self._connect = resolve, connect
        self._tls = tls or ssl.create_default_context()
        self._running = 0

    async def fetch(self, address: str, field: str, reserve: ReserveBytes) -> bytes:
        """The bytes at an address, whatever they are. `field` names the request's field in errors.

        Raises:
            ApiError: the fetch failed, without the reason, which would reveal what answers in
                networks that the client cannot reach. Or too many fetches run, or `reserve` raised.
        """
        if self._running >= MAX_FETCHES:
            raise ApiError(429, "Too many pictures are being fetched: try again.", "busy", 2.0)
        self._running += 1
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                return await self._follow_redirects(address, reserve)
        except (OSError, ValueError, h11.ProtocolError) as error:
            log_error(error)
            raise ApiError(
                400, f"{field}: the address could not be fetched. Give the http or https address "
                f"of a picture of at most {MAX_UPLOAD_BYTES // 2**20} MB, on the usual port of a "
                "public server; or the picture itself, as data:image/jpeg;base64,…",
                "invalid_image_url",
            ) from None  # fmt: skip
        finally:
            self._running -= 1

    async def _follow_redirects(self, address: str, reserve: ReserveBytes) -> bytes:
        for _ in range(1 + FETCH_REDIRECTS):
            result = await self._request(_parse_url(address), reserve)
            if isinstance(result, bytes):
                return result
            address = urljoin(address, result)
        raise FetchError("redirects")

    async def _request(self, target: _Target, reserve: ReserveBytes) -> bytes | str:
        """The file at the address, or the address that it redirects to."""
        loop = asyncio.get_running_loop()
        addresses = await loop.run_in_executor(
            _DNS_THREADS, self._resolve, target.name, target.port
        )
        if not addresses or not all(map(is_public_address, addresses)):
            raise FetchError("not public")
        tls = {"ssl": self._tls, "server_hostname": target.name} if target.tls else {}
        reader, writer = await self._connect(addresses[0], target.port, **tls)
        try:
            return await _read_response(target, reader, writer, reserve)
        finally:
            writer.transport.abort()  # TLS would wait for the server's close_notify


async def _read_response(
    target: _Target,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    reserve: ReserveBytes,
) -> bytes | str:
    http, body, byte_count = h11.Connection(h11.CLIENT), bytearray(), 0
    headers = {"Host": target.host, "User-Agent": f"rag-vqa/{__version__}", "Accept": "image/*",
               "Accept-Encoding": "identity", "Connection": "close"}  # fmt: skip
    request = h11.Request(method="GET", target=target.path, headers=list(headers.items()))
    for message in (request, h11.EndOfMessage()):
        writer.write(http.send(message) or b"")
    while True:
        await asyncio.sleep(0)  # a body in one-byte chunks would block the event loop
        event = http.next_event()
        if event is h11.NEED_DATA:
            piece = await reader.read(2**16)
            byte_count += len(piece)
            if byte_count > MAX_UPLOAD_BYTES:
                raise FetchError("too large")
            reserve(len(piece))
            http.receive_data(piece)
        elif isinstance(event, h11.Response):
            if (location := _redirect_location(event)) is not None:
                return location
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            return bytes(body)


def _redirect_location(response: h11.Response) -> str | None:
    """The address that a response redirects to; None if the response is the file itself."""
    headers = dict(response.headers)
    if response.status_code in _REDIRECT_STATUSES:
        return headers.get(b"location", b"").decode("ascii")
    is_packed = headers.get(b"content-encoding", b"identity").lower() != b"identity"
    if response.status_code != 200 or is_packed:
        raise FetchError("unexpected response")
    return None


def _parse_url(address: str) -> _Target:
    """The parts of an address; no other code parses it. Raises FetchError."""
    match = _URL.fullmatch(address) if len(address) <= _MAX_URL_LENGTH else None
    if match is None:
        raise FetchError("not a URL")
    scheme, ipv6, name, port, path = match.groups()
    target = _Target(
        tls=scheme.lower() == "https",
        name=ipv6 or name,
        port=int(port) if port else (443 if scheme.lower() == "https" else 80),
        path=path if (path or "").startswith("/") else f"/{path or ''}",
    )
    if target.port not in _ALLOWED_PORTS:
        raise FetchError("port")
    return target


def is_public_address(address: str) -> bool:
    """True for the address of one machine on the internet that embeds no other address.

    >>> [is_public_address(each) for each in ("93.184.215.14", "2606:4700::1111")]
    [True, True]
    >>> [is_public_address(each) for each in ("10.0.0.1", "100.64.0.1", "::ffff:8.8.8.8")]
    [False, False, False]
    >>> [is_public_address(each) for each in ("64:ff9b::808:808", "2002:808:808::1")]
    [False, False]
    """
    ip = ipaddress.ip_address(address)
    if ip.version == 6 and ip not in _GLOBAL_UNICAST:
        return False
    is_special = ip.is_multicast or any(ip in network for network in _SPECIAL_RANGES)
    return ip.is_global and not is_special
