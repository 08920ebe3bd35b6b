"""Measures how often the sentence that the quote reader quotes contains the answer.

    python benchmarks/quote.py dev
    python benchmarks/quote.py test --json benchmarks/results/quote.json

Three parts, each for one half of its questions; "dev" may be looked at while something is tuned:

- `flags`: a question on each fact of a country of the demo, which it names, in plain words.
- `flags, varied`: the same in several phrasings each, "Into what is the currency divided?".
- `museum`: 200 objects, 78 or 79 questions, of which the texts answer 50 (museum.py).

`oracle` shows the reader the right document alone (for flags: all sections of the country);
`retrieved` what a user gets: the built-in retriever with automatic search by words. A quotation is
right if it contains one of the answers, letter for letter but for case and punctuation. Knows these
questions. Does not know how a sentence is chosen.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import museum
import numpy as np

from rag_vqa.checkpoints import EMBEDDED
from rag_vqa.demo.drawing.real_flags import split_of
from rag_vqa.demo.gallery import country_codes
from rag_vqa.demo.questions import _COUNTRY, _FLAGS, questions
from rag_vqa.demo.world.entities import Entity, real_entities
from rag_vqa.demo.world.texts import documents
from rag_vqa.pipeline import RagVqa
from rag_vqa.readers.quote import QuoteReader
from rag_vqa.readers.quote.words import split_words
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.retriever.modeling.encoder import Encoder
from rag_vqa.types import Document, Hit, Passage, Query

HERE = Path(__file__).parent
UNKNOWN = "unknown"
Half = Literal["dev", "test"]


@dataclass(frozen=True, slots=True)
class Item:
    """A question. `answers`: none if "unknown" is right. `oracle`: ids of the right documents."""

    question: str
    answers: tuple[str, ...]
    oracle: tuple[str, ...]


def main() -> None:
    """Measures and prints a line for each part and condition."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("half", choices=["dev", "test"])
    parser.add_argument("--json", type=Path, help="Write the figures to this file.")
    parser.add_argument("--show", action="store_true", help="Print each wrong answer.")
    options = parser.parse_args()
    figures = [*measure(options.half, options.show)]
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")


def measure(half: Half, show: bool = False) -> Iterator[dict[str, Any]]:
    """The figures of each part and condition."""
    encoder = Encoder.load(EMBEDDED, device="cpu")
    parts = {
        "flags": (flag_documents(), flag_items(half, is_varied=False)),
        "flags, varied": (flag_documents(), flag_items(half, is_varied=True)),
        "museum": (museum_documents(), museum_items(half)),
    }
    for part, (texts, items) in parts.items():
        with tempfile.TemporaryDirectory() as folder:
            kb = KnowledgeBase.create(Path(folder) / "kb", encoder)
            kb.add(texts)
            kb.warns = False
            rag = RagVqa(kb, QuoteReader())
            for condition in ("oracle", "retrieved"):
                answers = read(rag, texts, items, condition)
                figures = {"part": part, "half": half, "evidence": condition}
                figures |= score(items, answers, show)
                print(json.dumps(figures))
                yield figures
            kb.close()


def read(
    rag: RagVqa, texts: Sequence[Document], items: Sequence[Item], condition: str
) -> list[str]:
    """What the reader answers to each question."""
    queries = [Query(item.question) for item in items]
    if condition == "retrieved":
        return [answer.text for answer in rag.ask_many(queries)]
    by_id = {document.id: document for document in texts}
    hits = [
        [
            Hit(by_id[name], Passage(name, 0, by_id[name].text), rank, 1 / rank)
            for rank, name in enumerate(item.oracle, 1)
        ]
        for item in items
    ]
    return [answer.text for answer in rag.answer(queries, hits)]


def score(items: Sequence[Item], answers: Sequence[str], show: bool) -> dict[str, Any]:
    """Shares of right quotations, and of "unknown" where no document answers."""
    rights: dict[bool, list[bool]] = {True: [], False: []}
    for item, answer in zip(items, answers, strict=True):
        is_right = answer == UNKNOWN
        if item.answers:
            is_right = any(contains(answer, each) for each in item.answers)
        rights[bool(item.answers)].append(is_right)
        if show and not is_right:
            print(f"  {item.question} ({' / '.join(item.answers) or UNKNOWN}): {answer}")
    names = {True: "answered", False: "unknown"}
    return {
        key: value
        for has_answer, found in rights.items()
        if found
        for key, value in (
            (f"{names[has_answer]}_questions", len(found)),
            (names[has_answer], round(float(np.mean(found)), 3)),
        )
    }


def contains(text: str, answer: str) -> bool:
    """True if the words of the answer stand in the text, in this order."""
    words, wanted = split_words(text), split_words(answer)
    return any(words[at : at + len(wanted)] == wanted for at in range(len(words)))


def flag_documents() -> list[Document]:
    """The sections of all countries, without their flags: the questions have no picture."""
    return [each for code in country_codes() for each in documents(real_entities()[code])]


def flag_items(half: Half, is_varied: bool) -> list[Item]:
    """A question on each fact of each country of this half, which is named in it."""
    return [
        item
        for code in country_codes()
        if split_of(code) == half
        for item in country_items(real_entities()[code], code, is_varied)
    ]


def country_items(entity: Entity, code: str, is_varied: bool) -> Iterator[Item]:
    """The questions on one country, with its name for "this country"."""
    sections = tuple(document.id for document in documents(entity))
    rng = np.random.default_rng([0, *code.encode()]) if is_varied else None
    for asked in questions(entity, rng):
        yield Item(name_country(asked.text, entity.name), asked.answers, sections)


def name_country(question: str, name: str) -> str:
    """The question with the country's name instead of "this country".

    >>> name_country("What is the capital of the country in the photo?", "Jamaica")
    'What is the capital of Jamaica?'
    """
    phrases = {**dict.fromkeys(_COUNTRY, name), **dict.fromkeys(_FLAGS, f"the flag of {name}")}
    found = max((phrase for phrase in phrases if phrase in question), key=len)
    return question.replace(found, phrases[found])


def museum_documents() -> list[Document]:
    """The objects of the museum, without pictures."""
    return [
        Document(each["id"], each["text"], each["title"], metadata=each["metadata"])
        for each in museum.read_documents()
    ]


def museum_items(half: Half) -> list[Item]:
    """The questions of this half."""
    return [
        Item(each["question"], tuple(each.get("answers", ())), tuple(each.get("document_ids", ())))
        for each in museum.read_questions()
        if each["id"].startswith(half)
    ]


if __name__ == "__main__":
    main()
