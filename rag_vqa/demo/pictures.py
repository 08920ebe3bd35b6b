"""Pictures of invented countries as tensors: photos of flags beside clean drawings of them.

Knows how a training item's picture is made, and the pixels that the models' processors would
make of it. Does not know texts or models.
"""

from collections.abc import Sequence
from dataclasses import fields

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from rag_vqa.demo.flag import FlagSpec, draw, random_style
from rag_vqa.demo.invented_flags import invent
from rag_vqa.demo.mutated_flags import mutate
from rag_vqa.demo.photo import photograph, scene
from rag_vqa.demo.shades import family

WIDTH = 96  # of what is drawn for training; the models see fewer pixels
Picture = NDArray[np.uint8]


def flags(rng: np.random.Generator, count: int, kin: int = 2) -> list[FlagSpec]:
    """`count` different invented flags in families of `kin`: one, and mutations of it."""
    found: list[FlagSpec] = []
    while len(found) < count:
        base = invent(rng)
        found += [base, *(mutate(base, rng) for _ in range(kin - 1))]
    return found[:count]


def clean(spec: FlagSpec, rng: np.random.Generator) -> Picture:
    """The flag as some artist draws it."""
    return draw(spec, WIDTH, random_style(rng))


def photo(spec: FlagSpec, rng: np.random.Generator) -> Picture:
    """A photograph of the flag as some other artist draws it."""
    return photograph(clean(spec, rng), rng, WIDTH, WIDTH * 3 // 4)


def no_flag(rng: np.random.Generator) -> Picture:
    """A photograph without any flag."""
    return scene(rng, WIDTH, WIDTH * 3 // 4)


def pixels(pictures: Sequence[Picture], size: int) -> Tensor:
    """(B, 3, size, size), as CLIP's processor without a crop: bicubic, then mean and deviation."""
    small = [Image.fromarray(p).resize((size, size), Image.Resampling.BICUBIC) for p in pictures]
    stack = torch.from_numpy(np.stack([np.asarray(image) for image in small])).float() / 255
    mean, deviation = torch.tensor(OPENAI_CLIP_MEAN), torch.tensor(OPENAI_CLIP_STD)
    return ((stack - mean) / deviation).permute(0, 3, 1, 2).contiguous()


def colours(spec: FlagSpec) -> list[str]:
    """Names of its colours, in the order in which they are painted."""
    found: list[str] = []
    for layer in spec.layers:
        for field in fields(layer):
            if field.name.startswith("colour"):
                value = getattr(layer, field.name)
                many = value if value and isinstance(value[0], tuple) else (value,)
                found += [family(colour) for colour in many if colour]
    return list(dict.fromkeys(found))
