"""A fake internet: one local server that stands for every public server."""

import asyncio
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rag_vqa.server.image_fetch import ImageFetcher, resolve_host

PUBLIC = "93.184.215.14"
Answer = bytes | Callable[[socket.socket], object]


def ok(body: bytes, *headers: str) -> bytes:
    head = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(head).encode() + body


def moved(to: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n".encode()


class Internet:
    """
    Attributes:
        names: what they stand for, each time that they are looked up; others are really looked up,
            which for a number in whatever spelling needs no network.
        answers: by path.
        looked_up: names.
        connected: addresses that a connection was wanted to.
        heads: of requests that came.
        closed: set once a client's connection ended.
    """

    def __init__(self, names: Mapping[str, Sequence[Sequence[str]]]) -> None:
        self.names = {"a.example": [[PUBLIC]] * 9} | {name: [*each] for name, each in names.items()}
        self.answers: dict[str, Answer] = {}
        self.looked_up: list[str] = []
        self.connected: list[tuple[str, int]] = []
        self.heads: list[str] = []
        self.closed = threading.Event()
        self.tls: ssl.SSLContext | None = None
        self.port = 0

    def fetching(self, tls: ssl.SSLContext | None = None) -> ImageFetcher:
        return ImageFetcher(self.look_up, self.connect, tls)

    def look_up(self, name: str, port: int) -> Sequence[str]:
        self.looked_up.append(name)
        return self.names[name].pop(0) if name in self.names else resolve_host(name, port)

    async def connect(self, host: str, port: int, **tls: Any) -> Any:
        self.connected.append((host, port))
        return await asyncio.open_connection("127.0.0.1", self.port, **tls)

    def serve(self, taken: socket.socket) -> None:
        with suppress(OSError), self._wrapped(taken) as client:  # TLS refused, a client that goes
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.recv(4096) or b"\r\n\r\n"
            self.heads.append(head.decode())
            answer = self.answers[head.split(b" ")[1].decode()]
            if callable(answer):
                answer(client)
            else:
                client.sendall(answer)
            client.settimeout(20)
            client.recv(1)
        self.closed.set()

    def _wrapped(self, taken: socket.socket) -> socket.socket:
        return taken if self.tls is None else self.tls.wrap_socket(taken, server_side=True)


def own_certificate(folder: Path, authority: bool = False) -> ssl.SSLContext:
    """A self-signed certificate of pictures.example, made for these tests only."""
    file = folder / "pictures.example.pem"
    if authority:
        return ssl.create_default_context(cafile=str(file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


@contextmanager
def internet(**names: Sequence[Sequence[str]]) -> Iterator[Internet]:
    net = Internet(names)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            net.serve(self.request)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        net.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield net
        finally:
            server.shutdown()
            thread.join(10)
