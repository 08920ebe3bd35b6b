"""The demo job: build the knowledge base of flags and ask it about a flag photo, offline.

Knows which steps the demo takes and which files it keeps. Does not know flags or documents
(gallery.py), how models are measured (evaluation.py), or how an answer is printed (cli/demo.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from rag_vqa.checkpoints import EMBEDDED
from rag_vqa.demo_limits import make_pair
from rag_vqa.errors import UsageError
from rag_vqa.jobs.models import (
    check_filter,
    check_models,
    check_template,
    load_encoder,
    make_pipeline,
    make_query,
    reader_models,
)
from rag_vqa.progress import LOG, Reporter
from rag_vqa.settings import load_settings

if TYPE_CHECKING:
    from rag_vqa.pipeline import RagVqa
    from rag_vqa.settings_schema import Settings
    from rag_vqa.types import Query

COUNTRY = "JM"  # whose flag the demo's own photo shows
QUESTION = "What is the capital of this country?"


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """What the demo asks, and what it keeps.

    Attributes:
        question: about the flag in the photo.
        image: a photo; None: the demo draws one of Jamaica's flag.
        keep_kb: the knowledge base is kept in this folder, which must not exist yet.
        keep_photo: the demo's own photo is kept in this file, which must not exist yet.
    """

    question: str = QUESTION
    image: Path | None = None
    keep_kb: Path | None = None
    keep_photo: Path | None = None


@contextmanager
def open_demo(
    options: DemoOptions | None = None, settings: Settings | None = None, reporter: Reporter = LOG
) -> Iterator[tuple[RagVqa, Query]]:
    """Build the knowledge base of flags; a pipeline over it, and the demo's query.

    Raises:
        UsageError: a file to keep exists already, or settings that do not go together.
    """
    from rag_vqa.demo import gallery

    options, settings = options or DemoOptions(), settings or load_settings()
    for path in (options.keep_kb, options.keep_photo):
        if path is not None and path.exists():
            raise UsageError(f"{path} exists. Give another name.")
    check_template(settings)
    check_filter(settings)
    make_pair(settings, EMBEDDED).check()
    check_models(reader_models(settings), settings, reporter)
    picture = options.image or gallery.sample_photo(COUNTRY, settings.seed)
    query = make_query(settings, options.question, picture)
    if options.keep_photo is not None and not isinstance(picture, Path):
        picture.save(options.keep_photo)
    with ExitStack() as stack:
        folder = options.keep_kb or Path(stack.enter_context(TemporaryDirectory())) / "flags.kb"
        encoder = load_encoder(settings, EMBEDDED, None)
        total = len(gallery.real_documents())
        with reporter.progress("encode the flag documents", total) as advance:
            kb = gallery.build_knowledge_base(folder, encoder, on_progress=advance)
        yield make_pipeline(settings, stack.enter_context(kb)), query
