"""A country of the demo world: its flag and its facts together.

Knows how flag and words of an invented country agree. Does not know models.
"""

from dataclasses import dataclass

import numpy as np

from rag_vqa.demo import pictures
from rag_vqa.demo.entities import Entity, invent
from rag_vqa.demo.flag import FlagSpec


@dataclass(frozen=True, slots=True)
class Country:
    """An entity and what its flag looks like."""

    entity: Entity
    flag: FlagSpec

    def photo(self, rng: np.random.Generator) -> pictures.Picture:
        """Somebody's photograph of the flag."""
        return pictures.photo(self.flag, rng)

    def drawing(self, rng: np.random.Generator) -> pictures.Picture:
        """Somebody's clean drawing of the flag."""
        return pictures.clean(self.flag, rng)


def invent_countries(rng: np.random.Generator, count: int, kin: int = 2) -> list[Country]:
    """Countries that do not exist, in families of `kin` whose flags are easily confused."""
    return [
        Country(invent(rng, colours=pictures.colours(flag)), flag)
        for flag in pictures.flags(rng, count, kin)
    ]
