"""`rag-vqa demo`: the main job on the embedded default."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rag_vqa.cli import options
from rag_vqa.cli.context import CommandContext
from rag_vqa.errors import UsageError
from rag_vqa.formatting import format_table

if TYPE_CHECKING:
    from rag_vqa.settings_schema import Settings

_ALLOWED_SETTINGS = ("offline", "cache_dir")
_PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


@options.with_settings("k", "filter", "quantization")
def demo(
    ctx: typer.Context,
    text: Annotated[
        str, typer.Argument(metavar="[QUESTION]", help="About the flag in the photo.")
    ] = "",
    image: options.Image = None,
    evaluate: Annotated[
        bool, typer.Option("--evaluate", help="Measure on real flags and print the table.")
    ] = False,
    kb: Annotated[
        Path | None, typer.Option("--kb", metavar="OUT", help="Keep the knowledge base there.")
    ] = None,
    photo: Annotated[
        Path | None, typer.Option("--photo", metavar="OUT.png", help="Keep the photo there.")
    ] = None,
) -> None:
    """Answer a question about a flag photo, offline.

    The models come along. --evaluate measures retrieval and answers on real flags.
    """
    from rag_vqa.demo import run as demo_run

    run: CommandContext = ctx.obj
    if evaluate:
        given = {
            "QUESTION": text,
            "--image": image,
            "--kb": kb,
            "--photo": photo,
            "-k": ctx.params["k"],
            "--filter": ctx.params["filter"],
            "--quantization": ctx.params["quantization"],
        }
        ignored = [name for name, value in given.items() if value not in (None, "")]
        ignored += [
            key for key in _explicit_settings(run.settings()) if key not in _ALLOWED_SETTINGS
        ]
        if ignored:
            raise UsageError(f"--evaluate measures all there is: leave out {', '.join(ignored)}")
        demo_run.evaluate(run)
        return
    if image is not None and photo is not None:
        raise UsageError("--photo keeps the demo's own photo, and --image gives another: give one.")
    if photo is not None and photo.suffix.lower() not in _PICTURE_SUFFIXES:
        raise UsageError(f"--photo {photo}: end the name in one of {', '.join(_PICTURE_SUFFIXES)}")
    settings = options.settings_from_options(ctx)
    own = ["retriever.model", "retriever.revision", "preset", *(["seed"] if image else [])]
    if ignored := [key for key in _explicit_settings(settings) if key in own]:
        raise UsageError(
            f"The demo shows the embedded retriever and a photo of its own: leave out "
            f"{', '.join(ignored)}, or build a knowledge base: rag-vqa kb build --help"
        )
    demo_run.answer_flag_question(run, settings, text, options.require_image_file(image), kb, photo)


def _explicit_settings(settings: Settings) -> list[str]:
    """What was set, by whichever layer; naming the demo's own preset and models says nothing."""
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
    """One interval, or one of each measure; the first measure's stands in the table."""
    if isinstance(bounds, Mapping):
        bounds = next(iter(bounds.values()))
    low, high = bounds
    return f"{low:.3f} – {high:.3f}"
