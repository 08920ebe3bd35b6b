"""Local processes: runs several calls at once, each in a process of its own, usually one a device.

Knows how processes of this machine are started, polled and stopped. They exchange nothing: no
collectives, no ports, and a slow device delays no other. Does not know what the processes do
(sharded_build.py, evaluate.py).
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.context import SpawnProcess
from typing import Any

from rag_vqa.errors import EXIT_DONE, EXIT_FAILED, EXIT_PARTIAL, RagVqaError
from rag_vqa.jobs.signals import JobStopped, raise_on_signals
from rag_vqa.progress import Advance, LineNote, LogReporter, no_note

_POLL_SECONDS = 0.2

Target = tuple[Callable[..., None], tuple[Any, ...]]  # a function of a module, and its arguments


def run_processes(
    targets: Sequence[Target], poll: Callable[[], None] = lambda: None
) -> list[int | None]:
    """Run functions in processes of their own; return their exit codes, below 0 for a signal.

    As soon as one fails, or this process is stopped, stops the others with SIGTERM.

    Args:
        targets: functions with their arguments, which must be picklable.
        poll: called a few times a second, for instance to show progress.
    """
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=function, args=args) for function, args in targets]
    try:
        for process in processes:
            process.start()
        while any(process.is_alive() for process in processes):
            time.sleep(_POLL_SECONDS)
            poll()
            if any(process.exitcode for process in processes):
                break
    finally:
        stop_processes(processes)
    return [process.exitcode for process in processes]


def stop_processes(processes: Sequence[SpawnProcess]) -> None:
    """Send SIGTERM to those that still run, and wait for their last commit."""
    for process in processes:
        if process.is_alive():
            process.terminate()
    for process in processes:
        if process.pid is not None:
            process.join()


def exit_of(work: Callable[[], object], name: str) -> int:
    """The exit code of a child process's work: errors are printed, signals stop it.

    Args:
        name: of the work, for instance "shard 2/4".
    """
    try:
        with raise_on_signals():
            work()
    except (JobStopped, KeyboardInterrupt):
        return EXIT_PARTIAL
    except (RagVqaError, OSError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return error.exit_code if isinstance(error, RagVqaError) else EXIT_FAILED
    return EXIT_DONE


class SharedProgress(LogReporter):
    """Writes the progress of a process into its place of a shared array."""

    def __init__(self, done: Any, place: int) -> None:
        super().__init__()
        self._done, self._place = done, place

    @contextmanager
    def progress(
        self, name: str, total: int | None, *, first: int = 0, note: LineNote = no_note
    ) -> Iterator[Advance]:
        """Count in the shared array."""

        def advance(count: int) -> None:
            self._done[self._place] = count

        yield advance
