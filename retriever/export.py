"""A checkpoint that the ReT release itself can load.

Knows what the release does not: our extensions, which are refused, and the newer names of keys.
"""

import json
from pathlib import Path

from rag_vqa.errors import UsageError
from rag_vqa.retriever.configuration import SWITCHES
from rag_vqa.retriever.model import RetrieverModel


def export_released(model: RetrieverModel, folder: str | Path) -> None:
    """Save `model` with the release's keys and configuration.

    Raises UsageError, before anything is written, where the model uses an extension of ours:
    an explicit `layer_strategy`, no gates, one modality alone, or a `logit_scale` other than 1.
    """
    config, folder = model.config, Path(folder)
    for side in (config.query, config.passage):
        if not isinstance(side.layer_strategy, str):
            raise UsageError(
                f"layer_strategy {side.layer_strategy} is ours alone: the release knows names. "
                "Save with save_pretrained instead."
            )
        for switch, usual in SWITCHES.items():
            if getattr(side, switch) != usual:
                raise UsageError(
                    f"{switch} {getattr(side, switch)!r} is ours alone: the release would load "
                    "random weights in its place. Save with save_pretrained instead."
                )
    if config.logit_scale != 1:
        raise UsageError(
            f"logit_scale {config.logit_scale} is ours alone: the release has none. "
            "Save with save_pretrained instead, or train with a scale of 1."
        )
    model.save_pretrained(folder)
    file = folder / "config.json"
    raw = json.loads(file.read_text("utf-8"))
    raw.pop("logit_scale")
    raw["torch_dtype"] = raw.pop("dtype")  # transformers 4.45 knows no other name
    file.write_text(json.dumps(raw, indent=2, sort_keys=True) + "\n", "utf-8")
