"""SIGTERM and SIGUSR1, as clusters send them before they kill: like ^C, what is committed is safe.

It knows signals. What is safe is the matter of whoever catches Stopped, or asks whether to stop.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
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


@contextmanager
def asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Within, the two signals and ^C are noted, for a loop that asks once a round and then saves.
    A second ^C ends it at once."""
    asked = False

    def note(number: int, frame: object) -> None:
        nonlocal asked
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked = True

    names = ("SIGINT", "SIGTERM", "SIGUSR1")
    caught = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {number: signal.signal(number, note) for number in caught}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
