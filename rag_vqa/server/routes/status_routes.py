"""Status routes: info, gallery, feedback, health, readiness, Prometheus metrics, and the web page.

Knows routes that carry no question. Metric names state unit and kind, as Prometheus' naming rules
ask; no metric contains anything of a question. Does not count: engine_metrics.py does.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

from fastapi import APIRouter, Request
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.responses import Response

from rag_vqa.server.engine.engine import Engine
from rag_vqa.server.engine.engine_metrics import Histogram
from rag_vqa.server.error_responses import ApiError, json_response
from rag_vqa.server.schemas import FeedbackRequest
from rag_vqa.server.service import Service
from rag_vqa.server.uploads import display_image

PAGE_FOLDER = Path(__file__).parents[1] / "page"
_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".woff2": "font/woff2",
}
_OUTCOMES = ("answered", "failed", "cancelled", "refused")


def health_routes(service: Service) -> APIRouter:
    """How the server is: these answer before the models are loaded."""
    routes = APIRouter()

    @routes.head("/health", include_in_schema=False)
    @routes.get("/health")
    async def health() -> Response:
        return json_response({"status": "ok"})

    @routes.head("/ready", include_in_schema=False)
    @routes.get("/ready")
    async def ready() -> Response:
        warm = service.engine.ready
        return json_response({"ready": warm}, 200 if warm else 503)

    @routes.get("/metrics")
    async def metrics() -> Response:
        text, kind = metrics_text(service.engine)
        return Response(text, 200, media_type=kind)

    return routes


def info_routes(service: Service) -> APIRouter:
    """Info, gallery, and opinions."""
    routes = APIRouter()

    @routes.get("/v1/info")
    async def info(request: Request) -> Response:
        return json_response(await asyncio.to_thread(service.about, request.state.trusted))

    @routes.get("/v1/gallery/{number}")
    async def gallery(number: int) -> Response:
        if not 0 <= number < len(service.gallery):
            raise ApiError(404, "There is no such picture.")
        data, kind = await display_image(service.gallery[number].image)
        return Response(data, 200, {"Cache-Control": "private, max-age=3600"}, kind)

    @routes.post("/v1/feedback")
    async def feedback(asked: FeedbackRequest) -> Response:
        if service.log is None:
            raise ApiError(404, "This server writes no questions down, and no opinions of answers.")
        if not await asyncio.to_thread(service.log.write_feedback, asked.id, asked.good):
            raise ApiError(404, "There is no such answer, or there was an opinion of it already.")
        return json_response({"noted": True})

    return routes


def page_routes() -> APIRouter:
    """The page and its files, read once: no request names a path of the disk."""
    routes = APIRouter(include_in_schema=False)
    files = {file.name: file for file in PAGE_FOLDER.iterdir() if file.suffix in _MEDIA_TYPES}
    contents = {name: file.read_bytes() for name, file in files.items()}
    tags = {name: f'"{hashlib.sha256(data).hexdigest()[:16]}"' for name, data in contents.items()}

    def sent(name: str, request: Request) -> Response:
        if name not in contents:
            raise ApiError(404, "There is no such file.")
        headers = {"Cache-Control": "no-cache", "ETag": tags[name]}
        if request.headers.get("if-none-match") == tags[name]:
            return Response(status_code=304, headers=headers)
        return Response(contents[name], 200, headers, _MEDIA_TYPES[files[name].suffix])

    @routes.get("/")
    async def page(request: Request) -> Response:
        return sent("index.html", request)

    @routes.get("/static/{name}")
    async def static(name: str, request: Request) -> Response:
        return sent(name, request)

    return routes


def metrics_text(engine: Engine) -> tuple[bytes, str]:
    """All figures as they are now, and the media type."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_MetricsCollector(engine))
    return generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4


class _MetricsCollector:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        """One family after the other."""
        engine, figures = self._engine, self._engine.figures
        seconds = HistogramMetricFamily(
            "rag_vqa_stage_seconds", "Seconds of a question in each stage.", labels=["stage"]
        )
        for stage, histogram in figures.seconds.items():
            seconds.add_metric([stage], *_cumulative_buckets(histogram))
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
            buckets, total = _cumulative_buckets(histogram)
            yield HistogramMetricFamily(name, text, buckets=buckets, sum_value=total)
        for name, text, value in (
            ("rag_vqa_queue_questions", "Questions that wait.", engine.waiting),
            ("rag_vqa_reading_questions", "Questions that are read.", engine.reading),
            ("rag_vqa_ready", "1: warmed up.", engine.ready),
            ("rag_vqa_snapshot_age_seconds", "Since the last commit came.", figures.snapshot_age),
            ("rag_vqa_gpu_memory_bytes", "Held on all GPUs.", figures.gpu_bytes()),
        ):
            yield GaugeMetricFamily(name, text, value=float(value))


def _cumulative_buckets(histogram: Histogram) -> tuple[list[tuple[str, float]], float]:
    """Bounds with how many values are at most that, and the values' sum."""
    bounds = [*map(str, histogram.bounds), "+Inf"]
    return list(zip(bounds, accumulate(histogram.counts), strict=True)), histogram.total
