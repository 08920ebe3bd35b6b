"""What the demo reader is trained on: photos, documents in rank order, questions, right answers.

Knows which situations a reader meets: the right document first, or lower among easily confused
ones; none at all; a photo without a flag; a question that nothing answers. Does not know tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from rag_vqa.demo import pictures
from rag_vqa.demo.countries import Country, invent_countries
from rag_vqa.demo.entities import thin
from rag_vqa.demo.facts import section_of
from rag_vqa.demo.flag import draw
from rag_vqa.demo.pictures import Picture
from rag_vqa.demo.questions import Question, questions, unanswerable
from rag_vqa.demo.texts import documents
from rag_vqa.types import Document, Hit, Passage, Query

UNKNOWN = "unknown"
ASKED = 5  # questions of one context
# Shares of situations; where the retriever is right it is nearly always so at rank 1.
FIRST, NO_FLAG, ASTRAY = 0.8, 0.2, 0.03
TRIED = 12  # flags of which those that a photo without one is most like are shown
SHORT = 0.15  # of prompts are the benchmarks' short form, whose answers cite nothing


@dataclass(frozen=True, slots=True)
class Context:
    """One photo, the documents shown, and questions with what a good reader writes."""

    photo: Picture | None
    hits: tuple[Hit, ...]
    asked: tuple[tuple[str, str], ...]  # (question, answer)
    template: str = "answer"
    right: int = 0  # number of the document whose flag the photo shows

    def query(self, question: str) -> Query:
        """The photo with one question."""
        return Query(question, None if self.photo is None else Image.fromarray(self.photo))

    @property
    def pictures(self) -> list[Picture]:
        """The photo, then those of the documents, as a prompt shows them."""
        drawings = [image for hit in self.hits for image in hit.document.images]
        photos = [] if self.photo is None else [self.photo]
        return [*photos, *(np.asarray(drawing) for drawing in drawings)]


def contexts(
    rng: np.random.Generator, count: int, k: int, illustrated: bool = True
) -> list[Context]:
    """`count` contexts of `k` documents each; without pictures if not `illustrated`."""
    return [_context(rng, k, illustrated) for _ in range(count)]


def _context(rng: np.random.Generator, k: int, illustrated: bool) -> Context:
    # Kin look alike, as what a retriever confuses does; strangers do not.
    most = max(k, 1)
    photo: Picture | None
    if illustrated and rng.random() < NO_FLAG:
        photo, answerable = pictures.no_flag(rng), False
        kin = _likest(invent_countries(rng, TRIED, kin=1), photo)[:most]
    else:
        kin = invent_countries(rng, most, kin=int(rng.integers(1, most + 1)))
        photo, answerable = _photo(rng, kin[0]) if illustrated else (None, True)
    target, others = kin[0], kin[1:]
    shown = replace(target, entity=thin(target.entity, rng, 0.1))
    order = [shown, *others][:k]
    if k > 1 and rng.random() > FIRST:
        place = int(rng.integers(1, k))
        order[0], order[place] = order[place], order[0]
    section = _section(rng, target)
    found = [
        replace(_document(rng, country, section), images=_drawings(rng, country) * illustrated)
        for country in order
    ]
    number = order.index(shown) + 1 if shown in order else 0
    said = _said(shown, found[number - 1]) if number and answerable else {}
    template = "closed-book" if k == 0 else "short" if rng.random() < SHORT else "answer"
    cited = f"[{number}] " if template == "answer" else ""
    asked = [
        (q.text, cited + said[q.attribute] if q.attribute in said else UNKNOWN)
        for q in _questions(rng, target, section)
    ]
    return Context(
        photo=photo,
        hits=tuple(
            Hit(document, Passage(document.id, 0, document.text), rank, 0.0)
            for rank, document in enumerate(found, 1)
        ),
        asked=tuple(asked),
        template=template,
        right=number if answerable and illustrated else 0,
    )


def _likest(countries: list[Country], photo: Picture) -> list[Country]:
    """By how near the flag's mean colour is to the photo's: what a retriever would bring."""

    def distance(country: Country) -> float:
        flag = draw(country.flag, 16).mean(axis=(0, 1))
        return float(np.square(flag - photo.mean(axis=(0, 1))).sum())

    return sorted(countries, key=distance)


def _photo(rng: np.random.Generator, target: Country) -> tuple[Picture, bool]:
    """A photo for the question, and whether it shows the target's flag."""
    if rng.random() < ASTRAY:
        return invent_countries(rng, 1, kin=1)[0].photo(rng), False
    return target.photo(rng), True


def _drawings(rng: np.random.Generator, country: Country) -> tuple[Image.Image, ...]:
    return (Image.fromarray(country.drawing(rng)),)


def _section(rng: np.random.Generator, country: Country) -> str:
    sections = sorted({section_of(attribute) for attribute in country.entity.facts})
    return sections[int(rng.integers(len(sections)))]


def _document(rng: np.random.Generator, country: Country, section: str) -> Document:
    found = {document.section: document for document in documents(country.entity, rng=rng)}
    if section not in found or rng.random() < 0.1:  # a retriever also brings other sections
        return found[sorted(found)[int(rng.integers(len(found)))]]
    return found[section]


def _questions(rng: np.random.Generator, target: Country, section: str) -> Sequence[Question]:
    every = questions(target.entity, rng)
    here = [question for question in every if question.section == section]
    elsewhere = [question for question in every if question.section != section]
    chosen = [here[i] for i in rng.permutation(len(here))[: ASKED - 1]]
    chosen.append(
        unanswerable(rng)
        if rng.random() < 0.6 or not elsewhere
        else elsewhere[int(rng.integers(len(elsewhere)))]
    )
    return chosen


def _said(country: Country, document: Document) -> dict[str, str]:
    """What the document states, by attribute; a free one also by its noun alone."""
    facts = country.entity.facts
    here = {a: fact.value for a, fact in facts.items() if section_of(a) == document.section}
    return here | {a.partition(":")[2]: value for a, value in here.items() if ":" in a}
