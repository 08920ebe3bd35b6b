"""`rag-vqa config`: show the settings in effect, and the presets.

Knows what is printed. Does not know how settings are merged (settings.py).
"""

from __future__ import annotations

from typing import Any

import typer

from rag_vqa.cli.context import CommandContext
from rag_vqa.cli.output import print_json
from rag_vqa.formatting import format_table

app = typer.Typer(no_args_is_help=True, help="Show settings and presets.")


@app.command()
def show(ctx: typer.Context) -> None:
    """Show settings that differ from the preset, as a start for run.yaml. --json: all of them."""
    import yaml

    from rag_vqa.settings import differences

    context: CommandContext = ctx.obj
    settings = context.settings()
    if context.json:
        print_json(settings.model_dump(mode="json"))
        return
    print("# What differs from the defaults. All keys: rag-vqa config show --json")
    if tree := differences(settings):
        print(yaml.safe_dump(tree, sort_keys=False), end="")


@app.command()
def presets(ctx: typer.Context) -> None:
    """List presets with their models, licences, revisions, download sizes and memory."""
    from rag_vqa.presets import PRESETS

    context: CommandContext = ctx.obj
    if context.json:
        print_json([_preset_json(preset) for preset in PRESETS.values()])
        return
    print(format_table([_preset_row(preset) for preset in PRESETS.values()]))
    print()
    models = {model.id: model for preset in PRESETS.values() for model in preset.models}
    print(format_table([_model_row(model) for model in models.values()]))
    print("\nMemory is computed, at the longest prompt. By part: rag-vqa doctor --fit PRESET")
    print("Presets of 2026: chosen by model cards of 1 December 2026, not run with real weights.")


def _preset_row(preset: Any) -> dict[str, str]:
    from rag_vqa.formatting import format_bytes

    return {
        "preset": preset.name,
        "for": preset.about,
        "retriever": preset.retriever.rpartition("/")[2],
        "reader": preset.reader.rpartition("/")[2],
        "weights": preset.quantization,
        "k": str(preset.k),
        "context": f"{preset.max_context:,}",
        "download": format_bytes(preset.download) if preset.download else "none",
        "memory": format_bytes(preset.memory),
    }


def _model_row(model: Any) -> dict[str, str]:
    from rag_vqa.formatting import format_bytes

    return {
        "model": model.id,
        "licence": model.licence + ("" if model.commercial else ", NON-COMMERCIAL"),
        "revision": (model.revision or "newest")[:12],
        "download": format_bytes(model.download),
        "note": model.note,
    }


def _preset_json(preset: Any) -> dict[str, Any]:
    from dataclasses import asdict

    models = [asdict(model) for model in preset.models]
    return {
        **asdict(preset),
        "models": models,
        "download": preset.download,
        "memory": preset.memory,
    }
