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

ReserveBytes: TypeAlias = Callable[[int], object]  # takes room for so many bytes, or raises Refused
# What listens elsewhere is mostly no web server, and may take our words for its own commands.
_PORTS: Final = (80, 443)
# The whole address, or it is none: of user-info, backslashes, blanks, control characters and
# letters beyond ASCII no two programs think alike. Names go to the resolver as they are.
_URL: Final = re.compile(
    r"(https?)://(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]{1,253}))(?::([0-9]{1,5}))?"
    r"([/?][!-\"$-\[\]-~]*)?(?:#[!-~]*)?",
    re.IGNORECASE | re.ASCII,
)
_MAX_URL_LENGTH: Final = 2_048
_REDIRECT_STATUSES: Final = (301, 302, 303, 307, 308)
_DNS_THREADS: Final = ThreadPoolExecutor(MAX_FETCHES, "rag-vqa-names")
# IANA's registries of special purposes, where Python 3.11 is behind them or asks another question;
# and one public address at which a cloud (Azure) tells a machine its own settings. In IPv6 only
# 2000::/3 is given out: mapped and compatible IPv4, NAT64 (64:ff9b:…), link-local, unique local and
# multicast are outside of it. A NAT64 prefix of the site's own cannot be known here.
_GLOBAL_UNICAST: Final = ipaddress.ip_network("2000::/3")
_SPECIAL_RANGES: Final = tuple(
    map(
        ipaddress.ip_network,
        ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32",
         "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"),
    )
)  # fmt: skip


class FetchError(ValueError):
    """An address that is not asked, or an answer that is not taken; only its place is logged."""


@dataclass(frozen=True, slots=True)
class _Target:
    tls: bool
    name: str
    port: int
    path: str

    @property
    def host(self) -> str:
        name = f"[{self.name}]" if ":" in self.name else self.name
        return name if self.port == (443 if self.tls else 80) else f"{name}:{self.port}"


def look_up(name: str, port: int) -> list[str]:
    """All numbers of a name, best first; `127.1` and `0x7f.1` are names too."""
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    return [str(each[4][0]) for each in found]


class ImageFetcher:
    """Fetches few at once, so that no flood of addresses holds the places of other questions.

    Args:
        look_up: name, port → numbers; it may block.
        connect: as `asyncio.open_connection`.
        tls: who is believed; None, the authorities of this machine.
    """

    def __init__(
        self,
        look_up: Callable[[str, int], Sequence[str]] = look_up,
        connect: Callable[..., Any] = asyncio.open_connection,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._look_up, self._connect = look_up, connect
        self._tls = tls or ssl.create_default_context()
        self._under_way = 0

    async def fetch(self, address: str, field: str, hold: ReserveBytes) -> bytes:
        """The bytes that are at an address, whatever they are.

        Raises:
            Refused: they cannot be had; why is not said, or whoever asks learns what answers in
                networks that are not theirs. Too many are fetched. What `hold` raises.
        """
        if self._under_way >= MAX_FETCHES:
            raise ApiError(429, "Too many pictures are being fetched: try again.", "busy", 2.0)
        self._under_way += 1
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                return await self._followed(address, hold)
        except (OSError, ValueError, h11.ProtocolError) as error:
            log_error(error)
            raise ApiError(
                400, f"{field}: the address could not be fetched. Give an http or https address of "
                "a public server, on its usual port, where a picture of at most "
                f"{MAX_UPLOAD_BYTES // 2**20} MB is; or the picture itself, as "
                "data:image/jpeg;base64,…", "invalid_image_url",
            ) from None  # fmt: skip
        finally:
            self._under_way -= 1

    async def _followed(self, address: str, hold: ReserveBytes) -> bytes:
        for _ in range(1 + FETCH_REDIRECTS):
            found = await self._once(_parse_url(address), hold)
            if isinstance(found, bytes):
                return found
            address = urljoin(address, found)
        raise FetchError("redirects")

    async def _once(self, target: _Target, hold: ReserveBytes) -> bytes | str:
        """What is there, or where it moved to."""
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(_DNS_THREADS, self._look_up, target.name, target.port)
        if not found or not all(map(is_public_address, found)):
            raise FetchError("not public")
        tls = {"ssl": self._tls, "server_hostname": target.name} if target.tls else {}
        reader, writer = await self._connect(found[0], target.port, **tls)
        try:
            return await _read_response(target, reader, writer, hold)
        finally:
            writer.transport.abort()  # without TLS's farewell, which a server may not answer


async def _read_response(
    target: _Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, hold: ReserveBytes
) -> bytes | str:
    http, body, came = h11.Connection(h11.CLIENT), bytearray(), 0
    headers = {"Host": target.host, "User-Agent": f"rag-vqa/{__version__}", "Accept": "image/*",
               "Accept-Encoding": "identity", "Connection": "close"}  # fmt: skip
    request = h11.Request(method="GET", target=target.path, headers=list(headers.items()))
    for sent in (request, h11.EndOfMessage()):
        writer.write(http.send(sent) or b"")
    while True:
        await asyncio.sleep(0)  # a body in chunks of a byte would keep the loop to itself
        event = http.next_event()
        if event is h11.NEED_DATA:
            piece = await reader.read(2**16)
            came += len(piece)
            if came > MAX_UPLOAD_BYTES:
                raise FetchError("too large")
            hold(len(piece))
            http.receive_data(piece)
        elif isinstance(event, h11.Response):
            if (moved := _redirect_location(event)) is not None:
                return moved
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            return bytes(body)


def _redirect_location(response: h11.Response) -> str | None:
    """Where to; None where this is the file itself, as it is."""
    headers = dict(response.headers)
    if response.status_code in _REDIRECT_STATUSES:
        return headers.get(b"location", b"").decode("ascii")
    packed = headers.get(b"content-encoding", b"identity").lower() != b"identity"
    if response.status_code != 200 or packed:
        raise FetchError("another answer")
    return None


def _parse_url(address: str) -> _Target:
    """The parts of an address, which are read here alone. Raises NotFetched."""
    found = _URL.fullmatch(address) if len(address) <= _MAX_URL_LENGTH else None
    if found is None:
        raise FetchError("no address")
    scheme, number, name, port, path = found.groups()
    target = _Target(
        tls=scheme.lower() == "https",
        name=number or name,
        port=int(port) if port else (443 if scheme.lower() == "https" else 80),
        path=path if (path or "").startswith("/") else f"/{path or ''}",
    )
    if target.port not in _PORTS:
        raise FetchError("port")
    return target


def is_public_address(address: str) -> bool:
    """Whether a number is one machine of the internet, with no other address inside it.

    >>> [is_public_address(each) for each in ("93.184.215.14", "2606:4700::1111")]
    [True, True]
    >>> [is_public_address(each) for each in ("10.0.0.1", "100.64.0.1")]
    [False, False]
    >>> mapped = ("::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1")
    >>> [is_public_address(each) for each in mapped]
    [False, False, False]
    """
    found = ipaddress.ip_address(address)
    if found.version == 6 and found not in _GLOBAL_UNICAST:
        return False
    special = found.is_multicast or any(found in network for network in _SPECIAL_RANGES)
    return found.is_global and not special
