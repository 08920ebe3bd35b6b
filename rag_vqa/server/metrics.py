"""The engine's figures in Prometheus' text format. It knows names and units, and counts nothing.

Unit and kind are in each name, as Prometheus' naming rules say. Nothing of a question is in them.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from rag_vqa.server.engine import Engine
from rag_vqa.server.figures import Histogram

_OUTCOMES = ("answered", "failed", "cancelled", "refused")


def metrics_text(engine: Engine) -> tuple[bytes, str]:
    """All figures as they are now, and the media type."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Figures(engine))
    return generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4


class _Figures:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        """One family after the other."""
        engine, figures = self._engine, self._engine.figures
        seconds = HistogramMetricFamily(
            "rag_vqa_stage_seconds", "Seconds of a question in each stage.", labels=["stage"]
        )
        for stage, histogram in figures.seconds.items():
            seconds.add_metric([stage], *_cumulative(histogram))
        yield seconds
        questions = CounterMetricFamily(
            "rag_vqa_questions", "Questions by how they ended.", labels=["outcome"]
        )
        for outcome in _OUTCOMES:
            questions.add_metric([outcome], figures.counts[outcome])
        yield questions
        for name, text, what in (
            ("rag_vqa_unanswered", "Answers that say that it is not known.", "unknown"),
            ("rag_vqa_invalid_citations", "Citations of no document.", "invalid citations"),
        ):
            yield CounterMetricFamily(name, text, value=figures.counts[what])
        for name, text, histogram in (
            ("rag_vqa_batch_questions", "Questions read together.", figures.batches),
            ("rag_vqa_top_score", "Score of the best document found.", figures.scores),
        ):
            buckets, total = _cumulative(histogram)
            yield HistogramMetricFamily(name, text, buckets=buckets, sum_value=total)
        for name, text, value in (
            ("rag_vqa_queue_questions", "Questions that wait.", engine.waiting),
            ("rag_vqa_reading_questions", "Questions that are read.", engine.reading),
            ("rag_vqa_ready", "1: warmed up.", engine.ready),
            ("rag_vqa_snapshot_age_seconds", "Since the last commit came.", figures.snapshot_age),
            ("rag_vqa_gpu_memory_bytes", "Held on all GPUs.", figures.gpu_bytes()),
        ):
            yield GaugeMetricFamily(name, text, value=float(value))


def _cumulative(histogram: Histogram) -> tuple[list[tuple[str, float]], float]:
    """Bounds with how many values are at most that, and the values' sum."""
    bounds = [*map(str, histogram.bounds), "+Inf"]
    return list(zip(bounds, accumulate(histogram.counts), strict=True)), histogram.total
