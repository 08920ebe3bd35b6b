"""Runs a command and watches what it costs: seconds, CPU seconds, and memory with its children.

Knows processes of Linux and their proportional memory. Does not know which commands are run.
"""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EVERY = 0.05  # seconds between two looks at the memory, at least
SHARE = 0.05  # of the time, at most, that is spent on looking: large processes take longer


@dataclass
class Cost:
    """What a command did and cost. Memory in bytes, of the command and its children together.

    Attributes:
        peak: largest memory of their own at once (anonymous and shared).
        mapped: pages of files that were mapped at that moment: libraries, and weights that are read
            out of their file. The system can drop them and read them again.
        mapped_peak: most pages of files that were mapped at any time.
        code: exit code; negative if a signal ended the command.
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak: int = 0
    mapped: int = 0
    mapped_peak: int = 0
    code: int = 0
    out: str = ""
    err: str = ""

    @property
    def last_line(self) -> str:
        """What the command said last on stderr, without what bars wrote over."""
        lines = self.err.replace("\r", "\n").strip().splitlines()
        return lines[-1].strip() if lines else ""

    def figures(self) -> dict[str, Any]:
        """The figures, rounded, for results."""
        return {
            "seconds": round(self.seconds, 1), "cpu_seconds": round(self.cpu_seconds, 1),
            "peak_bytes": self.peak, "mapped_bytes": self.mapped, "code": self.code,
        }  # fmt: skip


class MemoryWatch:
    """Looks at the memory of a process and its children until it is stopped."""

    def __init__(self, pid: int) -> None:
        self.pid, self.cost, self._over = pid, Cost(), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> Cost:
        self._over.set()
        self._thread.join()
        return self.cost

    def reset(self) -> None:
        """Forget the peak: what follows is a step of its own."""
        self.cost = Cost()

    def _watch(self) -> None:
        while not self._over.is_set():
            begun = time.monotonic()
            own, mapped = tree_memory(self.pid)
            cost = self.cost
            cost.mapped_peak = max(cost.mapped_peak, mapped)
            if own > cost.peak:
                cost.peak, cost.mapped = own, mapped
            self._over.wait(max(EVERY, (time.monotonic() - begun) / SHARE))


def tree_memory(pid: int) -> tuple[int, int]:
    """Bytes of a process and its children: their own, and mapped from files.

    Of files, the largest share of one process counts: its children map the same ones.
    """
    own = mapped = 0
    for each in [pid, *children(pid)]:
        try:
            text = Path(f"/proc/{each}/smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it has ended
        found = (line.split(":", 1) for line in text.splitlines() if line.endswith("kB"))
        size = {name: 1024 * int(count.split()[0]) for name, count in found}
        own += size["Pss_Anon"] + size["Pss_Shmem"]
        mapped = max(mapped, size["Rss"] - size["Anonymous"])
    return own, mapped


def children(pid: int) -> list[int]:
    """Ids of a process's children and theirs."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            direct = [int(each) for each in path.read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue
        for each in direct:
            found += [each, *children(each)]
    return found


@contextmanager
def started(command: list[str], variables: Mapping[str, str]) -> Iterator[Any]:
    """A command that runs while this is entered; ended with ^C, or killed after 30 seconds."""
    process = subprocess.Popen(
        command, env={**os.environ, **variables}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, errors="replace", start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def measure(
    command: list[str],
    variables: Mapping[str, str] = {},
    kill_when: Callable[[], bool] = lambda: False,
) -> Cost:
    """Run a command to its end, or kill it (SIGKILL) as soon as `kill_when` says so."""
    begun, before = time.monotonic(), os.times()
    with started(command, variables) as process:
        watch = MemoryWatch(process.pid)
        pieces: dict[str, str] = {}
        readers = [read_in_thread(process, name, pieces) for name in ("stdout", "stderr")]
        while process.poll() is None:
            if kill_when():
                os.killpg(process.pid, signal.SIGKILL)
            time.sleep(EVERY / 2)
        for reader in readers:
            reader.join()
        cost = watch.stop()
    after = os.times()
    cost.seconds = time.monotonic() - begun
    spent = after.children_user - before.children_user
    cost.cpu_seconds = spent + after.children_system - before.children_system
    cost.code, cost.out, cost.err = process.returncode, pieces["stdout"], pieces["stderr"]
    return cost


def read_in_thread(process: Any, name: str, into: dict[str, str]) -> threading.Thread:
    """Reads one of a command's streams to its end, so that the command never waits for that."""

    def read() -> None:
        with getattr(process, name) as stream:
            into[name] = stream.read()

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread
