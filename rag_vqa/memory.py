"""How much memory models need while they answer, computed from their shapes before they load.

It knows arithmetic. It does not know configurations, devices or machines, and imports nothing of
ours. Exact: weights, attention cache, tokens. Fitted, on a CPU, to models of 200 million to 2
billion parameters: how many arrays a layer at work holds, and how much of what is freed the
allocator keeps. benchmarks/memory.py holds that against models that it was not fitted to: from 1%
too much to 15% too little, so that what barely fits may not. On a GPU the same figures are taken,
and nothing is kept; that is not measured. A retriever's activations are not counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

GB = 1e9
# Bits a weight takes; NF4 with double quantisation adds 0.127 for its scales (QLoRA, section 3).
BITS: Mapping[str, float] = MappingProxyType({"int8": 8.0, "nf4": 4.127})
BYTES: Mapping[str, int] = MappingProxyType({"float32": 4, "bfloat16": 2, "float16": 2})
# What a process takes before any model: Python, torch, transformers, bitsandbytes, tokenizers.
RUNTIME_CPU = 0.55 * GB  # measured, 0.2 of it files that are mapped
RUNTIME_GPU = 0.6 * GB  # CUDA's own context and workspaces: a round figure, not measured
# A layer at work holds about so many arrays as wide as the model, and as wide as its inner layer.
_WIDE, _WIDE_VISION, _INNER = 6, 8, 3
# glibc gives arrays of this size back to the system when they are freed, and keeps smaller ones.
_KEPT = 32 * 2**20
# bitsandbytes on a CPU: what loading leaves behind, and arrays of the inner layer's width that
# int8 computes through, where what is freed is kept and where it is not.
_LEFT_BEHIND = 0.1 * GB
_INT8_KEPT, _INT8 = 22, 8


@dataclass(frozen=True, slots=True)
class Shape:
    """What a reader's memory depends on.

    Attributes:
        linear: parameters of the language model's linear layers, which quantisation makes small.
        whole: all others: vision tower, projector, embeddings, output layer.
        layers, hidden, inner: of the language model: how many, their width, that of their middle.
        heads: numbers that a token takes in one layer's keys (as many again in its values).
        vision_hidden, vision_inner: of the vision tower.
        patch: side of a patch in pixels, where pictures keep their size; patches a token.
        patches: of one picture, where all are made one size; 0 elsewhere.
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

    @property
    def largest(self) -> int:
        """Parameters of its largest linear layer."""
        return self.hidden * self.inner

    def patches_of(self, pixels: int | None, tokens: int) -> int:
        """Patches of one picture of so many pixels (None: no limit but the prompt's `tokens`)."""
        if self.patches:
            return self.patches
        most = tokens * self.merged
        return most if pixels is None else min(most, math.ceil(pixels / self.patch**2))


@dataclass(frozen=True, slots=True)
class Load:
    """What a reader is given to do.

    Attributes:
        tokens: of the longest prompt and its answer.
        images: pictures in it, each of `pixels`.
        number: bytes of a number that it computes in.
        batch: prompts read at once.
    """

    quantization: str
    tokens: int
    images: int = 1
    pixels: int | None = None
    number: int = 2
    batch: int = 1
    on_cpu: bool = False


def reader(shape: Shape, load: Load) -> dict[str, float]:
    """Bytes of each part: "quantised", "left whole", "attention cache", "at work"."""
    bits = BITS.get(load.quantization, 8 * load.number)
    return {
        "quantised": shape.linear * bits / 8 if load.quantization in BITS else 0.0,
        "left whole": (shape.whole + (0 if load.quantization in BITS else shape.linear))
        * float(load.number),
        "attention cache": _cache(shape, load),
        "at work": _at_work(shape, load),
    }


def _cache(shape: Shape, load: Load) -> float:
    """Keys and values of all tokens. They grow by copies: one layer's is there twice, and on a CPU
    all of them, where the old ones are small enough to be kept."""
    keys = float(load.batch * load.tokens * shape.heads * load.number)
    twice = shape.layers if load.on_cpu and keys < _KEPT else 1
    return 2 * keys * (shape.layers + twice)


def _at_work(shape: Shape, load: Load) -> float:
    """Activations, of pictures or of text, whichever are more; quantised weights made large."""
    rows = load.batch * load.tokens
    text = rows * load.number * (_WIDE * shape.hidden + _INNER * shape.inner)
    patches = load.batch * load.images * shape.patches_of(load.pixels, load.tokens)
    wide = patches * shape.vision_hidden * load.number
    inner = patches * shape.vision_inner * load.number
    pictures = _WIDE_VISION * wide + _INNER * inner
    is_small = load.quantization in BITS
    one_layer = shape.largest * load.number if is_small else 0
    if not load.on_cpu:
        return float(max(text, pictures) + one_layer)
    kept = _WIDE_VISION * wide * (wide < _KEPT) + _INNER * inner * (inner < _KEPT)
    if load.quantization == "int8":
        through = rows * shape.inner * 4
        text += (_INT8_KEPT if through < _KEPT else _INT8) * through
    return max(pictures, text + kept) + one_layer + _LEFT_BEHIND * is_small
