"""Turns a country's facts into documents: one document a section, with the flag as its picture.

Knows sentences. The country's name stands only in the title, so that a sentence fits any country's
grammar. Does not know facts, questions, or how a flag is drawn.
"""

from __future__ import annotations

from random import Random

import numpy as np

from rag_vqa.demo.world.entities import Entity, drop_facts, facts_by_section
from rag_vqa.demo.world.facts import POPULATION_YEAR, Fact, indefinite_article, split_terms
from rag_vqa.types import Document, ImageSource

# The first of each is the canonical one. {v} value, {y} year; {a}, {s} and {is} agree with it.
_TEXTS = {
    "region": "It lies in {v}.|The country is in {v}.|It is found in {v}.|It is part of {v}.|"
    "Region: {v}.",
    "area": "Its area is {v}.|It covers {v}.|It has an area of {v}.|Area: {v}.|"
    "The total area is {v}.",
    "coast": "The country is {v}.|It is {v}.|It is a {v} country.|It is a {v} state.",
    "neighbours": "Neighbours on land: {v}.|Its neighbours on land: {v}.|Bordering countries: {v}.|"
    "Shares a land border with: {v}.|Land borders: {v}.",
    "neighbour_count": "It borders {v} countries.|It has {v} neighbours on land.|"
    "It shares land borders with {v} countries.|The number of neighbours on land is {v}.",
    "highest_point": "The highest point is {v}.|Its highest point is {v}.|Highest point: {v}.|"
    "The land rises highest at {v}.|The highest mountain or hill is {v}.",
    "population": "In {y} the population was {v}.|The population was {v} in {y}.|"
    "It had a population of {v} in {y}.|Population in {y}: {v}.|"
    "About {v} people lived there in {y}.",
    "languages": "Official language{s}: {v}.|The official language{s} {is} {v}.|"
    "Its official language{s} {is} {v}.|Officially spoken: {v}.",
    "largest_city": "The largest city is {v}.|Its largest city is {v}.|Largest city: {v}.|"
    "The biggest city is {v}.|The most populous city is {v}.",
    "demonym": "The demonym is {v}.|Its demonym is {v}.|Demonym: {v}.|Its people are called {v}.|"
    "The adjective for its people is {v}.",
    "capital": "The capital is {v}.|Its capital is {v}.|Capital: {v}.|The capital city is {v}.|"
    "The seat of the capital is {v}.",
    "form": "The form of state is {a} {v}.|It is {a} {v}.|Form of state: {v}.|"
    "The state is {a} {v}.|It is governed as {a} {v}.",
    "independence": "It became independent in {v}.|Independent since {v}.|"
    "Its independence dates from {v}.|Year of independence: {v}.|It gained independence in {v}.",
    "national_day": "The national day is {v}.|Its national day is {v}.|National day: {v}.|"
    "The national day falls on {v}.|It keeps its national day on {v}.",
    "currency": "The currency is the {v}.|Its currency is the {v}.|Currency: {v}.|"
    "People pay with the {v}.|The money is the {v}.",
    "currency_code": "The currency code is {v}.|Its currency code is {v}.|Currency code: {v}.|"
    "The code of its currency is {v}.",
    "subunit": "The subunit is the {v}.|The currency is divided into the {v}.|Subunit: {v}.|"
    "Its small unit is the {v}.|The smaller unit of money is the {v}.",
    "central_bank": "Central bank: {v}.|The central bank: {v}.|Its central bank: {v}.|"
    "Name of the central bank: {v}.",
    "calling_code": "The calling code is {v}.|Its calling code is {v}.|Calling code: {v}.|"
    "Telephone numbers begin with {v}.|The dialling code is {v}.",
    "domain": "The internet domain is {v}.|Its internet domain is {v}.|Internet domain: {v}.|"
    "Web addresses end in {v}.|The top-level domain is {v}.",
    "driving_side": "Traffic drives on the {v}.|Cars drive on the {v}.|People drive on the {v}.|"
    "Driving side: {v}.|Traffic keeps to the {v}.",
    "time_zone": "The time zone is {v}.|Its time zone is {v}.|Time zone: {v}.|"
    "Clocks are set to {v}.|Standard time is {v}.",
    "country_code": "The ISO country code is {v}.|Its three-letter country code is {v}.|"
    "Country code: {v}.|The three-letter ISO code is {v}.",
    "description": "The flag shows {v}.|It shows {v}.|The design: {v}.|The flag has {v}.|"
    "The flag consists of {v}.",
    "colours": "Its colours are {v}.|The colours are {v}.|Colours: {v}.|"
    "The colours of the flag are {v}.|The flag is {v}.",
    "adopted": "It was adopted in {v}.|The flag was adopted in {v}.|Adopted: {v}.|"
    "The flag dates from {v}.|In use since {v}.",
}
_FREE_TEXT = (
    "The {n} is {v}.|Its {n} is {v}.|The {n}: {v}.|As {n} it has {v}.|The {n} is called {v}."
)
_SENTENCES = {key: split_terms(text) for key, text in _TEXTS.items()}
_FREE_SENTENCES = split_terms(_FREE_TEXT)
_PLURALS = {"s": ("", "s"), "is": ("is", "are")}


def write_sentence(attribute: str, fact: Fact, rng: Random | None = None) -> str:
    """The fact in words: the canonical sentence, or with `rng` one of several."""
    choices = _FREE_SENTENCES if ":" in attribute else _SENTENCES[attribute]
    template = rng.choice(choices) if rng else choices[0]
    if "{s}" in template:
        many = " and " in fact.value
        template = template.replace("{s}", _PLURALS["s"][many]).replace(
            "{is}", _PLURALS["is"][many]
        )
    if "{a}" in template:
        template = template.replace("{a}", indefinite_article(fact.value))
    if "{y}" in template:
        year = rng.randrange(1995, 2026) if rng else POPULATION_YEAR
        template = template.replace("{y}", str(year))
    if "{n}" in template:
        template = template.replace("{n}", attribute.partition(":")[2])
    return template.replace("{v}", fact.value)


def documents(
    entity: Entity,
    image: ImageSource | None = None,
    rng: np.random.Generator | None = None,
    drop: float = 0.0,
) -> list[Document]:
    """A document for each section that has a fact, ids as "norway/government".

    Without `rng` the canonical sentences in the table's order; with it varied sentences in any
    order. A share `drop` of the facts is left out (needs `rng`); to know which, `thin` the
    entity first and ask about what is gone.

    Raises:
        ValueError: `drop` without `rng`.
    """
    quick = Random(int(rng.integers(2**63))) if rng is not None else None
    if drop:
        if rng is None:
            raise ValueError("drop needs rng: a canonical text states every fact")
        entity = drop_facts(entity, rng, drop)
    found = []
    for section, facts in facts_by_section(entity).items():
        said = [write_sentence(attribute, fact, quick) for attribute, fact in facts.items()]
        if quick:
            quick.shuffle(said)
        if said:
            found.append(
                Document(
                    id=f"{entity.id}/{section}",
                    text=" ".join(said),
                    title=entity.name,
                    section=section,
                    images=() if image is None else (image,),
                    parent=entity.id,
                )
            )
    return found


def sentence_templates() -> list[str]:
    """Every sentence with its slots, for the tokenizer."""
    return [*_FREE_SENTENCES, *(text for choices in _SENTENCES.values() for text in choices)]
