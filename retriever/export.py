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
from rag_vqa.retriever.modeling.processor import RetProcessor
from rag_vqa.storage import atomic
from rag_vqa.storage.atomic import replace_folder


def export_released(model: RetrieverModel, folder: str | Path) -> None:
    """Save `model` as a checkpoint that the ReT release itself can load.

    Raises UsageError, before it writes anything, if the model uses an extension of ours:
    an explicit `layer_strategy`, no gates, one modality alone, or a `logit_scale` other than 1.
    """
    config, folder = model.config, Path(folder)
    for side in (config.query, config.passage):
        if not isinstance(side.layer_strategy, str):
            raise UsageError(
                f"layer_strategy {side.layer_strategy} is our extension: the release knows only "
                "names. Save with save_pretrained instead."
            )
        for switch, usual in EXTENSION_DEFAULTS.items():
            if getattr(side, switch) != usual:
                raise UsageError(
                    f"{switch} {getattr(side, switch)!r} is our extension: the release would load "
                    "random weights in its place. Save with save_pretrained instead."
                )
    if config.logit_scale != 1:
        raise UsageError(
            f"logit_scale {config.logit_scale} is our extension: the release has none. "
            "Save with save_pretrained instead, or train with a scale of 1."
        )
    model.save_pretrained(folder)
    file = folder / "config.json"
    raw = json.loads(file.read_text("utf-8"))
    raw.pop("logit_scale")
    raw["torch_dtype"] = raw.pop("dtype")  # transformers 4.45 knows no other name
    file.write_text(json.dumps(raw, indent=2, sort_keys=True) + "\n", "utf-8")


def export_checkpoint(
    model: RetrieverModel,
    processor: RetProcessor,
    folder: Path,
    *,
    instruction: str = "",
    scale: float = 1.0,
    dtype: str = "float32",
) -> None:
    """Write a model with LoRA merged, its processor and instruction; replaces `folder`.

    Uses the release's format if it can express the model, otherwise our extensions.
    `model` itself does not change.
    """
    finished = _finish_model(model, scale, dtype)
    new = folder.with_name(folder.name + atomic.PARTIAL_SUFFIX)
    shutil.rmtree(new, ignore_errors=True)
    try:
        export_released(finished, new)
    except UsageError:
        finished.save_pretrained(new)
    tokenizer = processor.tokenizer
    tokenizer.backend_tokenizer.no_truncation()  # a leftover of the last call, not a property
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.save_pretrained(new)
    processor.image_processor.save_pretrained(new)
    (new / INSTRUCTION_FILE).write_text(json.dumps({"default": instruction}) + "\n", "utf-8")
    replace_folder(new, folder)


def _finish_model(model: RetrieverModel, scale: float, dtype: str) -> RetrieverModel:
    copy: RetrieverModel = deepcopy(model).eval()
    merge_lora(copy)
    copy.config.logit_scale = round(scale, 6)
    copy.to(device="cpu", dtype=getattr(torch, dtype))
    return copy


def merge_lora(module: nn.Module) -> None:
    """Add what LoRA learned to the matrices themselves and remove its own, in place."""
    found = [(name, part) for name, part in module.named_modules() if hasattr(part, "lora_A")]
    for name, part in found:
        part.merge()
        parent, _, attribute = name.rpartition(".")
        setattr(module.get_submodule(parent), attribute, part.get_base_layer())
