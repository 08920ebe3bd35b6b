"""Finds the language model, its linear layers and its experts inside a model of transformers.

Knows the model classes that read text, with or without images, and where they keep their parts.
Works on a model on the meta device, which has shapes but no numbers, and on a loaded one. Does not
know how much memory a number takes (memory.py), or how weights are quantised.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

# Kinds of layers with no keys and values, or with a state that does not grow.
_WITHOUT_KEYS = ("linear_attention", "mamba", "conv", "recurrent", "moe", "mlp", "dummy")


def sees_images(config: Any) -> bool:
    """True if transformers has an image-text-to-text class for this configuration."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

    return type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING


def is_text_only(config: Any) -> bool:
    """True for a language model that reads no images, by its configuration."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    return type(config) in MODEL_FOR_CAUSAL_LM_MAPPING and not sees_images(config)


def model_class(config: Any) -> Any:
    """The auto class that loads this configuration: with images if there is one, else text only."""
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    return AutoModelForCausalLM if is_text_only(config) else AutoModelForImageTextToText


def meta_model(config: Any) -> Any:
    """The model on the meta device: shapes without numbers."""
    import torch

    with torch.device("meta"):
        return model_class(config).from_config(config, trust_remote_code=False)


def quantisable_layers(model: Any) -> dict[str, Any]:
    """The linear layers of the language model by name, which quantisation replaces.

    The output layer and parts that see or hear are left out.
    """
    from torch import nn
    from transformers.pytorch_utils import Conv1D  # GPT-2's linear layer

    # A model whose language part has a head of its own does not always name that head as its own.
    heads = {id(part.get_output_embeddings()) for part in model.modules() if _has_head(part)}
    return {
        name: module
        for name, module in _language_modules(model)
        if type(module) in (nn.Linear, Conv1D) and id(module) not in heads
    }


def _has_head(part: Any) -> bool:
    from transformers import PreTrainedModel

    return isinstance(part, PreTrainedModel) and part.get_output_embeddings() is not None


def expert_weights(model: Any) -> dict[str, Any]:
    """The weights of the language model's experts by name: (experts, rows, columns) each.

    A mixture-of-experts model keeps the matrices of all its experts in one parameter, which
    bitsandbytes does not quantise: it replaces linear layers.
    """
    return {
        f"{name}.{key}": parameter
        for name, module in _language_modules(model)
        if "Expert" in type(module).__name__
        for key, parameter in module.named_parameters(recurse=False)
        if parameter.dim() == 3
    }


def _language_modules(model: Any) -> Iterator[tuple[str, Any]]:
    """Modules of the language model with their names in the whole model."""
    decoder = model.get_decoder()
    inside = {id(module) for module in decoder.modules()}
    for part in decoder.modules():
        if part is not decoder and _perceives(part):
            inside -= {id(module) for module in part.modules()}
    for name, module in model.named_modules():
        if id(module) in inside:
            yield name, module


def _perceives(part: Any) -> bool:
    """True for a tower of images or sound, or for what connects one with the language model.

    Idefics and Gemma 4 keep such parts inside their decoder.
    """
    name = type(part).__name__.lower()
    return any(word in name for word in ("vision", "visual", "audio", "perceiver", "projector"))


def context_length(config: Any) -> int | None:
    """The longest input of the language model in tokens; None if the configuration sets no limit.

    Models with a recurrent state or relative positions state none.
    """
    names = ("max_position_embeddings", "n_positions", "max_sequence_length", "max_seq_len")
    return read_size(text_config(config), *names, "seq_length", "n_ctx") or None


def text_config(config: Any) -> Any:
    """The configuration of the part that writes text."""
    return config.get_text_config(decoder=True)


def read_size(config: Any, *names: str) -> int:
    """The first of these settings that is a positive number; the largest of a list; else 0."""
    for name in names:
        value = getattr(config, name, None)
        if isinstance(value, list | tuple):
            value = max((each for each in value if isinstance(each, int | float)), default=0)
        if isinstance(value, int | float) and value > 0:
            return int(value)
    return 0


def language_sizes(config: Any, model: Any) -> dict[str, int]:
    """Sizes of the language model as `ModelShape` names them: layers, hidden, inner, heads, …

    Args:
        config: of the whole model.
        model: of that configuration, on the meta device.
    """
    text = text_config(config)
    count = read_size(text, "num_hidden_layers", "n_layer", "num_layers", "n_layers") or 1
    hidden = read_size(text, "hidden_size", "d_model", "n_embd", "hidden_dim")
    layers = [_layer_config(text, number) for number in range(count)]
    keys = [_cached_numbers(layer, hidden, number) for number, layer in enumerate(layers)]
    keys = [each for each in keys if each] or [0]
    linear = [layer.weight.shape for layer in quantisable_layers(model).values()]
    experts = expert_weights(model)
    return {
        "layers": len(keys),
        "hidden": hidden,
        "inner": _inner_width(text, bool(experts)) or max(map(max, linear), default=hidden),
        "heads": -(-sum(keys) // len(keys)),
        "largest_layer": max((rows * columns for rows, columns in linear), default=0),
        "experts": sum(weight.numel() for weight in expert_weights(model).values()),
    }


def _inner_width(text: Any, has_experts: bool) -> int:
    """The width of the MLP, or of all experts together that one token passes; 0 if not named."""
    dense = read_size(text, "intermediate_size", "ffn_dim", "n_inner", "d_ff", "ffn_hidden_size")
    if not has_experts:
        return dense
    each = read_size(text, "moe_intermediate_size", "expert_ffn_hidden_size") or dense
    chosen = read_size(text, "num_experts_per_tok", "moe_topk", "top_k_experts", "moe_k")
    return max(dense, each * max(chosen, 1))


def _layer_config(text: Any, number: int) -> Any:
    """The configuration of one layer; in some models (Gemma 4), layers differ."""
    return text.per_layer_config[number] if getattr(text, "is_heterogeneous", False) else text


def _cached_numbers(layer: Any, hidden: int, number: int) -> int:
    """Numbers of one token in the keys of one layer, or half of those in keys and values."""
    kinds = getattr(layer, "layer_types", None) or getattr(layer, "layers_block_type", None) or []
    if number < len(kinds) and kinds[number] in _WITHOUT_KEYS:
        return 0
    heads = read_size(layer, "num_attention_heads", "n_head", "num_heads", "n_heads") or 1
    if read_size(layer, "kv_lora_rank"):  # latent attention: keys are wider than values
        keys = read_size(layer, "qk_nope_head_dim") + read_size(layer, "qk_rope_head_dim")
        return heads * (keys + read_size(layer, "v_head_dim", "head_dim")) // 2
    width = read_size(layer, "head_dim") or hidden // heads
    return (read_size(layer, "num_key_value_heads", "n_head_kv") or heads) * width


def vision_sizes(config: Any) -> dict[str, int]:
    """Sizes of the vision tower as `ModelShape` names them: its widths, patches and merging."""
    vision = getattr(config, "vision_config", None)
    if vision is None and not sees_images(config):
        return {"vision_hidden": 0, "vision_inner": 0, "patches": 1}
    vision = vision or config
    # Qwen2-VL calls the width of its output hidden_size.
    hidden = read_size(vision, "embed_dim", "hidden_size", "width", "d_model", "hidden_dim")
    inner = read_size(vision, "intermediate_size", "ffn_dim", "mlp_dim")
    side = read_size(vision, "patch_size") or 16
    kernel = read_size(vision, "spatial_merge_size", "pooling_kernel_size", "merge_kernel_size")
    kernel = kernel or read_size(config, "downsample_factor", "spatial_merge_size") or 1
    return {
        "vision_hidden": hidden,
        "vision_inner": inner or int(hidden * (getattr(vision, "mlp_ratio", None) or 4)),
        "patch": side,
        "merged": kernel**2,
        "patches": _patches_per_image(config, vision, side, kernel),
    }


def _patches_per_image(config: Any, vision: Any, side: int, kernel: int) -> int:
    """Patches of an image with its tiles, in models that resize images to one size; else 0."""
    if tokens := read_size(vision, "default_output_length"):  # Gemma 4: images of any ratio
        return tokens * kernel**2
    size = read_size(vision, "image_size")
    if not size or hasattr(vision, "spatial_merge_size"):
        return 0
    pinpoints = getattr(config, "image_grid_pinpoints", None) or [[0, 0]]
    tiles = max(-(-high // size) * -(-wide // size) for high, wide in pinpoints)
    return int((1 + tiles) * ((size // side) ** 2 + 1))
