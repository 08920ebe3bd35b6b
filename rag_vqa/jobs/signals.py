"""Signals that stop a job: SIGTERM, SIGUSR1 and ^C. What was committed is safe.

Knows signals and how the process ends. Does not know what is safe: the job that catches `Stopped`,
or asks whether to stop, does.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

_DEFERRED_NOTE = b"\nStopping after this step; ^C again ends it at once.\n"
_at_once = False


class Stopped(BaseException):
    """Raised in the main thread, wherever it is."""


@contextmanager
def raise_on_signals() -> Iterator[None]:
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
def defer_signals(quiet: bool = False) -> Iterator[Callable[[], bool]]:
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
            os.write(2, _DEFERRED_NOTE)  # not print: it may have been printing as the signal came
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


def exit_at_once() -> None:
    """End without waiting for threads, for a server: one may wait minutes for a reader elsewhere.
    Nor is what models hold looked through for garbage, which takes seconds."""
    global _at_once
    _at_once = True


def exit_process(code: int) -> NoReturn:
    """End the process."""
    if _at_once:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
