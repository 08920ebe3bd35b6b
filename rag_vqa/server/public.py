"""Which numbers are machines of the public internet.

It knows what a name stands for, and the ranges that lead elsewhere. It does not know why it matters
(fetching.py).
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Final

# IANA's registries of special purposes, where Python 3.11 is behind them or asks another question;
# and one public address at which a cloud (Azure) tells a machine its own settings. In IPv6 only
# 2000::/3 is given out: mapped and compatible IPv4, NAT64 (64:ff9b:…), link-local, unique local and
# multicast are outside of it. A NAT64 prefix of the site's own cannot be known here.
_GIVEN_OUT: Final = ipaddress.ip_network("2000::/3")
_SPECIAL: Final = tuple(
    map(
        ipaddress.ip_network,
        ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32",
         "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"),
    )
)  # fmt: skip


def is_public(address: str) -> bool:
    """Whether a number is one machine of the internet, with no other address inside it.

    >>> [is_public(each) for each in ("93.184.215.14", "2606:4700::1111", "10.0.0.1", "100.64.0.1")]
    [True, True, False, False]
    >>> [is_public(each) for each in ("::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1")]
    [False, False, False]
    """
    found = ipaddress.ip_address(address)
    if found.version == 6 and found not in _GIVEN_OUT:
        return False
    special = found.is_multicast or any(found in network for network in _SPECIAL)
    return found.is_global and not special


def look_up(name: str, port: int) -> list[str]:
    """All numbers of a name, best first; `127.1` and `0x7f.1` are names too."""
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    return [str(each[4][0]) for each in found]
