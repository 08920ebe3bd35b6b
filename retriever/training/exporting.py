"""A trained retriever as a checkpoint folder: loads as a released one, is there whole or not.

Knows the model, its processors, and the release's format where the model has one. Does not know
the state of a training (checkpoint.py).
"""

import json
import shutil
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import torch

from rag_vqa.errors import UsageError
from rag_vqa.retriever.encoder import INSTRUCTION_FILE
from rag_vqa.retriever.export import export_released
from rag_vqa.retriever.model import RetrieverModel
from rag_vqa.retriever.store import files
from rag_vqa.retriever.training.checkpoint import done
from rag_vqa.retriever.training.loop import STATE
from rag_vqa.retriever.training.lora import merge_lora
from rag_vqa.retriever.training.starting import Started

OLD = ".old"  # ends the name of the folder that is being replaced


def export(found: Started, folder: Path, *, scale: float = 1.0, dtype: str = "float32") -> None:
    """Write the model as it stands, LoRA merged, in place of the folder's former one.

    In the release's format where the model is one that it knows, else with our extensions.
    """
    model = _finished(found.model, scale, dtype)
    new = folder.with_name(folder.name + files.NEW)
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
    take_place(new, folder)


def refuse_strange(out: Path, names: Sequence[str]) -> None:
    """Refuse a folder that holds checkpoints under these names, and no training that wrote them.

    Raises UsageError.
    """
    there = [str(out / name) for name in names if (out / name).exists()]
    if there and not done(out / STATE):
        raise UsageError(
            f"{there[0]} is there, and no state of a training that wrote it: it would be replaced. "
            "Give another folder, or move it away."
        )


def mend(folder: Path) -> None:
    """Bring back the former folder, if a kill came between its going and the new one's coming."""
    old = folder.with_name(folder.name + OLD)
    if old.exists():
        if folder.exists():
            shutil.rmtree(old)
        else:
            old.rename(folder)


def _finished(model: RetrieverModel, scale: float, dtype: str) -> RetrieverModel:
    copy: RetrieverModel = deepcopy(model).eval()
    merge_lora(copy)
    copy.config.logit_scale = round(scale, 6)
    copy.to(device="cpu", dtype=getattr(torch, dtype))
    return copy


def take_place(new: Path, folder: Path) -> None:
    """Give a finished folder its name; the former one of that name goes when it has it."""
    allowed = (new / "config.json").stat().st_mode
    for file in sorted(new.iterdir()):
        file.chmod(allowed & 0o777)  # safetensors writes for its owner alone
        files.sync(file)
    mend(folder)
    if folder.exists():
        folder.rename(folder.with_name(folder.name + OLD))
    files.replace(new, folder)
    shutil.rmtree(folder.with_name(folder.name + OLD), ignore_errors=True)
