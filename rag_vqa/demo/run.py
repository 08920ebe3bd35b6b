"""The demo job: answer a question about a flag photo, or measure the embedded models.

Knows which steps the demo takes and which files it keeps. Does not know flags or documents
(gallery.py), how models are measured (evaluation.py), or how results are printed (cli/demo.py).
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from rag_vqa.checkpoints import EMBEDDED
from rag_vqa.cli.context import CommandContext
from rag_vqa.cli.demo import evaluation_tables
from rag_vqa.cli.output import answer_json, print_answer, print_json
from rag_vqa.cli.progress import progress
from rag_vqa.errors import UsageError
from rag_vqa.formatting import one_line
from rag_vqa.jobs.models import (
    check_filter,
    check_models,
    check_template,
    load_encoder,
    make_pipeline,
    make_query,
    reader_models,
)

if TYPE_CHECKING:
    from rag_vqa.settings_schema import Settings

COUNTRY = "JM"
QUESTION = "What is the capital of this country?"


def answer_flag_question(
    run: CommandContext,
    settings: Settings,
    text: str,
    image: Path | None,
    keep_kb: Path | None,
    keep_photo: Path | None,
) -> None:
    """Answers one question out of the flag documents, and says how to go on."""
    from rag_vqa.demo import gallery

    text = text.strip() or QUESTION
    for path in (keep_kb, keep_photo):
        if path is not None and path.exists():
            raise UsageError(f"{path} exists. Give another name.")
    check_template(settings)
    check_filter(settings)
    check_models(reader_models(settings), settings, run)
    picture = image or gallery.sample_photo(COUNTRY, settings.seed)
    query = make_query(settings, text, picture)
    if keep_photo is not None and not isinstance(picture, Path):
        picture.save(keep_photo)
    with ExitStack() as stack:
        folder = keep_kb or Path(stack.enter_context(TemporaryDirectory())) / "flags.kb"
        encoder = load_encoder(settings, EMBEDDED, None)
        total = len(gallery.real_documents())
        with progress("encode the flag documents", total, quiet=run.quiet) as advance:
            kb = gallery.build_knowledge_base(folder, encoder, on_progress=advance)
        stack.enter_context(kb)
        rag = make_pipeline(settings, kb)
        if run.json:
            answer = rag.ask(query.text, query.image, instruction=query.instruction)
            print_json(answer_json(answer))
            return
        shown = f"photo {one_line(str(image))}" if image else "a photo of a flag"
        run.note(f"{len(kb):,} documents · {shown} · {one_line(text)}")
        print_answer(rag, query, quiet=run.quiet)
    if keep_kb is None:
        run.note("\nGo on:  rag-vqa demo --kb flags.kb --photo flag.png")
        run.note(f'        rag-vqa ask flags.kb "{QUESTION}" --image flag.png')


def evaluate(run: CommandContext) -> None:
    """Measures on real flags: the README's table, or its numbers as JSON."""
    from rag_vqa.demo.evaluation import evaluate_demo as measure

    with progress("evaluate", None, quiet=run.quiet) as advance:
        result = measure(on_progress=advance)
    if run.json:
        print_json(result)
    else:
        print(evaluation_tables(result))
