"""Progress on stderr: a bar on a terminal, plain lines elsewhere, nothing with --quiet.

Knows bars and lines. Does not know what is counted; rates and times are worded by formatting.py.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rag_vqa.formatting import format_rate_and_eta
from rag_vqa.progress import Advance, LineNote

_LINE_SECONDS = 5.0  # between two plain lines


@contextmanager
def progress(
    name: str,
    total: int | None,
    *,
    quiet: bool = False,
    first: int = 0,
    note: LineNote = lambda: "",
) -> Iterator[Advance]:
    """Show how far a job is, its rate and the time left; `first` items were done before."""
    if quiet:
        yield lambda done: None
    elif sys.stderr.isatty():
        with _terminal_bar(name, total, first, note) as advance:
            yield advance
    else:
        yield _plain_lines(name, total, first, note)


@contextmanager
def _terminal_bar(name: str, total: int | None, first: int, note: LineNote) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(),
               TextColumn("{task.fields[left]}"))  # fmt: skip
    start = time.monotonic()
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=total, left="")

        def advance(done: int) -> None:
            seconds = time.monotonic() - start
            line = f"{format_rate_and_eta(done, total, seconds, first)}  {note()}".rstrip()
            bar.update(task, completed=done, left=line)

        yield advance


def _plain_lines(name: str, total: int | None, first: int, note: LineNote) -> Advance:
    start = last = time.monotonic()

    def advance(done: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _LINE_SECONDS or done == total:
            last = now
            line = (
                f"{name}  {format_rate_and_eta(done, total, now - start, first)}  {note()}".rstrip()
            )
            print(line, file=sys.stderr, flush=True)

    return advance
