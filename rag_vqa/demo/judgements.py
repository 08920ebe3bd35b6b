"""What the demo reader's critic is trained on: a photo, a question, documents, yes or no to each.

Knows what a retriever brings beside the right document: the same section of countries whose flags
look alike or do not, other sections of the same country. Does not know tokens.
"""

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from rag_vqa.demo import pictures
from rag_vqa.demo.contexts import likest
from rag_vqa.demo.countries import Country, invent_countries
from rag_vqa.demo.entities import Entity
from rag_vqa.demo.facts import section_of
from rag_vqa.demo.pictures import Picture
from rag_vqa.demo.questions import Question, questions, unanswerable
from rag_vqa.demo.texts import documents
from rag_vqa.types import Document, Hit, Passage, Query

JUDGED = 2  # documents of one question: one may be right, so that nearly half of all are
TRIED = 8  # flags of which those that a photo without one is most like are shown
# Shares of questions: of photos without a flag, on what no document says, on what is left out of
# the right document; and of the documents besides that are of the right country.
NO_FLAG, NOWHERE, GONE, OWN = 0.1, 0.06, 0.06, 0.3


@dataclass(frozen=True, slots=True)
class Judgement:
    """One document, whether its picture shows the photo's flag, and the value it answers with.

    `value` is "" where the document does not help.
    """

    hit: Hit
    alike: bool
    value: str = ""


@dataclass(frozen=True, slots=True)
class Judged:
    """A question about a photo, with documents and what a good critic says of each."""

    photo: Picture
    question: str
    judgements: tuple[Judgement, ...]

    @property
    def query(self) -> Query:
        """The question about the photo."""
        return Query(self.question, Image.fromarray(self.photo))

    @property
    def pictures(self) -> list[Picture]:
        """The photo, then those of the documents, in their order."""
        drawings = [image for j in self.judgements for image in j.hit.document.images]
        return [self.photo, *(np.asarray(drawing) for drawing in drawings)]


def judged(rng: np.random.Generator, count: int) -> list[Judged]:
    """`count` questions, with `JUDGED` documents each, in any order."""
    return [_judged(rng) for _ in range(count)]


def _judged(rng: np.random.Generator) -> Judged:
    if rng.random() < NO_FLAG:
        photo = pictures.no_flag(rng)
        target, *others = likest(invent_countries(rng, TRIED, kin=1), photo)[:JUDGED]
        shown = False
    else:
        target, *others = invent_countries(rng, JUDGED, kin=int(rng.integers(1, JUDGED + 1)))
        photo, shown = target.photo(rng), True
    question = _question(rng, target.entity)
    gone = rng.random() < GONE
    entity = _without(target.entity, question.attribute) if gone else target.entity
    section = question.section or _any(rng, target.entity)
    right = _document(rng, entity, section)
    value = "" if gone or not shown or right.section != question.section else question.answers[0]
    found = [(target, right, value)]
    for other in others:
        if rng.random() < OWN:
            found.append((target, _document(rng, entity, _any(rng, entity, section)), ""))
        else:
            found.append((other, _document(rng, other.entity, section), ""))
    order = [found[place] for place in rng.permutation(len(found))]
    return Judged(
        photo,
        question.text,
        tuple(
            Judgement(_hit(rng, rank, country, document), shown and country is target, value)
            for rank, (country, document, value) in enumerate(order, 1)
        ),
    )


def _hit(rng: np.random.Generator, rank: int, country: Country, document: Document) -> Hit:
    document = replace(document, images=(Image.fromarray(country.drawing(rng)),))
    return Hit(document, Passage(document.id, 0, document.text), rank, 0.0)


def _question(rng: np.random.Generator, entity: Entity) -> Question:
    """One that a section of the country answers, or one that nothing does."""
    if rng.random() < NOWHERE:
        question = unanswerable(rng)
        if not any(a.partition(":")[2] == question.attribute for a in entity.facts):
            return question
    asked = questions(entity, rng)
    sections = sorted({question.section for question in asked})
    section = sections[int(rng.integers(len(sections)))]
    here = [question for question in asked if question.section == section]
    return here[int(rng.integers(len(here)))]


def _any(rng: np.random.Generator, entity: Entity, but: str = "") -> str:
    sections = sorted({section_of(attribute) for attribute in entity.facts} - {but})
    return sections[int(rng.integers(len(sections)))]


def _without(entity: Entity, attribute: str) -> Entity:
    facts = {key: fact for key, fact in entity.facts.items() if key != attribute}
    return replace(entity, facts=facts)


def _document(rng: np.random.Generator, entity: Entity, section: str) -> Document:
    """The section, or another one where the country has none of that name."""
    found = {document.section: document for document in documents(entity, rng=rng)}
    return found.get(section) or found[sorted(found)[int(rng.integers(len(found)))]]
