"""`rag-vqa demo`: answer a question about a flag photo with the embedded models, or measure them.

Knows the flags of the verb, how its answer and its tables are printed, and which settings the demo
refuses. Does not know how the demo works (demo/).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rag_vqa.cli import options
from rag_vqa.cli.context import CommandContext
from rag_vqa.cli.output import answer_json, print_answer, print_json
from rag_vqa.errors import UsageError
from rag_vqa.formatting import format_table, one_line

if TYPE_CHECKING:
    from rag_vqa.demo.walkthrough import DemoOptions
    from rag_vqa.settings_schema import Settings

_ALLOWED_SETTINGS = ("offline", "cache_dir")
_PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


@options.with_settings("k", "filter", "quantization")
def demo(
    ctx: typer.Context,
    text: Annotated[
        str, typer.Argument(metavar="[QUESTION]", help="Question about the flag in the photo.")
    ] = "",
    image: options.Image = None,
    evaluate: Annotated[
        bool, typer.Option("--evaluate", help="Measure on real flags, and print the tables.")
    ] = False,
    kb: Annotated[
        Path | None, typer.Option("--kb", metavar="OUT", help="Keep the knowledge base.")
    ] = None,
    photo: Annotated[
        Path | None, typer.Option("--photo", metavar="OUT.png", help="Keep the photo.")
    ] = None,
) -> None:
    """Answer a question about a flag photo, offline.

    The models come with the package. --evaluate measures retrieval and answers on real flags.
    """
    from rag_vqa.demo.walkthrough import QUESTION, DemoOptions

    context: CommandContext = ctx.obj
    if evaluate:
        _refuse_options(ctx)
        _evaluate(context)
        return
    if image is not None and photo is not None:
        raise UsageError(
            "--photo keeps the demo's own photo, --image gives another: leave out one."
        )
    if photo is not None and photo.suffix.lower() not in _PICTURE_SUFFIXES:
        raise UsageError(f"--photo {photo}: end the name in one of {', '.join(_PICTURE_SUFFIXES)}")
    settings = options.settings_from_options(ctx)
    own = ["retriever.model", "retriever.revision", "preset", *(["seed"] if image else [])]
    if ignored := [key for key in _explicit_settings(settings) if key in own]:
        raise UsageError(
            f"The demo shows the embedded retriever and a photo of its own: leave out "
            f"{', '.join(ignored)}, or build a knowledge base: rag-vqa kb build --help"
        )
    picture = options.require_image_file(image)
    asked = DemoOptions(
        question=text.strip() or QUESTION, image=picture, keep_kb=kb, keep_photo=photo
    )
    _answer(context, settings, asked)


def _answer(context: CommandContext, settings: Settings, options: DemoOptions) -> None:
    """Print the answer with its evidence, and the commands that continue from here."""
    from rag_vqa.demo.walkthrough import QUESTION, open_demo

    with open_demo(options, settings, context) as (rag, query):
        if context.json:
            answer = rag.ask(query.text, query.image, instruction=query.instruction)
            print_json(answer_json(answer))
            return
        photo = f"photo {one_line(str(options.image))}" if options.image else "a photo of a flag"
        context.note(f"{len(rag.kb):,} documents · {photo} · {one_line(options.question)}")
        print_answer(rag, query, quiet=context.quiet)
    if options.keep_kb is None:
        context.note("\nGo on:  rag-vqa demo --kb flags.kb --photo flag.png")
        context.note(f'        rag-vqa ask flags.kb "{QUESTION}" --image flag.png')


def _evaluate(context: CommandContext) -> None:
    """Measure on real flags; print the README's table, or its numbers as JSON."""
    from rag_vqa.demo.evaluation import evaluate_demo

    with context.progress("evaluate", None) as advance:
        result = evaluate_demo(on_progress=advance)
    if context.json:
        print_json(result)
    else:
        print(evaluation_tables(result))


def _refuse_options(ctx: typer.Context) -> None:
    """Raise UsageError for options and settings that `--evaluate` would ignore."""
    switches = {"text": "QUESTION", "image": "--image", "kb": "--kb", "photo": "--photo", "k": "-k",
                "filter": "--filter", "quantization": "--quantization"}  # fmt: skip
    ignored = [switch for name, switch in switches.items() if ctx.params[name] not in (None, "")]
    keys = _explicit_settings(ctx.obj.settings())
    ignored += [key for key in keys if key not in _ALLOWED_SETTINGS]
    if ignored:
        raise UsageError(f"--evaluate measures everything: leave out {', '.join(ignored)}")


def _explicit_settings(settings: Settings) -> list[str]:
    """Keys that any layer of settings has set, except to the demo's own preset and models."""
    from rag_vqa.checkpoints import EMBEDDED
    from rag_vqa.settings import explicit_keys

    named = {
        "preset": settings.preset,
        "retriever.model": settings.retriever.model,
        "reader.model": settings.reader.model,
    }
    return [key for key in explicit_keys(settings) if named.get(key) != EMBEDDED]


def evaluation_tables(result: Mapping[str, Any]) -> str:
    """The three tables of `demo --evaluate`: retrieval, answers, "unknown"."""
    retrieval = [
        {
            "query": name,
            "recall@1": _format_share(row["recall@1"]),
            "recall@5": _format_share(row["recall@5"]),
            "95%": _format_interval(row["ci95"]),
            "n": f"{row['n']:,}",
        }
        for name, row in result["retrieval"].items()
    ]
    answers = [
        {
            "reader": weights,
            "documents": documents,
            "accuracy": _format_share(row["accuracy"]),
            "95%": _format_interval(row["ci95"]),
            "n": f"{row['n']:,}",
        }
        for weights, rows in result["answers"].items()
        for documents, row in rows.items()
    ]
    unknown = [
        {"says unknown": name, "rate": _format_share(row["rate"]), "n": f"{row['n']:,}"}
        for name, row in result["unknown"].items()
    ]
    return "\n\n".join(format_table(rows) for rows in (retrieval, answers, unknown) if rows)


def _format_share(value: float) -> str:
    return f"{value:.3f}"


def _format_interval(bounds: Any) -> str:
    """An interval, or the first of several measures'."""
    if isinstance(bounds, Mapping):
        bounds = next(iter(bounds.values()))
    low, high = bounds
    return f"{low:.3f} – {high:.3f}"
