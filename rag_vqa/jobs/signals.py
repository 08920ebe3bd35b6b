"""Signals that stop a job: SIGTERM, SIGUSR1 and ^C. What was committed is safe.

Knows signals. Does not know what is safe: the job that catches `JobStopped`, or asks whether to
stop, does.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Self

from rag_vqa.errors import EXIT_INTERRUPTED, EXIT_PARTIAL

_DEFERRED_NOTE = b"\nStopping after this step; ^C again ends it at once.\n"
exits_at_once = False  # see `exit_at_once`


class JobStopped(BaseException):
    """A signal or ^C stopped a job. The same command, or call, continues it.

    Raised in the main thread. Not an Exception, so that no handler for errors catches it.

    Attributes:
        message: what is safe; "" if nothing was written yet.
        by_hand: stopped by ^C, not by a signal of the system.
    """

    def __init__(self, message: str = "", by_hand: bool = False) -> None:
        super().__init__(message)
        self.message, self.by_hand = message, by_hand

    @classmethod
    def after(cls, stop: BaseException, message: str) -> Self:
        """What a job raises after it caught `stop` (KeyboardInterrupt or JobStopped)."""
        return cls(message, isinstance(stop, KeyboardInterrupt) or getattr(stop, "by_hand", False))

    @property
    def exit_code(self) -> int:
        """The exit code of the program."""
        return EXIT_INTERRUPTED if self.by_hand else EXIT_PARTIAL


@contextmanager
def raise_on_signals() -> Iterator[None]:
    """Raise `JobStopped` on SIGTERM and SIGUSR1; clusters send them before they kill a process."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise JobStopped

    with _signal_handler(("SIGTERM", "SIGUSR1"), stop):
        yield


@contextmanager
def defer_signals(quiet: bool = False) -> Iterator[Callable[[], bool]]:
    """Yield a function that a loop calls once a round: True if the job was asked to stop.

    SIGTERM, SIGUSR1 and ^C then wait for the end of the round, so that the loop can save its state.
    Before the loop has called it for the first time, they stop the job at once: models load, data
    is packed, and there is nothing to save. A second ^C stops it at once, too.
    """
    is_requested = is_polled = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal is_requested
        if number == signal.SIGINT and (is_requested or not is_polled):
            raise KeyboardInterrupt
        if not is_polled:
            raise JobStopped
        if not (is_requested or quiet):
            os.write(2, _DEFERRED_NOTE)  # not print: it may have been printing as the signal came
        is_requested = True

    def stop_requested() -> bool:
        nonlocal is_polled
        is_polled = True
        return is_requested

    with _signal_handler(("SIGINT", "SIGTERM", "SIGUSR1"), handle):
        yield stop_requested


@contextmanager
def _signal_handler(
    names: tuple[str, ...], handler: Callable[[int, FrameType | None], None]
) -> Iterator[None]:
    """Use a handler for those of the signals that this system has, and put back the former ones."""
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    former = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, previous in former.items():
            signal.signal(number, previous)


def exit_at_once() -> None:
    """Let the program end without waiting for threads and without a last garbage collection.

    For a server: a thread may wait minutes for a reader elsewhere, and looking through what models
    hold takes seconds.
    """
    global exits_at_once
    exits_at_once = True
