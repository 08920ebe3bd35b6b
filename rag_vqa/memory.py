"""Estimates how much memory models need before they load, and returns freed memory to the system.

Knows arithmetic and glibc's malloc threshold. Does not know where models keep their parts and what
they call their sizes (model_structure.py), devices or machines, and reads no weights.

The estimate counts weights, key-value cache, image tokens and the activations of the layer at work.
The overhead of a bare process and of int8 was measured on one CPU; no GPU was measured. It holds
where freed arrays return to the system (`return_freed_memory`). benchmarks/memory.py compares it
with models that it was not fitted to. Not counted: a retriever's activations, the attention mask of
a batch of unequal prompts, and image tiles of models that do not list them in
`image_grid_pinpoints` (InternVL, SmolVLM).
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rag_vqa.errors import Missing

GB = 1e9
# Share of the estimate that must stay free besides it. At worst a process took 2.3% more, on a CPU
# (benchmarks/memory.py); no GPU was measured.
MARGIN = 0.05
# Bits for each weight. NF4 with double quantisation adds 0.127 for scales (QLoRA, section 3).
BITS: Mapping[str, float] = MappingProxyType({"int8": 8.0, "nf4": 4.127})
BYTES: Mapping[str, int] = MappingProxyType({"float32": 4, "bfloat16": 2, "float16": 2})
# Memory of a process without models: Python, torch, transformers, bitsandbytes, tokenizers.
RUNTIME_CPU = 0.55 * GB  # measured; 0.2 GB of it are mapped files
RUNTIME_GPU = 0.6 * GB  # CUDA context and workspaces: a round figure, not measured
# Arrays that exist at the same time in a gated MLP, the peak of a layer. As wide as the model:
# input, residual, its norm, embeddings, positions, output. As wide as the inner layer: gate, up,
# product.
_HIDDEN_ARRAYS, _INNER_ARRAYS = 6, 3
# bitsandbytes: memory that loading leaves behind, and further 32-bit arrays of the inner layer's
# width in int8 on a CPU.
_LOADING_RESIDUE = 0.05 * GB
_INT8_ARRAYS = 6
_UNLISTED_TILES = frozenset({"internvl", "idefics2", "idefics3", "smolvlm"})
_M_MMAP_THRESHOLD = -3  # malloc.h
ARRAY_BYTES = 2**20  # one token's activations are below
IMAGE_BYTES = 2**23  # Pillow holds them in blocks of 16 MB


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The sizes of a model that its memory depends on.

    Attributes:
        linear: parameters of the language model's linear layers, which are quantised.
        whole: all other parameters: vision tower, projector, embeddings, output layer.
        layers: layers of the language model that keep keys and values of every token.
        hidden, inner: widths of the language model and of its MLP.
        heads: numbers of one token in the keys of one layer (as many again in its values).
        vision_hidden, vision_inner: widths of the vision tower.
        patch: side of a patch in pixels, if images keep their size.
        merged: patches that become one token.
        patches: patches of one image, if all images are resized to one size; else 0.
        largest_layer: parameters of the largest layer that is quantised; 0 where it is the MLP's.
        experts: those of `whole` that are experts, which cannot be quantised.
    """

    linear: int
    whole: int
    layers: int
    hidden: int
    inner: int
    heads: int
    vision_hidden: int
    vision_inner: int
    patch: int = 16
    merged: int = 4
    patches: int = 0
    largest_layer: int = 0
    experts: int = 0

    @property
    def largest(self) -> int:
        """Parameters of the largest linear layer."""
        return self.largest_layer or self.hidden * self.inner

    def patches_of(self, pixels: int | None, tokens: int) -> int:
        """Patches of one image of `pixels` pixels; None: as many as `tokens` allow."""
        if self.patches:
            return self.patches
        most = tokens * self.merged
        return most if pixels is None else min(most, math.ceil(pixels / self.patch**2))


@dataclass(frozen=True, slots=True)
class Workload:
    """The largest task of a reader.

    Attributes:
        tokens: length of the longest prompt and its answer.
        images: images in that prompt, each of `pixels`.
        number: bytes of one number of the computation.
        batch: prompts read at once.
    """

    quantization: str
    tokens: int
    images: int = 1
    pixels: int | None = None
    number: int = 2
    batch: int = 1
    on_cpu: bool = False


def reader_memory(shape: ModelShape, load: Workload) -> dict[str, float]:
    """Bytes of each part: "quantised", "left whole", "attention cache", "at work"."""
    bits = BITS.get(load.quantization, 8 * load.number)
    return {
        "quantised": shape.linear * bits / 8 if load.quantization in BITS else 0.0,
        "left whole": (shape.whole + (0 if load.quantization in BITS else shape.linear))
        * float(load.number),
        "attention cache": _attention_cache(shape, load),
        "at work": _activations(shape, load),
    }


def _attention_cache(shape: ModelShape, load: Workload) -> float:
    """Bytes of keys and values of all tokens. They grow by copying: one layer exists twice."""
    return 2.0 * load.batch * load.tokens * shape.heads * load.number * (shape.layers + 1)


def _activations(shape: ModelShape, load: Workload) -> float:
    """Bytes of activations, of images or of text, whichever are more; dequantised weights."""
    rows = load.batch * load.tokens
    text = float(rows * load.number * (_HIDDEN_ARRAYS * shape.hidden + _INNER_ARRAYS * shape.inner))
    patches = load.batch * load.images * shape.patches_of(load.pixels, load.tokens)
    wide = _HIDDEN_ARRAYS * shape.vision_hidden + _INNER_ARRAYS * shape.vision_inner
    images = float(patches * load.number * wide)
    if load.quantization not in BITS:
        return max(images, text)
    one_layer = shape.largest * load.number
    if not load.on_cpu:
        return max(images, text) + one_layer
    if load.quantization == "int8":
        text += _INT8_ARRAYS * rows * shape.inner * 4
    return max(images, text) + one_layer + _LOADING_RESIDUE


def has_unlisted_tiles(config: Any) -> bool:
    """True for families that cut images into tiles although the shape counts one tile."""
    return config.model_type in _UNLISTED_TILES


def model_shape(config: Any) -> ModelShape:
    """The shape of the model of a configuration, counted on the meta device.

    As in `load_model`, only linear layers of the language model are quantised.
    """
    from rag_vqa.model_structure import (
        language_sizes,
        meta_model,
        quantisable_layers,
        vision_sizes,
    )

    model = meta_model(config)
    total = sum(parameter.numel() for parameter in model.parameters())
    quantised = sum(layer.weight.numel() for layer in quantisable_layers(model).values())
    sizes = language_sizes(config, model) | vision_sizes(config)
    return ModelShape(linear=quantised, whole=total - quantised, **sizes)


def count_parameters(folder: Path) -> int:
    """Number of parameters in a folder's safetensors, read from the headers alone.

    Raises:
        Missing: there are no safetensors, or they cannot be read.
    """
    files = sorted(folder.glob("*.safetensors"))
    try:
        counts = [_count_in_file(file) for file in files]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Missing(f"{folder}: its weights cannot be read: {error}. Fetch them again") from error
    if not counts:
        raise Missing(f"{folder} has no weights in safetensors: check the path of the model")
    return sum(counts)


def _count_in_file(file: Path) -> int:
    """Number of parameters in a file: 8 bytes with the header's length, then the header as JSON."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > file.stat().st_size:
            raise ValueError(f"{file.name} is cut short")
        header = json.loads(stream.read(length))
    return sum(math.prod(t["shape"]) for name, t in header.items() if name != "__metadata__")


def return_freed_memory(least: int) -> None:
    """Makes glibc return freed blocks of `least` bytes or more to the system, from now on.

    By itself, glibc raises this threshold to the largest freed array (up to 32 MB). Arrays of one
    layer then lie between those of another in a heap that only grows: 10 to 15% more memory. The
    setting holds for the whole process. Call it before a model loads, because free space in the
    heap is filled first. It changes nothing if MALLOC_MMAP_THRESHOLD_ is set, or with another C
    library than glibc. See mallopt(3).
    """
    if sys.platform != "linux" or "MALLOC_MMAP_THRESHOLD_" in os.environ:
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, least)
