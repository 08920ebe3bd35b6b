"""What all routes share: the Service with its engine and settings, and cancelling on disconnect.

Knows what was opened and what `GET /v1/info` says. Does not know routes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from fastapi import Request

from rag_vqa import __version__
from rag_vqa.images import MAX_PIXELS
from rag_vqa.server.access import Access
from rag_vqa.server.engine.engine import Engine
from rag_vqa.server.error_responses import ApiError
from rag_vqa.server.image_fetch import ImageFetcher
from rag_vqa.server.question_log import QuestionLog
from rag_vqa.server.request_limits import MAX_UPLOAD_BYTES
from rag_vqa.types import ImageSource

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class GalleryQuestion:
    """A question with a picture that the page offers."""

    id: str
    question: str
    image: ImageSource


@dataclass(frozen=True)
class Service:
    """A running server's parts.

    Attributes:
        servers: addresses that pictures are sent to, where the reader is not on this machine.
        log: where questions are written, which is announced; None: nowhere.
        command: what begins the same on the command line.
        fetching: fetches pictures of questions by their address; None: addresses are refused.
    """

    engine: Engine
    access: Access = field(default_factory=Access)
    servers: tuple[str, ...] = ()
    log: QuestionLog | None = None
    gallery: Sequence[GalleryQuestion] = ()
    command: str = "rag-vqa ask KB"
    fetching: ImageFetcher | None = None

    @property
    def k(self) -> int:
        """Documents that a question is answered from, where it does not say."""
        return self.engine.rag.k

    @property
    def model(self) -> str:
        """The reader's name."""
        return self.engine.rag.reader.name

    async def check_warm(self) -> None:
        """Raises Refused until the models are loaded."""
        if not self.engine.ready:
            raise ApiError(503, "The models are still loading: try again.", "not_ready", 5.0)

    def about(self, trusted: bool) -> dict[str, Any]:
        """What `GET /v1/info` says; `trusted`: to somebody who has the token, or needs none."""
        kb = self.engine.rag.kb
        return {
            "name": kb.path.name,
            "version": __version__,
            "documents": len(kb),
            # The last part says enough: of a folder the rest is where things lie on this machine.
            "retriever": kb.manifest.source if trusted else Path(kb.manifest.source).name,
            "reader": {"name": self.model, "servers": list(self.servers)},
            "k": self.k,
            "public": self.access.public,
            "needs_token": bool(self.access.token),
            "fetches": self.fetching is not None,
            "log_questions": None if self.log is None else {"days": self.log.days},
            "trusted": trusted,
            "feedback": self.log is not None and trusted,
            "gallery": [
                {"id": each.id, "question": each.question, "image": f"/v1/gallery/{n}"}
                for n, each in enumerate(self.gallery)
            ],
            "max_upload_bytes": MAX_UPLOAD_BYTES,
            "max_pixels": MAX_PIXELS,
            "command": self.command,
        }


async def cancel_on_disconnect(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """What `work` gives.

    Raises:
        Refused: the client goes away first; nobody is there to read it.
    """

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(gone())
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ApiError(499, "The client went away.", "gone")
    finally:
        for task in (working, leaving):
            task.cancel()
        with suppress(asyncio.CancelledError):
            await leaving
