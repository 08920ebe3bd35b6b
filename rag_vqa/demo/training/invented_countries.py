"""Invented countries for training: facts with a flag, and pictures of it as tensors.

Knows how flag and words of a country agree, how a training picture is drawn, and the pixels that
the models' processors would make of it. Does not know texts or models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from rag_vqa.demo.drawing.colours import colour_family, random_style
from rag_vqa.demo.drawing.flag import FlagSpec, draw_flag
from rag_vqa.demo.drawing.invented_flags import invent_flag
from rag_vqa.demo.drawing.mutated_flags import mutate_flag
from rag_vqa.demo.drawing.photo import photograph_flag, photograph_scene
from rag_vqa.demo.world.entities import Entity, invent_entity

WIDTH = 96  # of what is drawn for training; the models see fewer pixels
Picture = NDArray[np.uint8]


def invent_flag_families(rng: np.random.Generator, count: int, kin: int = 2) -> list[FlagSpec]:
    """`count` different invented flags in families of `kin`: one, and mutations of it."""
    found: list[FlagSpec] = []
    while len(found) < count:
        base = invent_flag(rng)
        found += [base, *(mutate_flag(base, rng) for _ in range(kin - 1))]
    return found[:count]


def draw_training_flag(spec: FlagSpec, rng: np.random.Generator) -> Picture:
    """The flag as some artist draws it."""
    return draw_flag(spec, WIDTH, random_style(rng))


def photograph_training_flag(spec: FlagSpec, rng: np.random.Generator) -> Picture:
    """A photograph of the flag as some other artist draws it."""
    return photograph_flag(draw_training_flag(spec, rng), rng, WIDTH, WIDTH * 3 // 4)


def photograph_training_scene(rng: np.random.Generator) -> Picture:
    """A photograph without any flag."""
    return photograph_scene(rng, WIDTH, WIDTH * 3 // 4)


def pixel_values(pictures: Sequence[Picture], size: int) -> Tensor:
    """(B, 3, size, size), as CLIP's processor without a crop: bicubic, then mean and deviation."""
    small = [Image.fromarray(p).resize((size, size), Image.Resampling.BICUBIC) for p in pictures]
    stack = torch.from_numpy(np.stack([np.asarray(image) for image in small])).float() / 255
    mean, deviation = torch.tensor(OPENAI_CLIP_MEAN), torch.tensor(OPENAI_CLIP_STD)
    return ((stack - mean) / deviation).permute(0, 3, 1, 2).contiguous()


def colour_names(spec: FlagSpec) -> list[str]:
    """Names of its colours, in the order in which they are painted."""
    found: list[str] = []
    for layer in spec.layers:
        for field in fields(layer):
            if field.name.startswith("colour"):
                value = getattr(layer, field.name)
                many = value if value and isinstance(value[0], tuple) else (value,)
                found += [colour_family(colour) for colour in many if colour]
    return list(dict.fromkeys(found))


@dataclass(frozen=True, slots=True)
class Country:
    """An entity and what its flag looks like."""

    entity: Entity
    flag: FlagSpec

    def photo(self, rng: np.random.Generator) -> Picture:
        """Somebody's photograph of the flag."""
        return photograph_training_flag(self.flag, rng)

    def drawing(self, rng: np.random.Generator) -> Picture:
        """Somebody's clean drawing of the flag."""
        return draw_training_flag(self.flag, rng)


def invent_countries(rng: np.random.Generator, count: int, kin: int = 2) -> list[Country]:
    """Countries that do not exist, in families of `kin` whose flags are easily confused."""
    return [
        Country(invent_entity(rng, colours=colour_names(flag)), flag)
        for flag in invent_flag_families(rng, count, kin)
    ]
