"""`rag-vqa demo`: the main job on the embedded default."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rag_vqa.cli import options
from rag_vqa.cli.run import Run
from rag_vqa.errors import UsageError

if TYPE_CHECKING:
    from rag_vqa.settings import Settings

_ANYWHERE = ("offline", "cache_dir")
_PICTURES = (".png", ".jpg", ".jpeg", ".webp")


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
    k: options.K = None,
    filter: options.Filter = None,
    quantization: options.Quantization = None,
) -> None:
    """Answer a question about a flag photo, offline.

    The models come along. --evaluate measures retrieval and answers on real flags.
    """
    from rag_vqa.cli import demonstration

    run: Run = ctx.obj
    if evaluate:
        given = {"QUESTION": text, "--image": image, "--kb": kb, "--photo": photo, "-k": k,
                 "--filter": filter, "--quantization": quantization}  # fmt: skip
        ignored = [name for name, value in given.items() if value not in (None, "")]
        ignored += [key for key in _said(run.settings()) if key not in _ANYWHERE]
        if ignored:
            raise UsageError(f"--evaluate measures all there is: leave out {', '.join(ignored)}")
        demonstration.evaluate(run)
        return
    if image is not None and photo is not None:
        raise UsageError("--photo keeps the demo's own photo, and --image gives another: give one.")
    if photo is not None and photo.suffix.lower() not in _PICTURES:
        raise UsageError(f"--photo {photo}: end the name in one of {', '.join(_PICTURES)}")
    settings = options.settings_of(ctx)
    own = ["retriever.model", "retriever.revision", "preset", *(["seed"] if image else [])]
    if ignored := [key for key in _said(settings) if key in own]:
        raise UsageError(
            f"The demo shows the embedded retriever and a photo of its own: leave out "
            f"{', '.join(ignored)}, or build a knowledge base: rag-vqa kb build --help"
        )
    demonstration.show(run, settings, text, options.image_file(image), kb, photo)


def _said(settings: Settings) -> list[str]:
    """What was set, by whichever layer; naming the demo's own preset and models says nothing."""
    from rag_vqa.settings import EMBEDDED, stated

    named = {
        "preset": settings.preset,
        "retriever.model": settings.retriever.model,
        "reader.model": settings.reader.model,
    }
    return [key for key in stated(settings) if named.get(key) != EMBEDDED]
