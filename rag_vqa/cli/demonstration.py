"""What `rag-vqa demo` shows and measures: a flag photo, its evidence, its answer; or the table.

It knows how the demo is presented. The flags, documents and measures are rag_vqa.demo's.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from rag_vqa.cli.models import (
    check_filter,
    check_models,
    check_template,
    load_encoder,
    question,
)
from rag_vqa.cli.output import answer_json, one_line, print_answer, print_json, table
from rag_vqa.cli.progress import progress
from rag_vqa.cli.reading import pipeline, reader_models
from rag_vqa.cli.run import Run
from rag_vqa.errors import UsageError
from rag_vqa.settings import EMBEDDED

if TYPE_CHECKING:
    from rag_vqa.settings import Settings

COUNTRY = "JM"
QUESTION = "What is the capital of this country?"


def show(
    run: Run,
    settings: Settings,
    text: str,
    image: Path | None,
    keep_kb: Path | None,
    keep_photo: Path | None,
) -> None:
    """Answers one question out of the flag documents, and says how to go on."""
    from rag_vqa.demo import bundled

    text = text.strip() or QUESTION
    for path in (keep_kb, keep_photo):
        if path is not None and path.exists():
            raise UsageError(f"{path} exists. Give another name.")
    check_template(settings)
    check_filter(settings)
    check_models(reader_models(settings), settings, yes=False)
    picture = image or bundled.sample_photo(COUNTRY, settings.seed)
    query = question(settings, text, picture)
    if keep_photo is not None and not isinstance(picture, Path):
        picture.save(keep_photo)
    with ExitStack() as stack:
        folder = keep_kb or Path(stack.enter_context(TemporaryDirectory())) / "flags.kb"
        encoder = load_encoder(settings, EMBEDDED, None)
        total = len(bundled.real_documents())
        with progress("encode the flag documents", total, quiet=run.quiet) as advance:
            kb = bundled.build_knowledge_base(folder, encoder, on_progress=advance)
        stack.enter_context(kb)
        rag = pipeline(settings, kb)
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


def evaluate(run: Run) -> None:
    """Measures on real flags: the README's table, or its numbers as JSON."""
    from rag_vqa.demo.evaluate import evaluate as measure

    with progress("evaluate", None, quiet=run.quiet) as advance:
        result = measure(on_progress=advance)
    if run.json:
        print_json(result)
    else:
        print(evaluation_tables(result))


def evaluation_tables(result: Mapping[str, Any]) -> str:
    """The three tables of `demo --evaluate`: retrieval, answers, "unknown"."""
    retrieval = [
        {"query": name, "recall@1": _share(row["recall@1"]), "recall@5": _share(row["recall@5"]),
         "95%": _interval(row["ci95"]), "n": f"{row['n']:,}"}
        for name, row in result["retrieval"].items()
    ]  # fmt: skip
    answers = [
        {"reader": weights, "documents": documents, "accuracy": _share(row["accuracy"]),
         "95%": _interval(row["ci95"]), "n": f"{row['n']:,}"}
        for weights, rows in result["answers"].items()
        for documents, row in rows.items()
    ]  # fmt: skip
    unknown = [
        {"says unknown": name, "rate": _share(row["rate"]), "n": f"{row['n']:,}"}
        for name, row in result["unknown"].items()
    ]
    return "\n\n".join(table(rows) for rows in (retrieval, answers, unknown) if rows)


def _share(value: float) -> str:
    return f"{value:.3f}"


def _interval(bounds: Any) -> str:
    """One interval, or one of each measure; the first measure's stands in the table."""
    if isinstance(bounds, Mapping):
        bounds = next(iter(bounds.values()))
    low, high = bounds
    return f"{low:.3f} – {high:.3f}"
