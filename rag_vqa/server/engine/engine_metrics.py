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
from collections.abc import Sequence

from rag_vqa.eval.answers import is_unknown
from rag_vqa.types import Answer

STAGES = ("wait", "retrieve", "select", "read")
_SECONDS_BOUNDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
_BATCH_BOUNDS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
# Late interaction sums K dot products of unit vectors: at most 32 for the released retrievers.
# Scores fused with words are smaller, see `Retriever.search`.
_SCORE_BOUNDS = (0.0, 0.5, 1.0, 4.0, 8.0, 12.0, 16.0, 20.0, 24.0, 28.0, 32.0)
_AVERAGE_WEIGHT = 0.2  # of the last batch, in the moving average of seconds per question


class Histogram:
    """Counts of values by range.

    Attributes:
        bounds: upper ends of the ranges, inclusive, ascending.
        counts: values in each range, and above the last one; not cumulative.
        total: sum of all values.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class EngineMetrics:
    """Written by the engine's threads, read by anybody.

    Attributes:
        seconds: histogram of seconds a question spent in each of STAGES.
        batches: histogram of questions read together.
        scores: histogram of the best document's score, for questions that found any.
        counts: "answered", and of these "unknown"; "failed", "cancelled", "refused" (the queue was
            full), "invalid citations".
        seconds_per_question: moving average of reading time; None before the first batch.
        commit: the knowledge base's commit that the latest answers come from.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.seconds = {stage: Histogram(_SECONDS_BOUNDS) for stage in STAGES}
        self.batches = Histogram(_BATCH_BOUNDS)
        self.scores = Histogram(_SCORE_BOUNDS)
        self.counts: Counter[str] = Counter()
        self.seconds_per_question: float | None = None
        self.commit = -1
        self._commit_since = time.monotonic()

    def count(self, event: str, by: int = 1) -> None:
        """Increase a counter of `counts`."""
        with self._lock:
            self.counts[event] += by

    def record_batch(self, rows: int, seconds: float) -> None:
        """Record a batch that was read."""
        with self._lock:
            self.batches.add(rows)
            latest = seconds / rows
            average = latest if self.seconds_per_question is None else self.seconds_per_question
            self.seconds_per_question = average + _AVERAGE_WEIGHT * (latest - average)

    def record_answer(self, answer: Answer) -> None:
        """Record an answer with the seconds of its stages."""
        with self._lock:
            self.counts["answered"] += 1
            self.counts["unknown"] += is_unknown(answer.text)
            self.counts["invalid citations"] += len(answer.invalid_citations)
            if answer.hits:
                self.scores.add(answer.hits[0].score)
            for stage, seconds in answer.seconds.items():
                self.seconds[stage].add(seconds)

    def set_commit(self, commit: int) -> None:
        """Record which commit of the knowledge base the last search used."""
        with self._lock:
            if commit != self.commit:
                self.commit, self._commit_since = commit, time.monotonic()

    @property
    def snapshot_age(self) -> float:
        """Seconds since searches began to use the current commit."""
        return time.monotonic() - self._commit_since

    @staticmethod
    def gpu_bytes() -> int:
        """Bytes that this process reserves on all GPUs; 0 without a GPU."""
        torch = sys.modules.get("torch")  # if no model has loaded torch, metrics must not either
        if torch is None or not torch.cuda.is_available():
            return 0
        return sum(map(torch.cuda.memory_reserved, range(torch.cuda.device_count())))
