"""SIGTERM and SIGUSR1, as clusters send them before they kill: like ^C, what is committed is safe.

It knows signals. What is safe is the matter of whoever catches Stopped, or asks whether to stop.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

INTERRUPTED = 130  # the exit code after ^C
_AFTER = b"\nStopping after this step; ^C again ends it at once.\n"


class Stopped(BaseException):
    """Raised in the main thread, wherever it is."""


def say_interrupted() -> None:
    """The line about ^C, which a terminal has written itself."""
    print("\nStopped." if sys.stderr.isatty() else "^C stopped.", file=sys.stderr, flush=True)


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
def asked_to_stop(quiet: bool = False) -> Iterator[Callable[[], bool]]:
    """Within, the two signals and ^C are noted, for a loop that asks once a round and then saves.

    Until it has asked for the first time they end it at once: models load, data is packed, and
    there is nothing to save. So does a second ^C.
    """
    asked = asks = False

    def note(number: int, frame: object) -> None:
        nonlocal asked
        if number == signal.SIGINT and (asked or not asks):
            raise KeyboardInterrupt
        if not asks:
            raise Stopped
        if not (asked or quiet):
            os.write(2, _AFTER)  # not print: it may have been printing as the signal came
        asked = True

    def ask() -> bool:
        nonlocal asks
        asks = True
        return asked

    names = ("SIGINT", "SIGTERM", "SIGUSR1")
    caught = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {number: signal.signal(number, note) for number in caught}
    try:
        yield ask
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
