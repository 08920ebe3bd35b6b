"""Countries and their facts: the real ones from countries.jsonl, and endless invented ones.

Knows who has which fact. Does not know sentences, questions or flags. Training never uses the real
ones: what is invented has no real name, capital, city, language or currency.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from random import Random
from typing import Any

import numpy as np

from rag_vqa.demo.world.facts import (
    OPEN_ATTRIBUTES,
    SECTIONS,
    Fact,
    join_list,
    normalize_name,
    other_spellings,
    section_of,
    split_list,
)
from rag_vqa.demo.world.names import Namer
from rag_vqa.demo.world.values import invent_facts, invent_noun, random_acronym, random_magnitude

__all__ = [
    "SECTIONS",
    "Entity",
    "Fact",
    "drop_facts",
    "invent_entity",
    "real_entities",
    "real_names",
]
_FREE_SHARE = 0.5  # of invented countries with facts on attributes that no table lists


@dataclass(frozen=True, slots=True)
class Entity:
    """A country: `id` names it in document ids; `facts` by attribute, in the table's order."""

    id: str
    name: str
    facts: Mapping[str, Fact]


def slugify(name: str) -> str:
    """'São Tomé and Príncipe' → 'sao-tome-and-principe'."""
    return "-".join(filter(None, (normalize_name(word) for word in name.replace("-", " ").split())))


@cache
def _rows() -> tuple[dict[str, Any], ...]:
    text = files("rag_vqa.demo.world").joinpath("countries.jsonl").read_text(encoding="utf-8")
    return tuple(json.loads(line) for line in text.splitlines())


def _fact(attribute: str, value: str | list[str]) -> Fact:
    first, *more = [value] if isinstance(value, str) else value
    return Fact(first, tuple(dict.fromkeys((*more, *other_spellings(attribute, first)))))


@cache
def real_entities() -> dict[str, Entity]:
    """The real countries whose sections are filled, by ISO 3166-1 alpha-2 code.

    Facts were written for this project, each checked against two sources; area and population
    are rounded where sources differ, population is that of `facts.POPULATION_YEAR`.
    """
    found = {}
    for row in _rows():
        if "facts" in row:
            facts = {key: _fact(key, value) for key, value in row["facts"].items()}
            found[row["code"]] = Entity(slugify(row["name"]), row["name"], facts)
    return found


@cache
def real_names() -> frozenset[str]:
    """Plain forms of all that an invented country must not be called, speak, pay with or climb."""
    names = {name for row in _rows() for name in (row["name"], *row.get("also", ()))}
    for entity in real_entities().values():
        for attribute in OPEN_ATTRIBUTES:
            fact = entity.facts.get(attribute)
            for value in (fact.value, *fact.aliases) if fact else ():
                names.update((value, *split_list(value)))
    return frozenset(map(normalize_name, names))


def invent_entity(
    rng: np.random.Generator,
    colours: Sequence[str] | None = None,
    flag_description: str | None = None,
) -> Entity:
    """A country that does not exist, under 1 ms.

    `colours` and `flag_description` are those of the flag that the caller has drawn. What is not
    given is left out when the other is, so that no text contradicts the picture; with neither,
    both are random.
    """
    quick = Random(int(rng.integers(2**63)))  # ten times as fast as a Generator for single draws
    namer = Namer(quick, real_names())
    name = namer.country()
    facts = invent_facts(namer, name, colours, flag_description)
    facts = {key: facts[key] for keys in SECTIONS.values() for key in keys if key in facts}
    if quick.random() < _FREE_SHARE:
        facts |= dict(_free_facts(namer))
    return Entity(slugify(name), name, facts)


def _free_facts(namer: Namer) -> Iterator[tuple[str, Fact]]:
    """Facts on nouns drawn at random: a reader must look an attribute up, not know a table."""
    rng = namer.rng
    for _ in range(rng.choice((1, 1, 2, 3))):
        kind = rng.randrange(8)
        if kind < 3:
            value = namer.city() if kind else namer.word()
        elif kind == 3:
            value = f"{namer.word()} {namer.word()}"
        elif kind == 4:
            unit = rng.choice(("m", "km", "km²", "tonnes", "people"))
            value = f"{random_magnitude(rng, 0, 7):,} {unit}"
        elif kind == 5:
            value = join_list([namer.word() for _ in range(rng.choice((2, 3)))])
        elif kind == 6:
            value = f"{namer.word()} ({random_acronym(rng)})"
        else:
            value = namer.coin()
        yield f"{rng.choice(tuple(SECTIONS))}:{invent_noun(rng, namer)}", Fact(value)


def drop_facts(entity: Entity, rng: np.random.Generator, drop: float) -> Entity:
    """The entity without a random share `drop` of its facts: what is gone is unanswerable."""
    keep = rng.random(len(entity.facts)) >= drop
    kept = {key: fact for (key, fact), k in zip(entity.facts.items(), keep, strict=True) if k}
    return replace(entity, facts=kept)


def facts_by_section(entity: Entity) -> dict[str, dict[str, Fact]]:
    """Its facts by section, sections in the table's order, empty ones too."""
    found: dict[str, dict[str, Fact]] = {section: {} for section in SECTIONS}
    for attribute, fact in entity.facts.items():
        found[section_of(attribute)][attribute] = fact
    return found
