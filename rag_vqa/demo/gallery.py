"""What comes with the package: the embedded models, the flag documents, photos, example questions.

Knows the real countries and how a sample photo and an example question are drawn from a seed. Does
not know how the models were trained (retriever.yaml, train_reader.py), nor how they are measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from PIL import Image

from rag_vqa import images
from rag_vqa.checkpoints import EMBEDDED, embedded_model
from rag_vqa.demo.drawing.flag import draw_flag
from rag_vqa.demo.drawing.photo import photograph_flag
from rag_vqa.demo.drawing.real_flags import REAL_FLAGS, split_of
from rag_vqa.demo.questions import Question, questions
from rag_vqa.demo.world.entities import real_entities
from rag_vqa.demo.world.facts import SECTIONS
from rag_vqa.demo.world.texts import documents
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.retriever.modeling import TokenEncoder
from rag_vqa.types import Document, Example, Query

PHOTO_SIZE = (320, 240)
_DEMO_DOCUMENT = "jamaica/geography"  # which no other knowledge base is likely to hold
_PAGE_QUESTIONS = {
    "JM": "What is the capital of this country?",
    "BR": "What is the currency of this country?",
    "JP": "What is the population of this country?",
    "KE": "What is the official language of this country?",
    "SE": "When is the national day of this country?",
    "CA": "What is the highest point of this country?",
}
Half: TypeAlias = Literal["dev", "test"]


def embedded_models_dir() -> Path:
    """The folder that holds "retriever" and "reader". Raises Missing where they are absent."""
    return embedded_model("retriever").parent


def country_codes() -> list[str]:
    """ISO codes of the countries of the demo: those with facts and a flag that can be drawn."""
    return sorted(REAL_FLAGS.keys() & real_entities().keys())


def real_documents() -> list[Document]:
    """All documents of the demo's knowledge base: a section of a country each, with its flag."""
    found: list[Document] = []
    for code in country_codes():
        picture = images.encode(Image.fromarray(draw_flag(REAL_FLAGS[code])))
        found += documents(real_entities()[code], image=picture)
    return found


def build_knowledge_base(
    path: Path, encoder: TokenEncoder, on_progress: Callable[[int], None] | None = None
) -> KnowledgeBase:
    """Build the knowledge base of flag documents at `path`, or complete the one that exists."""
    kb = KnowledgeBase.create(path, encoder, exist_ok=True)
    kb.add(real_documents(), strict=True, on_progress=on_progress)
    return kb


def sample_photo(code: str, seed: int = 0) -> Image.Image:
    """An imitated photograph of a real flag; the same seed gives the same picture."""
    rng = np.random.default_rng([seed, *code.encode()])
    return Image.fromarray(
        photograph_flag(draw_flag(REAL_FLAGS[code], PHOTO_SIZE[0]), rng, *PHOTO_SIZE)
    )


def draw_questions(half: Half, seed: int = 0) -> Iterator[tuple[str, Question, Image.Image]]:
    """Country code, question and photo: one question a section, for each country of a half."""
    for code, number, question in _choose_questions(half, seed):
        yield code, question, sample_photo(code, seed * len(SECTIONS) + number)


def named_questions(half: Half) -> dict[str, str]:
    """The questions of `draw_questions` without photos, so that they name the country, by id."""
    return {
        f"{code}/{question.section}": question.text
        for code, _, question in _choose_questions(half, named=True)
    }


def _choose_questions(
    half: Half, seed: int = 0, named: bool = False
) -> Iterator[tuple[str, int, Question]]:
    """Country code, number of the section, and question."""
    for code in (code for code in country_codes() if split_of(code) == half):
        entity, rng = real_entities()[code], np.random.default_rng([seed, *code.encode()])
        choices = questions(entity, rng, named)
        for number, section in enumerate(SECTIONS):
            matching = [question for question in choices if question.section == section]
            if matching:
                yield code, number, matching[int(rng.integers(len(matching)))]


def example_questions(half: Half, seed: int = 0) -> list[Example]:
    """The questions of `draw_questions`, as Examples."""
    return [
        Example(
            f"{code}/{question.section}",
            Query(question.text, photo),
            question.answers,
            (f"{real_entities()[code].id}/{question.section}",),
        )
        for code, question, photo in draw_questions(half, seed)
    ]


def page_questions(kb: KnowledgeBase) -> list[tuple[str, str, Image.Image]]:
    """Id, question and photo of what the web page offers over the demo's documents.

    Empty for a knowledge base that holds other documents.
    """
    if kb.manifest.source != EMBEDDED or kb.get(_DEMO_DOCUMENT) is None:
        return []
    return [(code, text, sample_photo(code)) for code, text in _PAGE_QUESTIONS.items()]
