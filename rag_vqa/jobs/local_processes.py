"""Local processes: one process a device, each works on its own shard, then shards are merged.

Knows how processes of this machine are started, polled and stopped. They exchange nothing: no
collectives, no ports, and a slow device delays no other. Does not know what a shard is
(sharded_build.py).
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from rag_vqa.cli.progress import progress
from rag_vqa.errors import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_PARTIAL,
    RagVqaError,
)
from rag_vqa.jobs.sharded_build import ShardedBuild, exit_code_of
from rag_vqa.jobs.signals import Stopped, raise_on_signals

_POLL_SECONDS = 0.2  # seconds


def build_on_devices(parts: ShardedBuild, devices: list[str]) -> int:
    """Build all parts and merge them; the exit code. Stopped, the same command goes on."""
    parts.begin()
    context = multiprocessing.get_context("spawn")
    done = context.RawArray("q", parts.count)  # no lock that a killed process could keep
    processes = [
        context.Process(target=_build_shard, args=(parts, number, device, done))
        for number, device in enumerate(devices, 1)
    ]
    try:
        try:
            for process in processes:
                process.start()
            with progress("encode", parts.total, quiet=parts.run.quiet) as advance:
                while any(process.is_alive() for process in processes):
                    time.sleep(_POLL_SECONDS)
                    advance(sum(done[:]))
                    if any(process.exitcode for process in processes):
                        break  # the others have to stop: their parts are safe, and go on later
        finally:
            stop_processes(processes)
    except (KeyboardInterrupt, Stopped) as stop:
        print(f"Stopped: {sum(done[:]):,} documents are safe. The same command goes on from here.",
              file=sys.stderr)  # fmt: skip
        return EXIT_INTERRUPTED if isinstance(stop, KeyboardInterrupt) else EXIT_PARTIAL
    codes = {number: process.exitcode or 0 for number, process in enumerate(processes, 1)}
    return exit_code_of(codes, parts.folder) or parts.merge()


def stop_processes(processes: list[multiprocessing.context.SpawnProcess]) -> None:
    """Ask those that still run to stop, as a cluster would, and wait for their last commit."""
    for process in processes:
        if process.is_alive():
            process.terminate()
    for process in processes:
        if process.pid is not None:
            process.join()


def _build_shard(parts: ShardedBuild, number: int, device: str, done: Any) -> None:
    def tell(count: int) -> None:
        done[number - 1] = count

    code = EXIT_PARTIAL
    with suppress(Stopped, KeyboardInterrupt), raise_on_signals():
        try:
            encoder = parts.encoder(device, parts.count)
            code = parts.build(number, encoder, parts.path(number), tell)
        except (RagVqaError, OSError) as error:
            print(f"part {number} on {device}: {error}", file=sys.stderr)
            code = error.exit_code if isinstance(error, RagVqaError) else 1
    sys.exit(code)


def run_processes(
    targets: Sequence[tuple[Callable[..., None], tuple[Any, ...]]],
    poll: Callable[[], None] = lambda: None,
) -> list[int | None]:
    """Run functions in processes of their own; return their exit codes, below 0 for a signal.

    As soon as one fails, or this process is stopped, the others are asked to stop, too.

    Args:
        targets: functions with their arguments, which must be picklable.
        poll: called a few times a second.
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


def exit_of(work: Callable[[], object], name: str) -> int:
    """The exit code of a child process's work: errors are printed, signals stop it.

    Args:
        name: of the work, for instance "shard 2/4".
    """
    try:
        with raise_on_signals():
            work()
    except (Stopped, KeyboardInterrupt):
        return EXIT_PARTIAL
    except (RagVqaError, OSError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return error.exit_code if isinstance(error, RagVqaError) else EXIT_FAILED
    return EXIT_DONE
