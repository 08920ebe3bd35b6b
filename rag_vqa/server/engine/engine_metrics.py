"""Engine metrics: counts, latencies and scores, for `/metrics` and for Retry-After.

Knows numbers, nothing of a question's content. Does not know how they are shown
(routes/status_routes.py). Counted by hand: prometheus_client's own counters add `_created` series
to the output, unless they are switched off for the whole process.
"""

from __future__ import annotations

import sys
import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence

from rag_vqa.eval.answers import is_unknown
from rag_vqa.types import Answer

STAGES = ("wait", "retrieve", "select", "read")
_SECONDS_BOUNDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
_BATCH_BOUNDS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
# Late interaction sums K dot products of unit vectors: 32 at most of a released retriever. Fused
# scores are below 1.
_SCORE_BOUNDS = (0.0, 0.5, 1.0, 4.0, 8.0, 12.0, 16.0, 20.0, 24.0, 28.0, 32.0)
_AVERAGE_WEIGHT = 0.2  # weight of the last batch in how long a question takes


class Histogram:
    """How many values fell under each bound.

    Attributes:
        bounds: upper ends, inclusive, ascending.
        counts: of each, and of what is above them all; not cumulative.
        total: the values' sum.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """One more value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class EngineMetrics:
    """Filled by the engine's threads, read by anybody.

    Attributes:
        seconds: of each of STAGES, a question.
        batches: questions that were read together.
        scores: of the best document of each question that found any.
        counts: "answered", of them "unknown"; "failed", "cancelled", "refused" (the queue was
            full), "invalid citations".
        each: seconds of reading a question, lately; None before the first.
        commit: of the knowledge base, that answers stand on.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.seconds = {stage: Histogram(_SECONDS_BOUNDS) for stage in STAGES}
        self.batches = Histogram(_BATCH_BOUNDS)
        self.scores = Histogram(_SCORE_BOUNDS)
        self.counts: Counter[str] = Counter()
        self.each: float | None = None
        self.commit = -1
        self._since = time.monotonic()

    def count(self, what: str, by: int = 1) -> None:
        """One more of that."""
        with self._lock:
            self.counts[what] += by

    def batch(self, rows: int, seconds: float) -> None:
        """A batch was read."""
        with self._lock:
            self.batches.add(rows)
            each = seconds / rows
            self.each = (
                each if self.each is None else self.each + _AVERAGE_WEIGHT * (each - self.each)
            )

    def answer(self, answer: Answer, seconds: Mapping[str, float]) -> None:
        """A question was answered, and took so long in each stage."""
        with self._lock:
            self.counts["answered"] += 1
            self.counts["unknown"] += is_unknown(answer.text)
            self.counts["invalid citations"] += len(answer.invalid_citations)
            if answer.hits:
                self.scores.add(answer.hits[0].score)
            for stage, taken in seconds.items():
                self.seconds[stage].add(taken)

    def set_commit(self, commit: int) -> None:
        """What was searched last is this commit of the knowledge base."""
        with self._lock:
            if commit != self.commit:
                self.commit, self._since = commit, time.monotonic()

    @property
    def snapshot_age(self) -> float:
        """Seconds since the commit that answers stand on was taken up."""
        return time.monotonic() - self._since

    @staticmethod
    def gpu_bytes() -> int:
        """That this process holds on all GPUs; 0 without one."""
        torch = sys.modules.get("torch")  # whoever loaded no model loads none for this
        if torch is None or not torch.cuda.is_available():
            return 0
        return sum(map(torch.cuda.memory_reserved, range(torch.cuda.device_count())))
