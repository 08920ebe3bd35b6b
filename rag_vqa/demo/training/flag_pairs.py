"""Training pairs for the retriever: endless questions beside the documents that answer them.

Knows how rows are laid out; each row is a function of the seed and its place alone. In half of the
groups all countries share their two sections, so only the picture tells the documents of a section
apart. In the other half only the words tell the documents of a country apart. Does not know how
pairs become tensors.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from rag_vqa.demo.questions import Question, questions
from rag_vqa.demo.training.invented_countries import Country, invent_countries
from rag_vqa.demo.training.tokenizer import INSTRUCTION
from rag_vqa.demo.world.facts import SECTIONS
from rag_vqa.demo.world.texts import documents
from rag_vqa.errors import UsageError
from rag_vqa.retriever.passages import split_document
from rag_vqa.retriever.training.training_pairs import Item, Pair
from rag_vqa.retriever.training.training_settings import SourceSettings
from rag_vqa.types import Document

COUNTRIES, ASKED = 48, 2  # in a group: countries, and sections that questions are about in each
FAMILY_SIZE = 2  # countries in a family, whose flags are easily confused
DROPPED_FACTS = 0.1  # of facts that a document leaves out
WINDOW = 96  # tokens of text; CLIP's own is 77, but here a word can be a piece a letter
_ORDER, _FAMILY, _WORDS, _PHOTO, _DRAWING = range(5)  # the purpose of a random generator


def flag_source(settings: SourceSettings) -> "FlagPairs":
    """The training source of `format: flags`.

    Raises:
        UsageError: an option of files, rows or negatives is given: the source has none.
    """
    own = settings.model_fields_set - {"format", "weight"}
    if own:
        raise UsageError(f"the flags are drawn, not read: leave out {', '.join(sorted(own))}.")
    return FlagPairs()


@dataclass(frozen=True, slots=True)
class FlagPairs:
    """A training source without end. Rows 2c and 2c + 1 of each 96 ask about country c."""

    name: str = "flags"

    def draw(self, seed: int, rows: Sequence[int]) -> list[Pair]:
        """Pairs of these places. Pictures are drawn only for countries that are asked about, and
        the rows of one country share them."""
        cache = _DrawCache(seed)
        return [cache.pair(row) for row in rows]


@dataclass(slots=True)
class _DrawCache:
    """What one call of `draw` has made so far, by group and country."""

    seed: int
    families: dict[tuple[int, int], list[Country]] = field(default_factory=dict)
    questions: dict[tuple[int, int], list[tuple[str, Question]]] = field(default_factory=dict)
    pictures: dict[tuple[int, int, int], Image.Image] = field(default_factory=dict)

    def pair(self, row: int) -> Pair:
        group, place = divmod(row, COUNTRIES * ASKED)
        number, which = divmod(place, ASKED)
        choices = self._questions(group, number)
        text, question = choices[which % len(choices)]
        identity = f"flags/{self.seed}/{group}/{number}/{question.section}"
        return Pair(
            Item(f"{INSTRUCTION} {question.text}", self._picture(group, number, _PHOTO)),
            Item(text, self._picture(group, number, _DRAWING), identity),
            positives=(identity,),
            name=f"flags:{row}",
        )

    def _rng(self, *what: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *what])

    def _country(self, group: int, number: int) -> Country:
        family, member = divmod(number, FAMILY_SIZE)
        if (group, family) not in self.families:
            rng = self._rng(group, _FAMILY, family)
            self.families[group, family] = invent_countries(rng, FAMILY_SIZE, FAMILY_SIZE)
        return self.families[group, family][member]

    def _questions(self, group: int, number: int) -> list[tuple[str, Question]]:
        """A document's text with a question on it, for each section that is asked about."""
        if (group, number) not in self.questions:
            entity, rng = self._country(group, number).entity, self._rng(group, _WORDS, number)
            texts = {d.section: d for d in documents(entity, rng=rng, drop=DROPPED_FACTS)}
            found: dict[str, list[Question]] = {}
            for question in questions(entity, rng):
                found.setdefault(question.section, []).append(question)
            order = [s for s in self._order(group, number) if s in texts and s in found]
            self.questions[group, number] = [
                (_window(texts[s]), found[s][rng.integers(len(found[s]))]) for s in order[:ASKED]
            ]
        return self.questions[group, number]

    def _order(self, group: int, number: int) -> list[str]:
        """Sections in drawn order: questions are about the first ones that a country has."""
        rng = self._rng(group, _ORDER)
        shared = rng.random() < 0.5
        rng = rng if shared else self._rng(group, _ORDER, 1 + number)
        return [str(section) for section in rng.permutation(tuple(SECTIONS))]

    def _picture(self, group: int, number: int, kind: int) -> Image.Image:
        if (group, number, kind) not in self.pictures:
            country, rng = self._country(group, number), self._rng(group, kind, number)
            drawn = country.photo(rng) if kind == _PHOTO else country.drawing(rng)
            self.pictures[group, number, kind] = Image.fromarray(drawn)
        return self.pictures[group, number, kind]


def _window(document: Document) -> str:
    """All of the text with its title in front, as a knowledge base would have it encoded."""
    return split_document(document, lambda _: 0, WINDOW)[0].text
