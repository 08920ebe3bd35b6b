"""SIGTERM and SIGUSR1, as clusters send them before they kill: like ^C, what is committed is safe.

It knows signals. What is safe is the matter of whoever catches Stopped.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


class Stopped(BaseException):
    """Raised in the main thread, wherever it is."""


@contextmanager
def stopping() -> Iterator[None]:
    """Within, the two signals raise Stopped."""

    def stop(number: int, frame: object) -> None:
        raise Stopped

    caught = [getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name)]
    before = {number: signal.signal(number, stop) for number in caught}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
