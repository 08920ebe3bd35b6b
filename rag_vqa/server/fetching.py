"""Fetches the picture of a question from an address, of public servers alone.

It knows addresses and as much HTTP as one file takes. It does not know which servers are public
(public.py), pictures (rag_vqa.images opens them), nor when it may be asked at all (uploads.py).

Whoever names an address would else reach what this machine reaches: its own network, and servers
that hand out the machine's keys. So a name is looked up once, all that it stands for must be
public, and the connection goes to exactly what was looked at: a second look-up could give another
answer. Clients of HTTP look up by themselves, ask proxies of the environment, keep cookies, unpack
bodies; this one has no code for any of it. All but the look-up is in the event loop: a slow server
holds no thread, and who goes away ends it at once.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from urllib.parse import urljoin

import h11

from rag_vqa import __version__
from rag_vqa.server.budgets import FETCH_REDIRECTS, FETCH_SECONDS, FETCHES, MAX_UPLOAD_BYTES
from rag_vqa.server.failures import Refused, log
from rag_vqa.server.public import is_public, look_up

Hold: TypeAlias = Callable[[int], object]  # takes room for so many bytes, or raises Refused

# What listens elsewhere is mostly no web server, and may take our words for its own commands.
_PORTS: Final = (80, 443)
# The whole address, or it is none: of user-info, backslashes, blanks, control characters and
# letters beyond ASCII no two programs think alike. Names go to the resolver as they are.
_ADDRESS: Final = re.compile(
    r"(https?)://(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]{1,253}))(?::([0-9]{1,5}))?"
    r"([/?][!-\"$-\[\]-~]*)?(?:#[!-~]*)?",
    re.IGNORECASE | re.ASCII,
)
_LONGEST: Final = 2_048
_MOVED: Final = (301, 302, 303, 307, 308)
_LOOKING_UP: Final = ThreadPoolExecutor(FETCHES, "rag-vqa-names")


class NotFetched(ValueError):
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


class Fetching:
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

    async def fetch(self, address: str, field: str, hold: Hold) -> bytes:
        """The bytes that are at an address, whatever they are.

        Raises:
            Refused: they cannot be had; why is not said, or whoever asks learns what answers in
                networks that are not theirs. Too many are fetched. What `hold` raises.
        """
        if self._under_way >= FETCHES:
            raise Refused(429, "Too many pictures are being fetched: try again.", "busy", 2.0)
        self._under_way += 1
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                return await self._followed(address, hold)
        except (OSError, ValueError, h11.ProtocolError) as error:
            log(error)
            raise Refused(
                400, f"{field}: the address could not be fetched. Give an http or https address of "
                "a public server, on its usual port, where a picture of at most "
                f"{MAX_UPLOAD_BYTES // 2**20} MB is; or the picture itself, as "
                "data:image/jpeg;base64,…", "invalid_image_url",
            ) from None  # fmt: skip
        finally:
            self._under_way -= 1

    async def _followed(self, address: str, hold: Hold) -> bytes:
        for _ in range(1 + FETCH_REDIRECTS):
            found = await self._once(_target(address), hold)
            if isinstance(found, bytes):
                return found
            address = urljoin(address, found)
        raise NotFetched("redirects")

    async def _once(self, target: _Target, hold: Hold) -> bytes | str:
        """What is there, or where it moved to."""
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(_LOOKING_UP, self._look_up, target.name, target.port)
        if not found or not all(map(is_public, found)):
            raise NotFetched("not public")
        tls = {"ssl": self._tls, "server_hostname": target.name} if target.tls else {}
        reader, writer = await self._connect(found[0], target.port, **tls)
        try:
            return await _get(target, reader, writer, hold)
        finally:
            writer.transport.abort()  # without TLS's farewell, which a server may not answer


async def _get(
    target: _Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, hold: Hold
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
                raise NotFetched("too large")
            hold(len(piece))
            http.receive_data(piece)
        elif isinstance(event, h11.Response):
            if (moved := _moved(event)) is not None:
                return moved
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            return bytes(body)


def _moved(response: h11.Response) -> str | None:
    """Where to; None where this is the file itself, as it is."""
    headers = dict(response.headers)
    if response.status_code in _MOVED:
        return headers.get(b"location", b"").decode("ascii")
    packed = headers.get(b"content-encoding", b"identity").lower() != b"identity"
    if response.status_code != 200 or packed:
        raise NotFetched("another answer")
    return None


def _target(address: str) -> _Target:
    """The parts of an address, which are read here alone. Raises NotFetched."""
    found = _ADDRESS.fullmatch(address) if len(address) <= _LONGEST else None
    if found is None:
        raise NotFetched("no address")
    scheme, number, name, port, path = found.groups()
    target = _Target(
        tls=scheme.lower() == "https",
        name=number or name,
        port=int(port) if port else (443 if scheme.lower() == "https" else 80),
        path=path if (path or "").startswith("/") else f"/{path or ''}",
    )
    if target.port not in _PORTS:
        raise NotFetched("port")
    return target
