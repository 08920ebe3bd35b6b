"""How often a client may ask: so many at once, then so many a minute.

It knows clients by their address and forgets those that have not asked for long. It does not know
what is asked for.
"""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

from rag_vqa.server.budgets import BURST, CLIENTS, REQUESTS_A_MINUTE


class Rates:
    """A bucket of BURST requests a client, filled again at REQUESTS_A_MINUTE."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, client: str, cost: float = 1.0) -> float:
        """Take `cost` out of a client's bucket: 0, or the seconds until that much is in it."""
        now, key = self._clock(), _network(client)
        left, before = self._left.pop(key, (BURST, now))
        left = min(BURST, left + (now - before) * REQUESTS_A_MINUTE / 60)
        enough = left >= cost
        self._left[key] = (left - cost if enough else left, now)
        if len(self._left) > CLIENTS:
            self._left.popitem(last=False)
        return 0.0 if enough else (cost - left) * 60 / REQUESTS_A_MINUTE


def _network(client: str) -> str:
    """Whom an address belongs to: one household has 2^64 addresses of version 6.

    >>> _network("2001:db8::1") == _network("2001:db8::2"), _network("192.0.2.1")
    (True, '192.0.2.1')
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
