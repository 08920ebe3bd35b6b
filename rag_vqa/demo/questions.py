"""Questions on a country whose flag is in the photo; the answer is in a document.

The country is not named, unless there is no photo. It knows phrasings, canonical and varied, and
questions that no document answers. It does not know photos, retrieval, or what the reader says
where it knows nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import numpy as np

from rag_vqa.demo.world.entities import Entity
from rag_vqa.demo.world.facts import section_of, split_terms
from rag_vqa.demo.world.names import Namer
from rag_vqa.demo.world.values import HELD_OUT_NOUNS, PERSON_NOUNS, invent_noun

# How the country is spoken of, and how its flag is. The first is the canonical one.
_COUNTRY = split_terms(
    "this country|the country with this flag|the country of this flag|the country in the photo|"
    "the nation that flies this flag|the country shown here|the state with this flag|"
    "the country that this flag belongs to|the place with this flag"
)
_FLAGS = split_terms(
    "this flag|the flag|the flag in the photo|the flag shown here|the flag in the picture"
)
# {c} is a country, {f} a flag, {n} a noun.
_TEXTS = {
    "region": "In which part of the world is {c}?|Where in the world does {c} lie?|"
    "Which region is {c} in?|In what region is {c} found?|What part of the world is {c} in?|"
    "Which region of the world does {c} belong to?|Name the region of {c}.",
    "area": "What is the area of {c}?|How large is {c}?|How big is {c}?|What area does {c} cover?|"
    "How many square kilometres does {c} cover?|What is the total area of {c}?|"
    "Give the area of {c}.",
    "coast": "Is {c} landlocked or coastal?|Is {c} coastal or landlocked?|"
    "Does {c} have a coast, or is it landlocked?|Does {c} reach the sea or is it landlocked?|"
    "Is {c} on the sea, or landlocked?|Has {c} a coast or is it landlocked?",
    "neighbours": "Which countries border {c}?|What are the neighbours of {c} on land?|"
    "Which countries share a land border with {c}?|Name the neighbours of {c}.|"
    "What countries does {c} border?|Who are the neighbours of {c}?",
    "neighbour_count": "How many countries border {c}?|How many neighbours does {c} have?|"
    "How many countries does {c} border?|With how many countries does {c} share a border?|"
    "What is the number of neighbours of {c}?|How many land neighbours has {c}?",
    "highest_point": "What is the highest point of {c}?|What is the highest mountain in {c}?|"
    "Which mountain or hill is the highest in {c}?|Name the highest point of {c}.|"
    "Where is the land of {c} highest?|What is the highest peak of {c}?",
    "population": "What is the population of {c}?|How many people live in {c}?|"
    "How large is the population of {c}?|How many inhabitants does {c} have?|"
    "Give the population of {c}.|How populous is {c}?|What population does {c} have?",
    "languages": "What is the official language of {c}?|Which languages are official in {c}?|"
    "What are the official languages of {c}?|Which official language does {c} have?|"
    "What language is official in {c}?|Which language is spoken officially in {c}?|"
    "Name the official language or languages of {c}.",
    "largest_city": "What is the largest city of {c}?|Which city is the largest in {c}?|"
    "What is the biggest city in {c}?|Name the largest city of {c}.|"
    "Which city of {c} has the most people?|What is the most populous city of {c}?",
    "demonym": "What is the demonym of {c}?|What are people from {c} called?|"
    "What is a person from {c} called?|What do you call the people of {c}?|"
    "Name the demonym of {c}.|What is the adjective for people of {c}?",
    "capital": "What is the capital of {c}?|Which city is the capital of {c}?|"
    "What is the capital city of {c}?|Name the capital of {c}.|What city is {c}'s capital?|"
    "Tell me the capital of {c}.|Which is the capital city of {c}?",
    "form": "What is the form of state of {c}?|What form of state does {c} have?|"
    "What kind of state is {c}?|How is {c} governed?|Is {c} a republic, a kingdom or what else?|"
    "Which form of state has {c}?",
    "independence": "When did {c} become independent?|In which year did {c} gain independence?|"
    "What year did {c} become independent?|Since when is {c} independent?|"
    "In what year did {c} become independent?|What is the year of independence of {c}?",
    "national_day": "When is the national day of {c}?|What is the national day of {c}?|"
    "On which day is the national day of {c}?|On what date is the national day of {c}?|"
    "Which date is the national day of {c}?|When does {c} keep its national day?",
    "currency": "What is the currency of {c}?|Which currency does {c} use?|"
    "What money is used in {c}?|What currency do people pay with in {c}?|"
    "Name the currency of {c}.|With what money do people pay in {c}?|Which money does {c} have?",
    "currency_code": "What is the currency code of {c}?|What is the code of the currency of {c}?|"
    "Which currency code does {c} use?|Give the currency code of {c}.|"
    "What code does the money of {c} have?|What is the ISO code of the currency of {c}?",
    "subunit": "What is the subunit of the currency of {c}?|"
    "What is the smaller unit of money in {c}?|Into what is the currency of {c} divided?|"
    "Name the subunit of the money of {c}.|"
    "What is the small unit of the currency of {c}?|Which subunit does the currency of {c} have?",
    "central_bank": "What is the central bank of {c}?|What is the central bank of {c} called?|"
    "Which is the central bank of {c}?|Name the central bank of {c}.|"
    "What is the name of the central bank of {c}?|Which bank is the central bank of {c}?",
    "calling_code": "What is the calling code of {c}?|What is the dialling code of {c}?|"
    "Which calling code does {c} have?|What code do I dial to call {c}?|"
    "With what do telephone numbers of {c} begin?|Give the calling code of {c}.",
    "domain": "What is the internet domain of {c}?|What do web addresses of {c} end in?|"
    "What is the top-level domain of {c}?|Which internet domain does {c} have?|"
    "Which domain do web sites of {c} use?|Give the internet domain of {c}.",
    "driving_side": "On which side do people drive in {c}?|Which side of the road is used in {c}?|"
    "Does traffic in {c} drive on the left or the right?|On what side is the traffic in {c}?|"
    "Do cars keep to the left or to the right in {c}?|What is the driving side of {c}?",
    "time_zone": "What is the time zone of {c}?|Which time zone does {c} use?|"
    "In which time zone is {c}?|What time zone is {c} in?|To what are clocks set in {c}?|"
    "What is the standard time of {c}?",
    "country_code": "What is the country code of {c}?|What is the ISO country code of {c}?|"
    "What is the three-letter code of {c}?|Which three-letter country code does {c} have?|"
    "Give the three-letter ISO code of {c}.|What three letters are the code of {c}?",
    "colours": "What are the colours of {f}?|Which colours does {f} have?|What colours has {f}?|"
    "Which colours are on {f}?|Name the colours of {f}.|What colours does {f} show?",
    "adopted": "When was {f} adopted?|In which year was {f} adopted?|What year was {f} adopted?|"
    "Since when is {f} in use?|From what year does {f} date?|In what year was {f} adopted?",
}
_QUESTIONS = {key: split_terms(text) for key, text in _TEXTS.items()}
_FREE = split_terms(
    "What is the {n} of {c}?|Which is the {n} of {c}?|Name the {n} of {c}.|"
    "Tell me the {n} of {c}.|What {n} does {c} have?|What is the {n} in {c}?|"
    "What is the {n} of {c} called?|Do you know the {n} of {c}?"
)
_WHO = split_terms(
    "Who is the {n} of {c}?|Name the {n} of {c}.|Who is the {n} in {c}?|Tell me the {n} of {c}."
)


@dataclass(frozen=True, slots=True)
class Question:
    """`answers[0]` is the canonical one; none means that "unknown" is right, section then ""."""

    text: str
    section: str
    attribute: str
    answers: tuple[str, ...]


def questions(
    entity: Entity, rng: np.random.Generator | None = None, named: bool = False
) -> list[Question]:
    """A question on each fact but the flag's description, in the entity's order.

    Without `rng` in canonical words, with it in one of several phrasings each. `named`: the same
    questions without a photo, so that they name the country.
    """
    quick = Random(int(rng.integers(2**63))) if rng is not None else None
    return [
        Question(
            _phrase_question(attribute, quick, entity.name if named else ""),
            section_of(attribute),
            attribute,
            (fact.value, *fact.aliases),
        )
        for attribute, fact in entity.facts.items()
        if attribute != "description"
    ]


def unanswerable_question(rng: np.random.Generator, held_out: bool = False) -> Question:
    """A question on what no document states: the right answer is "unknown".

    For training the noun is one of a long list, or no word at all; an invented country may state
    one of these (a free attribute), so the caller checks `attribute` against what it shows.
    With `held_out` it is one of another list, disjoint from that one, for evaluation.
    """
    quick = Random(int(rng.integers(2**63)))
    noun = (
        quick.choice(HELD_OUT_NOUNS) if held_out else invent_noun(quick, Namer(quick, frozenset()))
    )
    return Question(_phrase_question(f":{noun}", quick), "", noun, ())


def _phrase_question(attribute: str, rng: Random | None, name: str = "") -> str:
    noun = attribute.partition(":")[2]
    free = _WHO if noun in PERSON_NOUNS else _FREE
    choices = free if noun else _QUESTIONS[attribute]
    text = rng.choice(choices) if rng else choices[0]
    country, flag = (rng.choice(_COUNTRY), rng.choice(_FLAGS)) if rng else (_COUNTRY[0], _FLAGS[0])
    if name:
        country, flag = name, f"the flag of {name}"
    return text.replace("{n}", noun).replace("{c}", country).replace("{f}", flag)


def question_templates() -> list[str]:
    """Every question with its slots, and what fills those on country and flag."""
    asked = [text for choices in _QUESTIONS.values() for text in choices]
    return [*asked, *_FREE, *_WHO, *_COUNTRY, *_FLAGS]
