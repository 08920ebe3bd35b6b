"""What a training begins with: the model, its processors, and which of its weights are trained.

Knows checkpoints, configurations, towers. Does not know data or the loop.
"""

import hashlib
import json
from dataclasses import dataclass, replace
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import nn
from transformers import (
    AutoTokenizer,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPVisionConfig,
    CLIPVisionModel,
)

from rag_vqa.errors import Missing, UsageError
from rag_vqa.retriever.configuration import RetrieverConfig
from rag_vqa.retriever.encoder import Encoder
from rag_vqa.retriever.model import RetModel, RetrieverModel
from rag_vqa.retriever.processor import RetProcessor
from rag_vqa.retriever.training.lora import add_lora
from rag_vqa.retriever.training.settings import ModelSettings, Tower, TrainSettings
from rag_vqa.retriever.training.variant import varied

_KINDS = {
    "text": (CLIPTextConfig, CLIPTextModel, "text_model"),
    "vision": (CLIPVisionConfig, CLIPVisionModel, "vision_model"),
}


@dataclass(frozen=True)
class Started:
    """A model in training mode, with what turns texts and pictures into its inputs."""

    model: RetrieverModel
    processor: RetProcessor
    instruction: str = ""
    digest: str = ""  # of all of it, as it was read: a run that goes on needs the same


def started(settings: TrainSettings) -> Started:
    """What `settings` begin with; only what is to be trained requires gradients.

    Raises:
        UsageError, Missing, RagVqaError: a configuration that cannot be, or no such checkpoint.
    """
    torch.manual_seed(settings.seed)  # for what is made anew: a model, matrices of LoRA
    if settings.start is not None:
        encoder = Encoder.load(
            settings.start,
            device="cpu",
            instruction=settings.instruction,
            tokenizer=settings.tokenizer,
            image_processor=settings.image_processor,
        )
        found = Started(encoder.model, encoder.processor, encoder.instruction)
    else:
        assert settings.model is not None
        model = _built(_worded(settings.model, settings.tokenizer), settings)
        processor = RetProcessor.load(
            settings.tokenizer or settings.model.text or "",
            model.config.query,
            image_processor=settings.image_processor or settings.model.vision,
        )
        found = Started(model, processor, settings.instruction or "")
    _check_words(found)
    found = replace(found, digest=_digest(found))
    found.model.train()
    choose(found.model, settings)
    return found


def _worded(wanted: ModelSettings, tokenizer: str | None) -> ModelSettings:
    """A text tower described without `vocab_size` has a row for each token of its tokenizer."""
    query = wanted.config.get("query_config") or {}
    text = query.get("text_config")
    if text is None or "vocab_size" in text or tokenizer is None:
        return wanted
    rows = len(AutoTokenizer.from_pretrained(tokenizer, trust_remote_code=False))
    query = {**query, "text_config": {**text, "vocab_size": rows}}
    return wanted.model_copy(update={"config": {**wanted.config, "query_config": query}})


def _check_words(found: Started) -> None:
    rows = found.model.config.query.text_config.vocab_size
    words = len(found.processor.tokenizer)
    if words > rows:
        raise UsageError(
            f"the tokenizer has {words} tokens, the text tower {rows} (vocab_size). Give the "
            "tower's own tokenizer, or leave vocab_size out for a new one."
        )


def _digest(found: Started) -> str:
    digest = hashlib.sha256(found.processor.tokenizer.backend_tokenizer.to_str().encode())
    digest.update(found.processor.image_processor.to_json_string().encode())
    digest.update(found.instruction.encode())
    digest.update(json.dumps(found.model.config.to_dict(), sort_keys=True, default=str).encode())
    for name, tensor in found.model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def choose(model: RetrieverModel, settings: TrainSettings) -> None:
    """Freeze, free, or adapt by LoRA; frozen parts stay in evaluation mode, without dropout.

    Raises UsageError: the query side alone, of a model that is both sides.
    """
    config = model.config
    sides = {id(side): side for side in (model.get_query_model(), model.get_passage_model())}
    for side in sides.values():
        side.config.is_text_frozen = settings.towers.text == "frozen"
        side.config.is_vision_frozen = settings.towers.vision == "frozen"
    towers = {id(t): (t, settings.towers.text) for s in sides.values() for t in [s.text_model]}
    towers |= {id(t): (t, settings.towers.vision) for s in sides.values() for t in [s.vision_model]}
    for tower, fate in towers.values():
        _fate(tower, fate, settings.towers.rank)
    if settings.side == "query":
        if config.share_query_passage_models:
            raise UsageError(
                "this checkpoint is one model for both sides: tuning its query side would move "
                "its documents. Train both sides (side: both), and build the knowledge base anew."
            )
        model.get_passage_model().requires_grad_(False).eval()
    model.train()
    hold(model, settings)


def hold(model: RetrieverModel, settings: TrainSettings) -> None:
    """What is frozen encodes as it will be used: without dropout, also after `train()`."""
    if settings.side == "query":
        model.get_passage_model().eval()


def _fate(tower: nn.Module, fate: Tower, rank: int) -> None:
    tower.requires_grad_(fate == "trained")
    if fate == "lora":
        add_lora(tower, rank)


def _built(wanted: ModelSettings, settings: TrainSettings) -> RetrieverModel:
    raw = dict(wanted.config)
    query = dict(raw.get("query_config") or {})
    for name in _KINDS:
        folder: str | None = getattr(wanted, name)
        if folder is not None and query.get(f"{name}_config") is None:
            query[f"{name}_config"] = _tower_config(name, folder)
    raw["query_config"] = query
    raw["passage_config"] = {**query, **(raw.get("passage_config") or {})}
    try:
        model = RetrieverModel(varied(RetrieverConfig.from_dict(raw), settings.variant))
    except (StrictDataclassError, TypeError, ValueError) as error:
        raise UsageError(f"model.config: {' '.join(str(error).split())}") from error
    for name, (_, _, attribute) in _KINDS.items():
        folder = getattr(wanted, name)
        if folder is not None:
            _load_tower(model, name, attribute, folder)
    return model


def _tower_config(name: str, folder: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = _KINDS[name][0].from_pretrained(folder).to_dict()
    except OSError as error:
        raise _no_tower(name, folder, error) from error
    return found | {"_name_or_path": folder}


def _load_tower(model: RetrieverModel, name: str, attribute: str, folder: str) -> None:
    try:
        loaded = _KINDS[name][1].from_pretrained(
            folder, use_safetensors=True, dtype=torch.float32, trust_remote_code=False
        )
    except OSError as error:
        raise _no_tower(name, folder, error) from error
    sides: list[RetModel] = [model.get_query_model(), model.get_passage_model()]
    for side in sides:
        try:
            getattr(side, attribute).load_state_dict(loaded.state_dict())
        except RuntimeError as error:
            raise UsageError(
                f"model.{name}: {folder} is a tower of another shape than model.config says."
            ) from error


def _no_tower(name: str, folder: str, error: OSError) -> Missing:
    return Missing(
        f"model.{name}: {folder}: no CLIP checkpoint ({str(error).splitlines()[0]}). Give a folder "
        "with config.json and model.safetensors, or a hub id while online."
    )
