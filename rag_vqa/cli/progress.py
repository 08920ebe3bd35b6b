"""Progress on stderr: a bar on a terminal, plain lines elsewhere, nothing under --quiet.

It knows counts and clocks. It does not know what is counted.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_EVERY = 5.0  # seconds between two plain lines

Advance = Callable[[int], None]  # is told how many are done in all


Note = Callable[[], str]  # what else stands on the line now


@contextmanager
def progress(
    name: str,
    total: int | None,
    *,
    quiet: bool = False,
    first: int = 0,
    note: Note = lambda: "",
) -> Iterator[Advance]:
    """Shows how far a job is, at what rate, and how long is left; `first` were done before."""
    if quiet:
        yield lambda done: None
    elif sys.stderr.isatty():
        with _bar(name, total, first, note) as advance:
            yield advance
    else:
        yield _lines(name, total, first, note)


def left(done: int, total: int | None, seconds: float, first: int = 0) -> str:
    """Rate and time left.

    >>> left(29_400, 48_210, 71.36)
    '29,400/48,210  412/s  0:00:46 left'
    >>> left(48_210, 48_210, 117.0)
    '48,210/48,210  412/s  in 0:01:57'
    """
    rate = (done - first) / seconds if seconds > 0 else 0.0
    count = f"{done:,}" if total is None else f"{done:,}/{total:,}"
    speed = f"{rate:.0f}/s" if rate >= 10 else f"{rate:.1f}/s"
    if total is None or not rate:
        return f"{count}  {speed}"
    if done >= total:
        return f"{count}  {speed}  in {_clock(seconds)}"
    return f"{count}  {speed}  {_clock((total - done) / rate)} left"


def _clock(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


@contextmanager
def _bar(name: str, total: int | None, first: int, note: Note) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(),
               TextColumn("{task.fields[left]}"))  # fmt: skip
    start = time.monotonic()
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=total, left="")

        def advance(done: int) -> None:
            seconds = time.monotonic() - start
            said = f"{left(done, total, seconds, first)}  {note()}".rstrip()
            bar.update(task, completed=done, left=said)

        yield advance


def _lines(name: str, total: int | None, first: int, note: Note) -> Advance:
    start = last = time.monotonic()

    def advance(done: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _EVERY or done == total:
            last = now
            said = f"{name}  {left(done, total, now - start, first)}  {note()}".rstrip()
            print(said, file=sys.stderr, flush=True)

    return advance
