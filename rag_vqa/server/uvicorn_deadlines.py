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
    MIN_READ_BYTES,
    MIN_SEND_RATE,
    READ_CHECK_SECONDS,
    REQUEST_SECONDS,
    SEND_CHECK_SECONDS,
)


class DeadlineProtocol(H11Protocol):
    """A connection with deadlines for slow clients.

    A timer runs while a request is expected or arrives. No timer runs while the answer is made;
    between two requests uvicorn's own `timeout_keep_alive` applies.
    """

    _request_timer: asyncio.TimerHandle | None = None
    _response_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)  # pause_writing is called for every unread byte
        self._start_timer(0)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        before = self.conn.their_state
        super().data_received(data)
        state = self.conn.their_state
        self._bytes += len(data)
        if state is not h11.IDLE and state is not h11.SEND_BODY:
            self._stop_timer()  # the request is complete
        elif self._request_timer is None or (state is h11.IDLE and before is not h11.IDLE):
            self._start_timer(len(data))
        if self._bytes > 4 * MAX_BODY_BYTES:  # refused long ago, and the client keeps sending
            self._abort()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._check_reading_later(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._response_timer is not None:
            self._response_timer.cancel()
            self._response_timer = None

    def _start_timer(self, received: int) -> None:
        self._stop_timer()
        self._start_time, self._bytes, self._checked_bytes = self.loop.time(), received, 0
        self._request_timer = self.loop.call_later(SEND_CHECK_SECONDS, self._check_sending)

    def _stop_timer(self) -> None:
        if self._request_timer is not None:
            self._request_timer.cancel()
            self._request_timer = None

    def _check_sending(self) -> None:
        """Abort if too few bytes came since the last check, or if REQUEST_SECONDS are over."""
        seconds_left = self._start_time + REQUEST_SECONDS - self.loop.time()
        new_bytes = self._bytes - self._checked_bytes
        self._checked_bytes = self._bytes
        is_fast = new_bytes >= MIN_SEND_RATE * SEND_CHECK_SECONDS
        # When reading is paused, it is the server that is slow.
        if self.flow.read_paused or (seconds_left > 0 and is_fast):
            self._request_timer = self.loop.call_later(
                min(max(seconds_left, 1.0), SEND_CHECK_SECONDS), self._check_sending
            )
        else:
            self._abort()

    def _abort(self) -> None:
        """Close at once, and drop what the system still buffers for the client."""
        connection = self.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def _check_reading_later(self, bytes_waiting: int) -> None:
        """Abort unless the client reads enough of the waiting bytes in the next seconds."""

        def check_reading() -> None:
            waiting = self.transport.get_write_buffer_size()
            if bytes_waiting - waiting < MIN_READ_BYTES:
                self._abort()
            else:
                self._check_reading_later(waiting)

        self._response_timer = self.loop.call_later(READ_CHECK_SECONDS, check_reading)


class GracefulServer(uvicorn.Server):
    """Calls `cancel_all` if requests are still running `seconds` after shutdown began.

    uvicorn itself would cancel them, and send their clients a 500.
    """

    def __init__(
        self, config: uvicorn.Config, cancel_all: Callable[[], object], seconds: float
    ) -> None:
        super().__init__(config)
        self._cancel_all, self._seconds = cancel_all, seconds

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish the running requests, as uvicorn does, within the given seconds."""
        timer = asyncio.get_running_loop().call_later(self._seconds, self._cancel_all)
        try:
            await super().shutdown(sockets)
        finally:
            timer.cancel()
