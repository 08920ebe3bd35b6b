"""What the routes share: the engine, who may come in, what is said about the server.

It knows what was opened. It does not know HTTP.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rag_vqa import __version__
from rag_vqa.server.access import Access
from rag_vqa.server.budgets import MAX_PIXELS, MAX_UPLOAD_BYTES
from rag_vqa.server.engine import Engine
from rag_vqa.server.failures import Refused
from rag_vqa.server.fetching import Fetching
from rag_vqa.server.question_log import QuestionLog
from rag_vqa.types import ImageSource


@dataclass(frozen=True, slots=True)
class Shown:
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
    gallery: Sequence[Shown] = ()
    command: str = "rag-vqa ask KB"
    fetching: Fetching | None = None

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
            raise Refused(503, "The models are still loading: try again.", "not_ready", 5.0)

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
