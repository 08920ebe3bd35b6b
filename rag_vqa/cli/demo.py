"""`rag-vqa demo`: the main job on the embedded default."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rag_vqa.cli import options
from rag_vqa.cli.run import Run


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
    quantization: options.Quantization = None,
) -> None:
    """Answer a question about a flag photo, offline.

    The models come along. --evaluate measures retrieval and answers on real flags.
    """
    from rag_vqa.cli import demonstration

    run: Run = ctx.obj
    settings = run.settings(preset=run.flags.get("preset") or "demo", k=k,
                            reader__quantization=quantization)  # fmt: skip
    picture = options.image_file(image)
    if evaluate:
        demonstration.evaluate(run)
    else:
        demonstration.show(run, settings, text, picture, kb, photo)
