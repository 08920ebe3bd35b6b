"""How a server ends: what is in flight has so many seconds; who waits longer is told.

It knows uvicorn's order: no new connections, those that are there, the lifespan. uvicorn itself
would cancel what is late, and leave its clients with a 500. It does not know signals (serving.py)
nor how questions are given up (engine.py).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import uvicorn


class EndingServer(uvicorn.Server):
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
