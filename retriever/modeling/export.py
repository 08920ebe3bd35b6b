"""Export a retriever as a checkpoint folder, in the ReT release's format where it can express it.

Knows the release's names, which extensions of ours it lacks, processors, and the hub's upload. Does
not know how a model was trained.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn

from rag_vqa.errors import UsageError
from rag_vqa.retriever.model_card import CARD_FILE, ModelCard
from rag_vqa.retriever.modeling import INSTRUCTION_FILE, RetrieverProcessor
from rag_vqa.retriever.modeling.configuration import EXTENSION_DEFAULTS, load_config
from rag_vqa.retriever.modeling.model import RetrieverModel
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
    processor: RetrieverProcessor,
    folder: Path,
    *,
    instruction: str = "",
    scale: float = 1.0,
    dtype: str = "float32",
    card: ModelCard | None = None,
    name: str = "",
) -> None:
    """Write a model with LoRA merged, its processor, instruction and card; replaces `folder`.

    Uses the release's format if it can express the model, otherwise our extensions.
    `model` itself does not change. The folder loads as any checkpoint of transformers does.

    Args:
        card: what its README.md says; None: only what the model itself tells.
        name: hub id or folder in the card's examples; "": the folder's own name.
    """
    finished = _finish_model(model, scale, dtype)
    new = folder.with_name(folder.name + atomic.PARTIAL_SUFFIX)
    shutil.rmtree(new, ignore_errors=True)
    try:
        export_released(finished, new)
    except UsageError:
        finished.save_pretrained(new)
    processor.save_pretrained(new)
    (new / INSTRUCTION_FILE).write_text(json.dumps({"default": instruction}) + "\n", "utf-8")
    text = (card or ModelCard()).render(finished.config, name or folder.name)
    (new / CARD_FILE).write_text(text, "utf-8")
    replace_folder(new, folder)


def write_card(folder: Path, card: ModelCard) -> None:
    """Replace the card of a checkpoint's folder, by one with its figures, for instance."""
    config = load_config(folder, local_files_only=True)
    atomic.write_file(folder / CARD_FILE, card.render(config, folder.name))


def push_checkpoint(
    write: Callable[[Path, str], None],
    repo: str,
    *,
    keep_card: bool,
    private: bool | None = None,
    token: str | None = None,
) -> str:
    """Upload a checkpoint to the hub in one commit; returns the address of the commit.

    Args:
        write: writes the checkpoint into a folder; gets the folder, and the hub id for its card.
        repo: "name" or "owner/name"; made if it does not exist.
        keep_card: leave a README.md that the repository has.
        private, token: as huggingface_hub takes them.
    """
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    repo = api.create_repo(repo, private=private, exist_ok=True).repo_id
    keep_card = keep_card and api.file_exists(repo, CARD_FILE)
    with TemporaryDirectory() as folder:
        write(Path(folder) / "model", repo)
        commit = api.upload_folder(
            repo_id=repo,
            folder_path=Path(folder) / "model",
            commit_message="Upload a retriever with rag-vqa",
            ignore_patterns=[CARD_FILE] if keep_card else None,
        )
    return str(commit.commit_url)


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
