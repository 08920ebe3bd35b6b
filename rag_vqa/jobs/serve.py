"""The job behind `rag-vqa serve`: from options to a running server.

Knows the order: options are checked and the address is taken before any model loads. Does not know
what a server does (rag_vqa.server) nor command-line flags (cli/serve.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from rag_vqa.errors import Missing, UsageError
from rag_vqa.formatting import one_line
from rag_vqa.jobs.models import open_pipeline
from rag_vqa.jobs.signals import exit_at_once
from rag_vqa.memory import IMAGE_BYTES, return_freed_memory
from rag_vqa.progress import LOG, Reporter

if TYPE_CHECKING:
    from rag_vqa.retriever.knowledge_base import KnowledgeBase
    from rag_vqa.server.image_fetch import ImageFetcher
    from rag_vqa.server.question_log import QuestionLog
    from rag_vqa.server.service import GalleryQuestion, Service
    from rag_vqa.settings_schema import Settings

Gallery: TypeAlias = "Sequence[GalleryQuestion]"
_DEFAULT_KEEP_DAYS = 30
_GALLERY_SIZE = 12  # questions: more do not help on a page


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """Options of a server: knowledge base, address, access and question log.

    Attributes:
        kb: the knowledge base.
        host, port: address to listen on; port 0 takes any free port.
        token: token that clients must send; needed if other machines can reach the server.
        public: asking, searching and evidence pictures need no token.
        allowed_hosts: further host names that clients use for this server.
        root_path: path under which a proxy serves it: "/rag".
        fetch_images: fetch pictures of questions from addresses on public servers.
        log_questions: folder to write questions to; None: questions are not written.
        keep_days: days to keep logged questions, 30 if None.
        gallery: file of own questions that the page offers; None: `default_gallery` decides.
        title: title of the page, on one line; "" shows the program's name.
        command: beginning of a command line that asks the same way, for the page.
        log_requests: log one line a request to stderr.
        yes: download missing models without asking.
    """

    kb: Path
    host: str = "127.0.0.1"
    port: int = 8000
    token: str = ""
    public: bool = False
    allowed_hosts: tuple[str, ...] = ()
    root_path: str = ""
    fetch_images: bool = False
    log_questions: Path | None = None
    keep_days: int | None = None
    gallery: Path | None = None
    title: str = ""
    command: str = "rag-vqa ask KB"
    log_requests: bool = True
    yes: bool = False


def check_server_installed() -> None:
    """Raises Missing if the packages of the extra `server` are not installed."""
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise Missing(f"{error.name} is not installed: pip install 'rag-vqa[server]'") from error


def empty_gallery(kb: KnowledgeBase) -> Gallery:
    """No questions."""
    return ()


def serve_knowledge_base(
    options: ServeOptions,
    settings: Settings | None = None,
    reporter: Reporter = LOG,
    *,
    default_gallery: Callable[[KnowledgeBase], Gallery] = empty_gallery,
) -> None:
    """Serve a knowledge base until SIGTERM or ^C.

    Args:
        settings: models, k, templates and filters; None loads them from the settings file.
        default_gallery: questions for the page, if the options name no file.

    Raises:
        UsageError: invalid options, or an address that is not free.
        Missing: a model is not on this machine, or the extra `server` is not installed.
    """
    check_server_installed()
    from rag_vqa.server.access import Access, check_hosts
    from rag_vqa.server.app import browser_url, create_app, open_socket, run_app
    from rag_vqa.server.engine.engine import Engine
    from rag_vqa.server.service import Service
    from rag_vqa.settings import load_settings

    settings = load_settings() if settings is None else settings
    hosts = check_hosts(options.allowed_hosts)
    access = Access(options.host, options.token, options.public, hosts)
    return_freed_memory(IMAGE_BYTES)  # before a large reader is loaded, which sets a lower limit
    fetcher = _make_fetcher(options, settings)
    root_path, log = _check_root_path(options.root_path), _open_question_log(options)
    gallery = None if options.gallery is None else _load_gallery(options.gallery)
    with open_socket(options.host, options.port) as listener:
        rag = open_pipeline(settings, options.kb, reporter, yes=options.yes)
        service = Service(
            Engine(rag),
            access,
            servers=settings.reader.servers,
            log=log,
            gallery=default_gallery(rag.kb) if gallery is None else gallery,
            command=options.command,
            fetcher=fetcher,
            title=one_line(options.title.strip()),
        )
        _report_privacy(service, reporter)
        reporter.note(f"{browser_url(listener, root_path)}  ^C ends it.")
        exit_at_once()
        with rag.kb:  # once closed, the knowledge base is a single file
            run_app(create_app(service), listener, root_path, not options.log_requests)


def _report_privacy(service: Service, reporter: Reporter) -> None:
    """Report where questions and pictures go."""
    if (log := service.log) is not None:
        folder = one_line(str(log.folder))
        reporter.note(f"Questions are written to {folder}, and deleted after {log.days} days.")
    if service.servers:
        servers = one_line(", ".join(service.servers))
        reporter.note(f"Pictures and questions are sent to {servers}.")
    if service.fetcher is not None:
        reporter.note("Pictures are fetched from the addresses in questions.")


def _check_root_path(path: str) -> str:
    bare = path.rstrip("/")
    parts = bare.split("/")[1:]
    is_strange = not bare.isascii() or set(bare) & set("?#% ") or {"", ".", ".."} & set(parts)
    if bare and (not bare.startswith("/") or is_strange):
        raise UsageError(f"--root-path {path}: not a plain path. Give one such as /rag")
    return bare


def _make_fetcher(options: ServeOptions, settings: Settings) -> ImageFetcher | None:
    from rag_vqa.server.image_fetch import ImageFetcher

    if not options.fetch_images:
        return None
    if settings.offline:
        raise UsageError("--fetch-images needs the network, and --offline forbids it. Drop one.")
    if options.public:
        raise UsageError(
            "--fetch-images lets everybody who may ask send this machine to any address, so it "
            "cannot be combined with --public. Drop one of them."
        )
    return ImageFetcher()


def _open_question_log(options: ServeOptions) -> QuestionLog | None:
    from rag_vqa.server.question_log import QuestionLog

    if options.log_questions is not None:
        return QuestionLog(options.log_questions, options.keep_days or _DEFAULT_KEEP_DAYS)
    if options.keep_days is not None:
        raise UsageError("--keep-days is for logged questions. Give --log-questions DIR too.")
    return None


def _load_gallery(file: Path) -> Gallery:
    """The first questions of a file that have a picture."""
    from rag_vqa.formats.question_set import open_questions
    from rag_vqa.server.service import GalleryQuestion

    questions = open_questions("own", file, missing="skip").examples()
    with_picture = (
        GalleryQuestion(each.id, each.query.text, each.query.image)
        for each in questions
        if each.query.image is not None and each.query.text
    )
    gallery = list(islice(with_picture, _GALLERY_SIZE))
    if not gallery:
        raise UsageError(f"--gallery {file}: none of its questions has a picture.")
    return gallery
