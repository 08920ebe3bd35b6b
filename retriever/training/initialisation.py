"""Initialise a training: the model, its processors, and which of its weights are trained.

Knows checkpoints, configurations, towers, LoRA (Hu et al., 2021, by peft) and the variants of ReT
(the paper's ablations, each one switch on a configuration). Does not know data or the loop.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path
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
from rag_vqa.hub.model_files import ensure_available
from rag_vqa.retriever.model_card import ModelCard
from rag_vqa.retriever.modeling.configuration import RetConfig, RetrieverConfig
from rag_vqa.retriever.modeling.encoder import Encoder
from rag_vqa.retriever.modeling.export import export_checkpoint
from rag_vqa.retriever.modeling.model import RetModel, RetrieverModel
from rag_vqa.retriever.modeling.processor import RetProcessor
from rag_vqa.retriever.training.training_settings import (
    ModelSettings,
    Tower,
    TrainSettings,
    Variant,
)

_TOWER_CLASSES = {
    "text": (CLIPTextConfig, CLIPTextModel, "text_model"),
    "vision": (CLIPVisionConfig, CLIPVisionModel, "vision_model"),
}
LORA_TARGETS = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"]  # all of a layer


@dataclass(frozen=True)
class InitialModel:
    """A model in training mode, with the processor for its texts and pictures."""

    model: RetrieverModel
    processor: RetProcessor
    instruction: str = ""
    digest: str = ""  # of all of it, as loaded: a resumed run needs the same

    def export(
        self,
        folder: Path,
        *,
        scale: float = 1.0,
        dtype: str = "float32",
        card: ModelCard | None = None,
    ) -> None:
        """Write it as a checkpoint, in place of `folder`; see `export_checkpoint`."""
        export_checkpoint(
            self.model,
            self.processor,
            folder,
            instruction=self.instruction,
            scale=scale,
            dtype=dtype,
            card=card,
        )


def initialise(settings: TrainSettings) -> InitialModel:
    """The model that `settings` name; only the trained parameters require gradients.

    Raises:
        UsageError, Missing, RagVqaError: a bad configuration, or a checkpoint does not exist.
    """
    torch.manual_seed(settings.seed)  # for random weights: a new model, LoRA matrices
    if settings.start is not None:
        encoder = Encoder.load(
            settings.start,
            device="cpu",
            instruction=settings.instruction,
            tokenizer=settings.tokenizer,
            image_processor=settings.image_processor,
        )
        if not isinstance(encoder.processor, RetProcessor):
            raise UsageError(
                f"{settings.start} is of type {encoder.family.name!r}, which cannot be trained. "
                "Start from a ReT checkpoint (type 'retriever')."
            )
        found = InitialModel(encoder.model, encoder.processor, encoder.instruction)
    else:
        assert settings.model is not None
        model = _build_model(_with_vocabulary(settings.model, settings.tokenizer), settings)
        processor = RetProcessor.load(
            settings.tokenizer or settings.model.text or "",
            model.config.query,
            image_processor=settings.image_processor or settings.model.vision,
        )
        found = InitialModel(model, processor, settings.instruction or "")
    _check_vocabulary(found)
    found = replace(found, digest=_digest_model(found))
    found.model.train()
    set_trainable(found.model, settings)
    return found


def _with_vocabulary(settings: ModelSettings, tokenizer: str | None) -> ModelSettings:
    """Set `vocab_size` of a text tower that has none to the size of its tokenizer."""
    query = settings.config.get("query_config") or {}
    text = query.get("text_config")
    if text is None or "vocab_size" in text or tokenizer is None:
        return settings
    where = ensure_available(tokenizer, marker="tokenizer_config.json")
    rows = len(AutoTokenizer.from_pretrained(tokenizer, trust_remote_code=False, **where))
    query = {**query, "text_config": {**text, "vocab_size": rows}}
    return settings.model_copy(update={"config": {**settings.config, "query_config": query}})


def _check_vocabulary(initial: InitialModel) -> None:
    rows = initial.model.config.query.text_config.vocab_size
    words = len(initial.processor.tokenizer)
    if words > rows:
        raise UsageError(
            f"The tokenizer has {words} tokens, but the text tower {rows} (vocab_size). Use the "
            "tower's own tokenizer, or leave out vocab_size for a new tower."
        )


def _digest_model(initial: InitialModel) -> str:
    digest = hashlib.sha256(initial.processor.tokenizer.backend_tokenizer.to_str().encode())
    digest.update(initial.processor.image_processor.to_json_string().encode())
    digest.update(initial.instruction.encode())
    digest.update(json.dumps(initial.model.config.to_dict(), sort_keys=True, default=str).encode())
    for name, tensor in initial.model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def set_trainable(model: RetrieverModel, settings: TrainSettings) -> None:
    """Freeze parts, train them, or add LoRA. Frozen parts stay in evaluation mode: no dropout.

    Raises UsageError: only the query side is to be trained, but one model encodes both sides.
    """
    config = model.config
    sides = {id(side): side for side in (model.get_query_model(), model.get_passage_model())}
    for side in sides.values():
        side.config.is_text_frozen = settings.towers.text == "frozen"
        side.config.is_vision_frozen = settings.towers.vision == "frozen"
    towers = {id(t): (t, settings.towers.text) for s in sides.values() for t in [s.text_model]}
    towers |= {id(t): (t, settings.towers.vision) for s in sides.values() for t in [s.vision_model]}
    for tower, fate in towers.values():
        _set_tower_trainable(tower, fate, settings.towers.rank)
    if settings.side == "query":
        if config.share_query_passage_models:
            raise UsageError(
                "This checkpoint uses one model for both sides: tuning its query side would change "
                "its documents. Train both sides (side: both), and rebuild the knowledge base."
            )
        model.get_passage_model().requires_grad_(False).eval()
    model.train()
    freeze_eval_mode(model, settings)


def freeze_eval_mode(model: RetrieverModel, settings: TrainSettings) -> None:
    """Keep the frozen side in evaluation mode, without dropout, also after `train()`."""
    if settings.side == "query":
        model.get_passage_model().eval()


def _set_tower_trainable(tower: nn.Module, fate: Tower, rank: int) -> None:
    tower.requires_grad_(fate == "trained")
    if fate == "lora":
        add_lora(tower, rank)


def _build_model(model_settings: ModelSettings, settings: TrainSettings) -> RetrieverModel:
    raw = dict(model_settings.config)
    query = dict(raw.get("query_config") or {})
    for name in _TOWER_CLASSES:
        folder: str | None = getattr(model_settings, name)
        if folder is not None and query.get(f"{name}_config") is None:
            query[f"{name}_config"] = _tower_config(name, folder)
    raw["query_config"] = query
    raw["passage_config"] = {**query, **(raw.get("passage_config") or {})}
    try:
        model = RetrieverModel(apply_variant(RetrieverConfig.from_dict(raw), settings.variant))
    except (StrictDataclassError, TypeError, ValueError) as error:
        raise UsageError(f"model.config: {' '.join(str(error).split())}") from error
    for name, (_, _, attribute) in _TOWER_CLASSES.items():
        folder = getattr(model_settings, name)
        if folder is not None:
            _load_tower(model, name, attribute, folder)
    return model


def _tower_config(name: str, folder: str) -> dict[str, Any]:
    try:
        where = ensure_available(folder, marker="config.json")
        found: dict[str, Any] = _TOWER_CLASSES[name][0].from_pretrained(folder, **where).to_dict()
    except (OSError, Missing) as error:
        raise _missing_tower(name, folder, error) from error
    return found | {"_name_or_path": folder}


def _load_tower(model: RetrieverModel, name: str, attribute: str, folder: str) -> None:
    try:
        where = ensure_available(folder)
        loaded = _TOWER_CLASSES[name][1].from_pretrained(
            folder, use_safetensors=True, dtype=torch.float32, trust_remote_code=False, **where
        )
    except (OSError, Missing) as error:
        raise _missing_tower(name, folder, error) from error
    sides: list[RetModel] = [model.get_query_model(), model.get_passage_model()]
    for side in sides:
        try:
            getattr(side, attribute).load_state_dict(loaded.state_dict())
        except RuntimeError as error:
            raise UsageError(
                f"model.{name}: the tower in {folder} has another shape than model.config."
            ) from error


def _missing_tower(name: str, folder: str, error: OSError | Missing) -> Missing:
    if isinstance(error, Missing):
        return Missing(f"model.{name}: {error}")
    return Missing(
        f"model.{name}: {folder}: no CLIP checkpoint ({str(error).splitlines()[0]}). Give a folder "
        "with config.json and model.safetensors, or a hub id."
    )


def apply_variant(config: RetrieverConfig, variant: Variant) -> RetrieverConfig:
    """A new configuration with these changes on both sides.

    Raises ValueError (of the configuration) if a size is impossible.
    """
    raw = config.to_dict()
    raw |= {
        "query_config": _apply_to_side(config.query, variant),
        "passage_config": _apply_to_side(config.passage, variant),
    }
    if variant.one_model is not None:
        raw["share_query_passage_models"] = variant.one_model
    return RetrieverConfig.from_dict(raw)  # type: ignore[no-any-return]


def _apply_to_side(config: RetConfig, variant: Variant) -> dict[str, Any]:
    raw = config.to_dict()
    changes = {
        "gates": variant.gates,
        "fusion": variant.fusion,
        "num_queries": variant.tokens,
        "use_pooler_features": variant.pool,
    }
    raw |= {name: value for name, value in changes.items() if value is not None}
    if variant.layers == "last":
        raw["layer_strategy"] = {
            "text": _last_layer(config.text_config),
            "vision": _last_layer(config.vision_config),
        }
    return raw


def _last_layer(tower: object) -> list[int]:
    count: int | None = getattr(tower, "num_hidden_layers", None)
    if count is None:
        raise ValueError("the last layer alone needs text_config and vision_config")
    return [count - 1]


def add_lora(tower: nn.Module, rank: int) -> None:
    """Add two matrices of this rank to each matrix of a tower; only they require gradients.

    The second starts at zero, so the tower's output does not change. Raises Missing without peft.
    """
    # peft imports bitsandbytes, which warns about a package that we do not use.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise Missing(
            "LoRA needs peft. Get it: pip install 'rag-vqa[train]', or set towers to frozen."
        ) from error
    config = LoraConfig(r=rank, lora_alpha=rank, lora_dropout=0.0, target_modules=LORA_TARGETS)
    inject_adapter_in_model(config, tower)
