"""Times calls to compare: each once to warm up, then all in turn; reports medians.

Knows clocks. Does not know what it calls.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

# "wall": how long a user waits. "cpu": of all threads; other work hardly changes it.
Seconds = dict[str, float]


def time_call(call: Callable[[], Any]) -> Seconds:
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def time_in_turn(ways: dict[str, Callable[[], Any]], repeats: int) -> dict[str, Any]:
    """Runs each way once to warm up, then all in turn. Returns medians, and every repeat."""
    for call in ways.values():
        call()
    taken: dict[str, list[Seconds]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, call in ways.items():
            taken[name].append(time_call(call))
    return {
        name: {
            **{of: statistics.median(some[of] for some in all_) for of in ("wall", "cpu")},
            "all": all_,
        }
        for name, all_ in taken.items()
    }


def time_ratios(times: dict[str, Any], over: str, under: str) -> Seconds:
    return {of: times[over][of] / times[under][of] for of in ("wall", "cpu")}
