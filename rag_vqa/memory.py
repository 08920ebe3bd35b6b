"""How much memory models need while they answer, computed from their shapes before they load.

It knows arithmetic. It does not know configurations, devices or machines, and imports nothing of
ours. Weights, cache and tokens are counted, and so are the arrays of the layer at work; what a bare
process takes, and int8 and its leavings, were measured on one CPU. It holds where freed arrays go
back to the system, as `readers.freeing` has it. benchmarks/memory.py holds it against models that
it was not made with. A GPU was never measured. Not counted: a retriever's activations, and the
mask of a batch of unequal prompts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

GB = 1e9
# Of what is computed, kept free besides. At the worst a process took 2.3% more, on a CPU
# (benchmarks/memory.py); a GPU was never measured.
MARGIN = 0.05
# Bits a weight takes; NF4 with double quantisation adds 0.127 for its scales (QLoRA, section 3).
BITS: Mapping[str, float] = MappingProxyType({"int8": 8.0, "nf4": 4.127})
BYTES: Mapping[str, int] = MappingProxyType({"float32": 4, "bfloat16": 2, "float16": 2})
# What a process takes before any model: Python, torch, transformers, bitsandbytes, tokenizers.
RUNTIME_CPU = 0.55 * GB  # measured, 0.2 of it files that are mapped
RUNTIME_GPU = 0.6 * GB  # CUDA's own context and workspaces: a round figure, not measured
# Arrays that are there at once in a gated MLP, where a layer holds most. As wide as the model: what
# went in, the residual, its norm, embeddings, positions, the layer's result. As wide as the inner
# layer: gate, up, their product.
_WIDE, _INNER = 6, 3
# bitsandbytes: what loading leaves behind, and more arrays of the inner layer's width, of 32 bits,
# that int8 computes through on a CPU.
_LEFT_BEHIND = 0.05 * GB
_INT8 = 6


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
    """Keys and values of all tokens. They grow by copies: one layer's is there twice."""
    return 2.0 * load.batch * load.tokens * shape.heads * load.number * (shape.layers + 1)


def _at_work(shape: Shape, load: Load) -> float:
    """Activations, of pictures or of text, whichever are more; quantised weights made large."""
    rows = load.batch * load.tokens
    text = float(rows * load.number * (_WIDE * shape.hidden + _INNER * shape.inner))
    patches = load.batch * load.images * shape.patches_of(load.pixels, load.tokens)
    wide = _WIDE * shape.vision_hidden + _INNER * shape.vision_inner
    pictures = float(patches * load.number * wide)
    if load.quantization not in BITS:
        return max(pictures, text)
    one_layer = shape.largest * load.number
    if not load.on_cpu:
        return max(pictures, text) + one_layer
    if load.quantization == "int8":
        text += _INT8 * rows * shape.inner * 4
    return max(pictures, text) + one_layer + _LEFT_BEHIND
