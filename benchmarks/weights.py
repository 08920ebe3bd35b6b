"""Compares the bytes of a quantised random model, in the shape of Qwen3-VL-2B, with its shapes.

Knows shapes and the process's memory. Does not know speed, prompts or published weights.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from bitsandbytes.nn import Linear4bit
from torch import nn
from transformers import AutoModelForImageTextToText, Qwen3VLConfig

from rag_vqa.readers.model_loading import load_model, unquantised_layers, weight_bytes

# Of the published configuration of Qwen3-VL-2B-Instruct.
QWEN3_VL_2B = {
    "text_config": {
        "vocab_size": 151936,
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "tie_word_embeddings": True,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 5000000.0,
            "mrope_section": [24, 20, 20],
            "mrope_interleaved": True,
        },
    },
    "vision_config": {
        "depth": 24,
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_heads": 16,
        "patch_size": 16,
        "out_hidden_size": 2048,
        "num_position_embeddings": 2304,
        "deepstack_visual_indexes": [5, 11, 17],
    },
    "tie_word_embeddings": True,
}


def layer_bytes(model: Any) -> dict[str, float]:
    """Bytes of the quantised linear layers, and their ratio to bfloat16."""
    layers = nn.ModuleList(part for part in model.modules() if isinstance(part, Linear4bit))
    weights = [layer.weight for layer in layers]
    taken = sum(weight_bytes(nn.ParameterList([weight]))["nf4"] for weight in weights)
    full = sum(2 * weight.quant_state.shape.numel() for weight in weights)
    return {"bytes": taken, "bfloat16": full, "ratio": taken / full, "layers": len(layers)}


def measure_two_billion(scratch: Path) -> dict[str, Any]:
    """Bytes in nf4 of a random model in the shape of Qwen3-VL-2B, measured and computed."""
    config = Qwen3VLConfig(**QWEN3_VL_2B)
    folder = scratch / "two-billion"
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    del model
    before = anonymous_bytes()
    model = load_model(str(folder), config, "nf4", "cpu", torch.bfloat16)
    after, measured = anonymous_bytes(), weight_bytes(model)
    shutil.rmtree(folder)
    linear = layer_bytes(model)
    others = sum(x.numel() for x in model.parameters() if not hasattr(x, "quant_state"))
    # nf4: half a byte a weight, one byte a block of 64 for its scale, 4 for 256 of those.
    per_weight = 0.5 + 1 / 64 + 4 / (64 * 256)
    computed = linear["bfloat16"] / 2 * per_weight + others * 2
    return {
        "parameters": int(linear["bfloat16"] / 2 + others),
        "bytes": measured,
        "whole": sum(measured.values()),
        "computed": computed,
        "whole / computed": sum(measured.values()) / computed,
        "growth of memory that no file stands behind": after - before,
        "linear layers": linear,
        "left out": sorted({layer_name(name) for name in unquantised_layers(model)}),
    }


def layer_name(module: str) -> str:
    """A module's name with numbers replaced by *, so that each kind of layer appears once."""
    return ".".join("*" if part.isdigit() else part for part in module.split("."))


def anonymous_bytes() -> int:
    """Bytes of this process that are not mapped from files."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) * 1024
