"""Deadlines that uvicorn lacks: for slow clients, and for requests still running at shutdown.

uvicorn waits for ever for the rest of a request, and for a client that does not read its answer. At
shutdown it cancels late requests with a 500. Knows times and bytes of a connection, and uvicorn's
order of shutdown. Does not know signals (app.py) nor how questions are cancelled (engine/).
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from rag_vqa.server.request_limits import (
    MAX_BODY_BYTES,
    SLOW_BYTES,
    SLOW_SECONDS,
    UNREAD_BYTES,
    UNREAD_SECONDS,
    WHOLE_SECONDS,
)


class DeadlineProtocol(H11Protocol):
    """A connection. A clock runs while a request is due or comes in; while an answer is made there
    is none, and between two requests it is uvicorn's own (`timeout_keep_alive`)."""

    _clock: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)  # whatever is not taken is told of
        self._start(0)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        before = self.conn.their_state
        super().data_received(data)
        state = self.conn.their_state
        self._bytes += len(data)
        if state is not h11.IDLE and state is not h11.SEND_BODY:
            self._stop()  # all of the request is here
        elif self._clock is None or (state is h11.IDLE and before is not h11.IDLE):
            self._start(len(data))
        if self._bytes > 4 * MAX_BODY_BYTES:  # refused long ago, and it does not end
            self._cut()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _start(self, received: int) -> None:
        self._stop()
        self._begun, self._bytes, self._seen = self.loop.time(), received, 0
        self._clock = self.loop.call_later(SLOW_SECONDS, self._look)

    def _stop(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _look(self) -> None:
        """Cut what has not sent enough since the last look, or is not here after all that time."""
        left = self._begun + WHOLE_SECONDS - self.loop.time()
        came, self._seen = self._bytes - self._seen, self._bytes
        if self.flow.read_paused or (left > 0 and came >= SLOW_BYTES * SLOW_SECONDS):
            # Paused: it is the server that lags behind.
            self._clock = self.loop.call_later(min(max(left, 1.0), SLOW_SECONDS), self._look)
        else:
            self._cut()

    def _cut(self) -> None:
        """At once: what the system still holds for the client goes too."""
        connection = self.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def _watch(self, before: int) -> None:
        """Look again in a while how much the client has taken of what waits for it."""

        def look() -> None:
            waiting = self.transport.get_write_buffer_size()
            if before - waiting < UNREAD_BYTES:
                self._cut()
            else:
                self._watch(waiting)

        self._unread = self.loop.call_later(UNREAD_SECONDS, look)


class GracefulServer(uvicorn.Server):
    """Calls `give_up` where requests are still in flight `seconds` after it was told to end."""

    def __init__(
        self, config: uvicorn.Config, give_up: Callable[[], object], seconds: float
    ) -> None:
        super().__init__(config)
        self._give_up, self._seconds = give_up, seconds

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As of uvicorn, which finishes what is in flight."""
        late = asyncio.get_running_loop().call_later(self._seconds, self._give_up)
        try:
            await super().shutdown(sockets)
        finally:
            late.cancel()
