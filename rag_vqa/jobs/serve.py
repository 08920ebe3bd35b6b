"""The job behind `rag-vqa serve`: from options to a running server.

Knows the order: options are checked and the address is taken before any model loads. Does not know
what a server does (rag_vqa.server) nor command-line flags (cli/serve.py).
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from rag_vqa.checkpoints import EMBEDDED
from rag_vqa.cli.context import CommandContext
from rag_vqa.cli.options import settings_to_args
from rag_vqa.errors import Missing, UsageError
from rag_vqa.formatting import one_line
from rag_vqa.jobs import signals
from rag_vqa.jobs.models import open_pipeline

if TYPE_CHECKING:
    from rag_vqa.retriever.knowledge_base import KnowledgeBase
    from rag_vqa.server.access import Access
    from rag_vqa.server.image_fetch import ImageFetcher
    from rag_vqa.server.question_log import QuestionLog
    from rag_vqa.server.service import GalleryQuestion
    from rag_vqa.settings_schema import Settings

_DEFAULT_KEEP_DAYS = 30
_GALLERY_SIZE = 12  # of a gallery: more is no help on a page
_DEMO_DOCUMENT = "jamaica/geography"
_DEMO_QUESTIONS = {
    "JM": "What is the capital of this country?",
    "BR": "What is the currency of this country?",
    "JP": "What is the population of this country?",
    "KE": "What is the official language of this country?",
    "SE": "When is the national day of this country?",
    "CA": "What is the highest point of this country?",
}


@dataclass(frozen=True)
class ServeOptions:
    """Where it is, and what is written, offered and fetched there."""

    port: int
    root_path: str = ""
    log_questions: Path | None = None
    keep_days: int | None = None
    gallery: Path | None = None
    fetch_images: bool = False


def check_server_installed() -> None:
    """Raises Missing where the packages of a server are not installed."""
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise Missing(f"{error.name} is not installed: pip install 'rag-vqa[server]'") from error


def run_server(
    run: CommandContext,
    settings: Settings,
    path: Path,
    access: Access,
    place: ServeOptions,
    yes: bool,
) -> None:
    """Serve until SIGTERM or ^C.

    Raises:
        UsageError: an option that cannot be meant, or an address that cannot be had.
    """
    from rag_vqa.memory import IMAGE_BYTES, return_freed_memory
    from rag_vqa.server.app import browser_url, create_app, open_socket, run_app
    from rag_vqa.server.engine.engine import Engine
    from rag_vqa.server.service import Service

    return_freed_memory(IMAGE_BYTES)  # before a large reader is loaded, which sets less
    fetcher = _make_fetcher(access, settings) if place.fetch_images else None
    root, log = _check_root_path(place.root_path), _open_question_log(place)
    offered = None if place.gallery is None else _load_gallery(place.gallery)
    with open_socket(access.host, place.port) as taken:
        rag = open_pipeline(settings, path, run, yes=yes)
        gallery = _demo_gallery(rag.kb) if offered is None else offered
        servers = settings.reader.servers
        shown = path.resolve().name if access.public else str(path)
        command = shlex.join(["rag-vqa", "ask", shown, *settings_to_args(settings, access.public)])
        service = Service(Engine(rag), access, servers, log, gallery, command, fetcher)
        if log is not None:
            run.note(f"Questions are written to {one_line(str(log.folder))}, for {log.days} days.")
        if servers:
            run.note(f"Pictures and questions are sent to {one_line(', '.join(servers))}.")
        if fetcher is not None:
            run.note("Pictures are fetched from addresses that questions name.")
        run.note(f"{browser_url(taken, root)}  ^C ends it.")
        signals.exit_at_once()
        with rag.kb:  # at rest it is one file
            run_app(create_app(service), taken, root, run.quiet)


def _check_root_path(path: str) -> str:
    bare = path.rstrip("/")
    parts = bare.split("/")[1:]
    strange = not bare.isascii() or set(bare) & set("?#% ") or {"", ".", ".."} & set(parts)
    if bare and (not bare.startswith("/") or strange):
        raise UsageError(f"--root-path {path}: give one such as /rag")
    return bare


def _make_fetcher(access: Access, settings: Settings) -> ImageFetcher:
    from rag_vqa.server.image_fetch import ImageFetcher

    if settings.offline:
        raise UsageError("--fetch-images needs the network, --offline forbids it: give one.")
    if access.public:
        raise UsageError(
            "--fetch-images lets whoever asks send this machine to any address: not with --public. "
            "Leave out one of them."
        )
    return ImageFetcher()


def _open_question_log(place: ServeOptions) -> QuestionLog | None:
    from rag_vqa.server.question_log import QuestionLog

    if place.log_questions is None:
        if place.keep_days is not None:
            raise UsageError("--keep-days is of what --log-questions writes down: give both.")
        return None
    return QuestionLog(place.log_questions, place.keep_days or _DEFAULT_KEEP_DAYS)


def _load_gallery(file: Path) -> Sequence[GalleryQuestion]:
    """The first questions of a file that have a picture."""
    from rag_vqa.formats.question_set import open_questions
    from rag_vqa.server.service import GalleryQuestion

    questions = open_questions("own", file, missing="skip").examples()
    pictured = (
        GalleryQuestion(each.id, each.query.text, each.query.image)
        for each in questions
        if each.query.image is not None and each.query.text
    )
    offered = list(islice(pictured, _GALLERY_SIZE))
    if not offered:
        raise UsageError(f"--gallery {file}: none of its questions has a picture.")
    return offered


def _demo_gallery(kb: KnowledgeBase) -> Sequence[GalleryQuestion]:
    """Photos of flags, where the documents are those of `rag-vqa demo --kb`."""
    from rag_vqa.server.service import GalleryQuestion

    if kb.manifest.source != EMBEDDED or kb.get(_DEMO_DOCUMENT) is None:
        return ()
    from rag_vqa.demo.gallery import sample_photo

    return [
        GalleryQuestion(code, question, sample_photo(code))
        for code, question in _DEMO_QUESTIONS.items()
    ]
