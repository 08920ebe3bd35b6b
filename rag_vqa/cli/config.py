"""`rag-vqa config`: what is set, and what can be chosen."""

from __future__ import annotations

from typing import Any

import typer

from rag_vqa.cli.output import print_json, table
from rag_vqa.cli.run import Run

app = typer.Typer(no_args_is_help=True, help="Settings and presets.")


@app.command()
def show(ctx: typer.Context) -> None:
    """What is set beyond the preset, all layers together; a start for run.yaml. --json: all."""
    import yaml

    from rag_vqa.settings import differences

    run: Run = ctx.obj
    settings = run.settings()
    if run.json:
        print_json(settings.model_dump(mode="json"))
        return
    print("# What differs from the defaults. All keys: rag-vqa config show --json")
    if tree := differences(settings):
        print(yaml.safe_dump(tree, sort_keys=False), end="")


@app.command()
def presets(ctx: typer.Context) -> None:
    """Presets with models, licence, revision, download size and memory."""
    from rag_vqa.presets import PRESETS

    run: Run = ctx.obj
    if run.json:
        print_json([_as_json(preset) for preset in PRESETS.values()])
        return
    print(table([_as_row(preset) for preset in PRESETS.values()]))
    print()
    models = {model.id: model for preset in PRESETS.values() for model in preset.models}
    print(table([_model_row(model) for model in models.values()]))
    print("\nMemory is computed, at the longest prompt. By part: rag-vqa doctor --fit PRESET")


def _as_row(preset: Any) -> dict[str, str]:
    from rag_vqa.presets import size

    return {
        "preset": preset.name,
        "for": preset.about,
        "retriever": preset.retriever.rpartition("/")[2],
        "reader": preset.reader.rpartition("/")[2],
        "weights": preset.quantization,
        "k": str(preset.k),
        "context": f"{preset.max_context:,}",
        "download": size(preset.download) if preset.download else "none",
        "memory": size(preset.memory),
    }


def _model_row(model: Any) -> dict[str, str]:
    from rag_vqa.presets import size

    return {
        "model": model.id,
        "licence": model.licence + ("" if model.commercial else ", NON-COMMERCIAL"),
        "revision": (model.revision or "newest")[:12],
        "download": size(model.download),
        "note": model.note,
    }


def _as_json(preset: Any) -> dict[str, Any]:
    from dataclasses import asdict

    models = [asdict(model) for model in preset.models]
    return {
        **asdict(preset),
        "models": models,
        "download": preset.download,
        "memory": preset.memory,
    }
