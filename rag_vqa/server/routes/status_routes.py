"""Status routes: info, gallery, feedback, health, readiness, Prometheus metrics, and the web page.

Knows routes that carry no question. Metric names state unit and kind, as Prometheus' naming rules
ask; no metric contains anything of a question. Does not count: engine_metrics.py does.
"""

from __future__ import annotations

import asyncio
import hashlib
import html
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
    """Health, readiness and metrics, which answer before the models are loaded."""
    routes = APIRouter()

    @routes.head("/health", include_in_schema=False)
    @routes.get("/health")
    async def health() -> Response:
        return json_response({"status": "ok"})

    @routes.head("/ready", include_in_schema=False)
    @routes.get("/ready")
    async def ready() -> Response:
        is_ready = service.engine.ready
        return json_response({"ready": is_ready}, 200 if is_ready else 503)

    @routes.get("/metrics")
    async def metrics() -> Response:
        text, media_type = metrics_text(service.engine)
        return Response(text, 200, media_type=media_type)

    return routes


def info_routes(service: Service) -> APIRouter:
    """Info, gallery and feedback."""
    routes = APIRouter()

    @routes.get("/v1/info")
    async def info(request: Request) -> Response:
        return json_response(await asyncio.to_thread(service.info, request.state.trusted))

    @routes.get("/v1/gallery/{number}")
    async def gallery(number: int) -> Response:
        if not 0 <= number < len(service.gallery):
            raise ApiError(404, "There is no such picture.")
        data, media_type = await display_image(service.gallery[number].image)
        return Response(data, 200, {"Cache-Control": "private, max-age=3600"}, media_type)

    @routes.post("/v1/feedback")
    async def feedback(body: FeedbackRequest) -> Response:
        if service.log is None:
            raise ApiError(404, "This server logs neither questions nor feedback.")
        if not await asyncio.to_thread(service.log.write_feedback, body.id, body.good):
            raise ApiError(404, "There is no such answer, or it already has feedback.")
        return json_response({"noted": True})

    return routes


def page_routes(title: str = "") -> APIRouter:
    """The web page and its files, all read once: no request can name a path on disk.

    Args:
        title: stands on the page and its tab in place of the program's name.
    """
    routes = APIRouter(include_in_schema=False)
    files = {file.name: file for file in PAGE_FOLDER.iterdir() if file.suffix in _MEDIA_TYPES}
    contents = {name: file.read_bytes() for name, file in files.items()}
    if title:
        contents["index.html"] = write_title(contents["index.html"], title)
    tags = {name: f'"{hashlib.sha256(data).hexdigest()[:16]}"' for name, data in contents.items()}

    def page_file(name: str, request: Request) -> Response:
        if name not in contents:
            raise ApiError(404, "There is no such file.")
        headers = {"Cache-Control": "no-cache", "ETag": tags[name]}
        if request.headers.get("if-none-match") == tags[name]:
            return Response(status_code=304, headers=headers)
        return Response(contents[name], 200, headers, _MEDIA_TYPES[files[name].suffix])

    @routes.get("/")
    async def page(request: Request) -> Response:
        return page_file("index.html", request)

    @routes.get("/static/{name}")
    async def static(name: str, request: Request) -> Response:
        return page_file(name, request)

    return routes


def write_title(page: bytes, title: str) -> bytes:
    """The page with this title in its tab and its header."""
    shown = html.escape(title).encode()
    for tag in (b"title", b"span"):
        page = page.replace(b"<%b>rag-vqa</%b>" % (tag, tag), b"<%b>%b</%b>" % (tag, shown, tag))
    return page


def metrics_text(engine: Engine) -> tuple[bytes, str]:
    """The current metrics in Prometheus' text format, and its media type."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_MetricsCollector(engine))
    return generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4


class _MetricsCollector:
    """Reads the engine's metrics when Prometheus asks."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        """Yield one metric family after the other."""
        engine, recorded = self._engine, self._engine.metrics
        seconds = HistogramMetricFamily(
            "rag_vqa_stage_seconds", "Seconds of a question in each stage.", labels=["stage"]
        )
        for stage, histogram in recorded.seconds.items():
            seconds.add_metric([stage], *_cumulative_buckets(histogram))
        yield seconds
        questions = CounterMetricFamily(
            "rag_vqa_questions", "Questions by how they ended.", labels=["outcome"]
        )
        for outcome in _OUTCOMES:
            questions.add_metric([outcome], recorded.counts[outcome])
        yield questions
        for name, text, count in (
            ("rag_vqa_unanswered", "Answers that say that the answer is unknown.", "unknown"),
            (
                "rag_vqa_invalid_citations",
                "Citations of a number without document.",
                "invalid citations",
            ),
        ):
            yield CounterMetricFamily(name, text, value=recorded.counts[count])
        for name, text, histogram in (
            ("rag_vqa_batch_questions", "Questions read together.", recorded.batches),
            ("rag_vqa_top_score", "Score of the best document found.", recorded.scores),
        ):
            buckets, total = _cumulative_buckets(histogram)
            yield HistogramMetricFamily(name, text, buckets=buckets, sum_value=total)
        for name, text, value in (
            ("rag_vqa_queue_questions", "Questions that wait.", engine.waiting_count),
            ("rag_vqa_reading_questions", "Questions being read.", engine.reading_count),
            ("rag_vqa_ready", "1: warmed up.", engine.ready),
            (
                "rag_vqa_snapshot_age_seconds",
                "Seconds since the latest commit.",
                recorded.snapshot_age,
            ),
            ("rag_vqa_gpu_memory_bytes", "Reserved on all GPUs.", recorded.gpu_bytes()),
        ):
            yield GaugeMetricFamily(name, text, value=float(value))


def _cumulative_buckets(histogram: Histogram) -> tuple[list[tuple[str, float]], float]:
    """Each bound with the number of values up to it, and the sum of all values."""
    bounds = [*map(str, histogram.bounds), "+Inf"]
    return list(zip(bounds, accumulate(histogram.counts), strict=True)), histogram.total
