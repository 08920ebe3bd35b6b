"""Export a retriever as a checkpoint folder, in the ReT release's format where it can express it.

Knows the release's names, which extensions of ours it lacks, and processors. Does not know how a
model was trained.
"""

from __future__ import annotations

import json
import shutil
from copy import deepcopy
from pathlib import Path

import torch
from torch import nn

from rag_vqa.errors import UsageError
from rag_vqa.retriever.modeling.configuration import EXTENSION_DEFAULTS
from rag_vqa.retriever.modeling.encoder import INSTRUCTION_FILE
from rag_vqa.retriever.modeling.model import RetrieverModel
from rag_vqa.retriever.training.initialisation import InitialModel
from rag_vqa.storage import atomic
from rag_vqa.storage.atomic import replace_folder


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
        for switch, usual in EXTENSION_DEFAULTS.items():
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


def export_checkpoint(
    found: InitialModel, folder: Path, *, scale: float = 1.0, dtype: str = "float32"
) -> None:
    """Write the model as it stands, LoRA merged, in place of the folder's former one.

    In the release's format where the model is one that it knows, else with our extensions.
    """
    model = _finish_model(found.model, scale, dtype)
    new = folder.with_name(folder.name + atomic.PARTIAL_SUFFIX)
    shutil.rmtree(new, ignore_errors=True)
    try:
        export_released(model, new)
    except UsageError:
        model.save_pretrained(new)
    words = found.processor.tokenizer
    words.backend_tokenizer.no_truncation()  # left over from the last call, no property
    words.backend_tokenizer.no_padding()
    words.save_pretrained(new)
    found.processor.image_processor.save_pretrained(new)
    (new / INSTRUCTION_FILE).write_text(json.dumps({"default": found.instruction}) + "\n", "utf-8")
    replace_folder(new, folder)


def _finish_model(model: RetrieverModel, scale: float, dtype: str) -> RetrieverModel:
    copy: RetrieverModel = deepcopy(model).eval()
    merge_lora(copy)
    copy.config.logit_scale = round(scale, 6)
    copy.to(device="cpu", dtype=getattr(torch, dtype))
    return copy


def merge_lora(module: nn.Module) -> None:
    """Add what LoRA learned to the matrices themselves, and take it out: in place."""
    found = [(name, part) for name, part in module.named_modules() if hasattr(part, "lora_A")]
    for name, part in found:
        part.merge()
        parent, _, attribute = name.rpartition(".")
        setattr(module.get_submodule(parent), attribute, part.get_base_layer())
