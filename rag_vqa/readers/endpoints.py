"""Several servers of one model: which one is asked next, how often, and who is left out.

It knows how many requests each has and who is of no use. It does not know prompts, nor what a
request is.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

_log = logging.getLogger("rag_vqa")
STRIKES = 3  # connections refused in a row, then a server is left out
REST = 30.0  # seconds that it is left out before it is tried again


@dataclass(slots=True, eq=False)
class Endpoint:
    """A server.

    Attributes:
        client: of the openai package.
        open: requests under way.
        asked: requests so far.
        strikes: connections refused in a row.
        until: it is left out until then, on the clock of `Endpoints`.
    """

    address: str
    client: Any
    open: int = 0
    asked: int = 0
    strikes: int = 0
    until: float = 0.0

    @property
    def host(self) -> str:
        """Name and port, for messages."""
        return urlsplit(self.address).netloc


class Endpoints:
    """Picks the server with the fewest requests under way; the dead are left out for a while.

    Args:
        servers: at least one.
        clock: seconds that only grow.
    """

    def __init__(
        self, servers: Sequence[Endpoint], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.servers = tuple(servers)
        self._clock = clock
        self._spoken = False  # some server has answered

    def pick(self, failed: Endpoint | None = None) -> Endpoint:
        """The server to ask next; not that which just failed if there is another, and if all are
        left out, the one whose rest ends first."""
        now = self._clock()
        alive = [server for server in self.servers if server.until <= now]
        others = [server for server in alive if server is not failed] or alive
        if not others:
            return min(self.servers, key=lambda server: server.until)
        return min(others, key=lambda server: (server.open, server.asked))

    def answered(self, server: Endpoint) -> None:
        """It is there, whatever it said."""
        if server.until and len(self.servers) > 1:
            _log.warning("The reader's server at %s answers again", server.host)
        server.strikes, server.until, self._spoken = 0, 0.0, True

    def refused(self, server: Endpoint, reason: str) -> None:
        """It was not there."""
        server.strikes += 1
        if server.strikes >= STRIKES:
            self.leave_out(server, reason)

    def leave_out(self, server: Endpoint, reason: str) -> None:
        """It is asked nothing for a while; said once, and of one among several."""
        if not server.until and len(self.servers) > 1:
            _log.warning("Left out until it answers: %s", reason)
        server.until = self._clock() + REST

    @property
    def all_out(self) -> bool:
        """Whether no server is thought to be there."""
        now = self._clock()
        return all(server.until > now for server in self.servers)

    @property
    def never_there(self) -> bool:
        """Whether none ever answered, and each refused a connection."""
        return not self._spoken and all(server.strikes for server in self.servers)


class Pace:
    """Requests at even distances, at most so many a minute; None: as they come."""

    def __init__(self, per_minute: float | None = None) -> None:
        self._distance = 60.0 / per_minute if per_minute else 0.0
        self._next = 0.0

    def wait(self, now: float) -> float:
        """Takes the next place, and says in how many seconds that is.

        >>> pace = Pace(per_minute=30)
        >>> [pace.wait(now) for now in (100.0, 100.5, 103.0, 110.0)]
        [0.0, 1.5, 1.0, 0.0]
        """
        place = max(now, self._next)
        self._next = place + self._distance
        return place - now
