"""From the options of `rag-vqa serve` to a running server; what can be refused is, before models.

It knows in which order. What a server does is rag_vqa.server's matter.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from rag_vqa.cli import leaving
from rag_vqa.cli.models import open_pipeline
from rag_vqa.cli.output import one_line
from rag_vqa.cli.repeating import words_of
from rag_vqa.cli.run import Run
from rag_vqa.errors import Missing, UsageError
from rag_vqa.settings import EMBEDDED

if TYPE_CHECKING:
    from rag_vqa.retriever.knowledge_base import KnowledgeBase
    from rag_vqa.server.access import Access
    from rag_vqa.server.fetching import Fetching
    from rag_vqa.server.question_log import QuestionLog
    from rag_vqa.server.service import Shown
    from rag_vqa.settings import Settings

_DAYS = 30
_OFFERED = 12  # of a gallery: more is no help on a page
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
class Place:
    """Where it is, and what is written, offered and fetched there."""

    port: int
    root_path: str = ""
    log_questions: Path | None = None
    keep_days: int | None = None
    gallery: Path | None = None
    fetch_images: bool = False


def check_extra() -> None:
    """Raises Missing where the packages of a server are not installed."""
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise Missing(f"{error.name} is not installed: pip install 'rag-vqa[server]'") from error


def run_server(
    run: Run, settings: Settings, path: Path, access: Access, place: Place, yes: bool
) -> None:
    """Serve until SIGTERM or ^C.

    Raises:
        UsageError: an option that cannot be meant, or an address that cannot be had.
    """
    from rag_vqa.readers.freeing import PICTURES, give_back_freed
    from rag_vqa.server.app import create_app
    from rag_vqa.server.engine import Engine
    from rag_vqa.server.service import Service
    from rag_vqa.server.serving import address_of, listen, serve

    give_back_freed(PICTURES)  # before a large reader is loaded, which sets less
    fetching = _fetching(access, settings) if place.fetch_images else None
    root, log = _root(place.root_path), _log(place)
    offered = None if place.gallery is None else _gallery(place.gallery)
    with listen(access.host, place.port) as taken:
        rag = open_pipeline(run, settings, path, yes=yes)
        gallery = _demo_gallery(rag.kb) if offered is None else offered
        servers = settings.reader.servers
        shown = path.resolve().name if access.public else str(path)
        command = shlex.join(["rag-vqa", "ask", shown, *words_of(settings, access.public)])
        service = Service(Engine(rag), access, servers, log, gallery, command, fetching)
        if log is not None:
            run.note(f"Questions are written to {one_line(str(log.folder))}, for {log.days} days.")
        if servers:
            run.note(f"Pictures and questions are sent to {one_line(', '.join(servers))}.")
        if fetching is not None:
            run.note("Pictures are fetched from addresses that questions name.")
        run.note(f"{address_of(taken, root)}  ^C ends it.")
        leaving.at_once()
        with rag.kb:  # at rest it is one file
            serve(create_app(service), taken, root, run.quiet)


def _root(path: str) -> str:
    bare = path.rstrip("/")
    parts = bare.split("/")[1:]
    strange = not bare.isascii() or set(bare) & set("?#% ") or {"", ".", ".."} & set(parts)
    if bare and (not bare.startswith("/") or strange):
        raise UsageError(f"--root-path {path}: give one such as /rag")
    return bare


def _fetching(access: Access, settings: Settings) -> Fetching:
    from rag_vqa.server.fetching import Fetching

    if settings.offline:
        raise UsageError("--fetch-images needs the network, --offline forbids it: give one.")
    if access.public:
        raise UsageError(
            "--fetch-images lets whoever asks send this machine to any address: not with --public. "
            "Leave out one of them."
        )
    return Fetching()


def _log(place: Place) -> QuestionLog | None:
    from rag_vqa.server.question_log import QuestionLog

    if place.log_questions is None:
        if place.keep_days is not None:
            raise UsageError("--keep-days is of what --log-questions writes down: give both.")
        return None
    return QuestionLog(place.log_questions, place.keep_days or _DAYS)


def _gallery(file: Path) -> Sequence[Shown]:
    """The first questions of a file that have a picture."""
    from rag_vqa.formats.questions.opening import open_questions
    from rag_vqa.server.service import Shown

    questions = open_questions("own", file, missing="skip").examples()
    pictured = (
        Shown(each.id, each.query.text, each.query.image)
        for each in questions
        if each.query.image is not None and each.query.text
    )
    offered = list(islice(pictured, _OFFERED))
    if not offered:
        raise UsageError(f"--gallery {file}: none of its questions has a picture.")
    return offered


def _demo_gallery(kb: KnowledgeBase) -> Sequence[Shown]:
    """Photos of flags, where the documents are those of `rag-vqa demo --kb`."""
    from rag_vqa.server.service import Shown

    if kb.manifest.source != EMBEDDED or kb.get(_DEMO_DOCUMENT) is None:
        return ()
    from rag_vqa.demo.bundled import sample_photo

    return [Shown(code, question, sample_photo(code)) for code, question in _DEMO_QUESTIONS.items()]
