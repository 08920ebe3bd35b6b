"""From a model's configuration to the Shape that its memory is computed from; no weights are read.

It knows the names that families of transformers give to the same sizes. It does not know what is
done with the model. Models that cut a picture into tiles without listing them in
`image_grid_pinpoints` (InternVL, SmolVLM) are counted as if they took one tile.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from rag_vqa.errors import Missing
from rag_vqa.memory import Shape

_UNLISTED_TILES = frozenset({"internvl", "idefics2", "idefics3", "smolvlm"})


def has_unlisted_tiles(config: Any) -> bool:
    """Whether it is known to cut pictures into tiles that its shape counts as one."""
    return config.model_type in _UNLISTED_TILES


def shape_of(config: Any) -> Shape:
    """The shape of a model of `AutoModelForImageTextToText`, counted on the meta device.

    Linear layers of the language model count as such; all else stays whole, as `load_model` has
    it. Raises AttributeError where a configuration names its sizes in no known way.
    """
    import torch
    from transformers import AutoModelForImageTextToText

    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config, trust_remote_code=False)
    total = sum(parameter.numel() for parameter in model.parameters())
    language = getattr(model.model, "language_model", None)
    layers = [] if language is None else list(language.modules())
    linear = sum(m.weight.numel() for m in layers if isinstance(m, torch.nn.Linear))
    text, vision = config.get_text_config(), config.vision_config
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    hidden, inner = _vision_widths(vision)
    side = _one(vision.patch_size)
    return Shape(
        linear=linear,
        whole=total - linear,
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        inner=text.intermediate_size,
        heads=text.num_key_value_heads * width,
        vision_hidden=hidden,
        vision_inner=inner,
        patch=side,
        merged=getattr(vision, "spatial_merge_size", 1) ** 2,
        patches=_fixed_patches(config, side),
    )


def parameters_in(folder: Path) -> int:
    """How many numbers the safetensors of a folder hold, by their headers alone.

    Raises:
        Missing: there are none, or they cannot be read.
    """
    files = sorted(folder.glob("*.safetensors"))
    try:
        counts = [_numbers(file) for file in files]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Missing(f"{folder}: its weights cannot be read: {error}. Fetch them again") from error
    if not counts:
        raise Missing(f"{folder} has no weights in safetensors: check the path of the model")
    return sum(counts)


def _numbers(file: Path) -> int:
    """By the format: eight bytes that say how long the header is, then the header as JSON."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > file.stat().st_size:
            raise ValueError(f"{file.name} is cut short")
        header = json.loads(stream.read(length))
    return sum(math.prod(t["shape"]) for name, t in header.items() if name != "__metadata__")


def _vision_widths(vision: Any) -> tuple[int, int]:
    """Width, and that of the inner layer; Qwen2-VL calls the first embed_dim, and has a ratio."""
    hidden = getattr(vision, "embed_dim", None) or vision.hidden_size
    inner = getattr(vision, "intermediate_size", None)
    return hidden, int(inner or hidden * vision.mlp_ratio)


def _fixed_patches(config: Any, side: int) -> int:
    """Of a picture in a model that makes all of one size, with its tiles; 0 in others."""
    vision = config.vision_config
    if hasattr(vision, "spatial_merge_size"):
        return 0
    size = _one(vision.image_size)
    pinpoints = getattr(config, "image_grid_pinpoints", None) or [[0, 0]]
    tiles = max(math.ceil(high / size) * math.ceil(wide / size) for high, wide in pinpoints)
    return int((1 + tiles) * ((size // side) ** 2 + 1))


def _one(size: Any) -> int:
    """A side, of what may be a pair of equal ones."""
    return int(size if isinstance(size, int) else size[0])
