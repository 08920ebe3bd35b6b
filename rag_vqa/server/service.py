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
from rag_vqa.types import ImageSource, Where

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class GalleryQuestion:
    """A question with a picture, offered on the page."""

    id: str
    question: str
    image: ImageSource


@dataclass(frozen=True)
class Service:
    """The parts of a running server.

    Attributes:
        servers: addresses of a remote reader, which pictures and questions are sent to.
        log: writes questions to a folder, which the page announces; None: nothing is written.
        gallery: questions that the page offers.
        command: the beginning of a command line that asks the same way.
        fetcher: fetches the pictures of questions by address; None: addresses are refused.
        title: the page's title; "" shows the program's name.
    """

    engine: Engine
    access: Access = field(default_factory=Access)
    servers: tuple[str, ...] = ()
    log: QuestionLog | None = None
    gallery: Sequence[GalleryQuestion] = ()
    command: str = "rag-vqa ask KB"
    fetcher: ImageFetcher | None = None
    title: str = ""

    @property
    def k(self) -> int:
        """Documents to retrieve for a question that does not say how many."""
        return self.engine.rag.k

    @property
    def reader_name(self) -> str:
        """The reader's name."""
        return self.engine.rag.reader.name

    async def notice(self, where: Where | None) -> dict[str, str]:
        """The field `notice` of a response without hits: which values there are, if no document
        passes the filter."""
        text = await self.engine.describe_no_match(where) if where else ""
        return {"notice": text} if text else {}

    async def require_ready(self) -> None:
        """Raises ApiError until the models are loaded."""
        if not self.engine.ready:
            raise ApiError(503, "The models are still loading: try again.", "not_ready", 5.0)

    def info(self, trusted: bool) -> dict[str, Any]:
        """The content of `GET /v1/info`. `trusted`: the client has the token, or needs none."""
        kb = self.engine.rag.kb
        return {
            "name": kb.path.name,
            "title": self.title,
            "version": __version__,
            "documents": len(kb),
            # Only the last part of a folder: the rest would reveal the layout of this machine.
            "retriever": kb.manifest.source if trusted else Path(kb.manifest.source).name,
            "reader": {"name": self.reader_name, "servers": list(self.servers)},
            "limits": self.engine.rag.limits,
            "k": self.k,
            "public": self.access.public,
            "needs_token": bool(self.access.token),
            "fetches": self.fetcher is not None,
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
    """Await `work`, and cancel it if the client disconnects first.

    Raises:
        ApiError: the client has disconnected; nobody will read it.
    """

    async def wait_for_disconnect() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    working = asyncio.ensure_future(work)
    disconnect = asyncio.ensure_future(wait_for_disconnect())
    try:
        await asyncio.wait((working, disconnect), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ApiError(499, "The client has disconnected.", "gone")
    finally:
        for task in (working, disconnect):
            task.cancel()
        with suppress(asyncio.CancelledError):
            await disconnect
