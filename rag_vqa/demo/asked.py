"""What is asked of the demo: one question on each section of each real country, with a photo.

Knows how both are drawn. Does not know what is right beyond the answers, nor how it is measured.
"""

from collections.abc import Iterator
from typing import Literal, TypeAlias

import numpy as np
from PIL import Image

from rag_vqa.demo.bundled import countries, sample_photo
from rag_vqa.demo.entities import real_entities
from rag_vqa.demo.facts import SECTIONS
from rag_vqa.demo.questions import Question, questions
from rag_vqa.demo.real_flags import split
from rag_vqa.types import Example, Query

Half: TypeAlias = Literal["dev", "test"]


def asked_about(half: Half, seed: int = 0) -> Iterator[tuple[str, Question, Image.Image]]:
    """Code of the country, question, photo: one on each section of each country of a half."""
    for code in (code for code in countries() if split(code) == half):
        entity, rng = real_entities()[code], np.random.default_rng([seed, *code.encode()])
        asked = questions(entity, rng)
        for number, section in enumerate(SECTIONS):
            here = [question for question in asked if question.section == section]
            if here:
                question = here[int(rng.integers(len(here)))]
                yield code, question, sample_photo(code, seed * len(SECTIONS) + number)


def examples(half: Half, seed: int = 0) -> list[Example]:
    """The same as Examples."""
    return [
        Example(
            f"{code}/{question.section}",
            Query(question.text, photo),
            question.answers,
            (f"{real_entities()[code].id}/{question.section}",),
        )
        for code, question, photo in asked_about(half, seed)
    ]
