"""How well a reader of text alone answers: on the museum, and on the flag world in words.

Each question gets the three documents that share the most words with it (BM25), and the reader
says what it reads in them. An answer is right if it contains a right answer, or says "unknown" to
an unanswerable question. "found": the document with the answer is among the three.

    python benchmarks/text_reader.py FOLDER --count 60
"""

import argparse
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rag_vqa.eval.answers import is_unknown, normalize
from rag_vqa.prompts import build_prompt
from rag_vqa.readers.factory import open_reader
from rag_vqa.retriever.search.bm25 import WordIndex
from rag_vqa.types import Document, Hit, Passage, Query

HERE = Path(__file__).parent
SHOWN = 3  # documents in a prompt


@dataclass(frozen=True)
class TextQuestion:
    """A question in words; no answers: the right one is "unknown"."""

    text: str
    answers: tuple[str, ...]
    documents: tuple[str, ...]


def museum() -> tuple[list[Document], list[TextQuestion]]:
    """The museum's texts and its questions."""
    rows = [json.loads(line) for line in (HERE / "museum.jsonl").read_text("utf-8").splitlines()]
    lines = (HERE / "museum_questions.jsonl").read_text("utf-8").splitlines()
    return (
        [Document(row["id"], row["text"], title=row["title"]) for row in rows],
        [
            TextQuestion(
                q["question"], tuple(q.get("answers", ())), tuple(q.get("document_ids", ()))
            )
            for q in map(json.loads, lines)
        ],
    )


def flags() -> tuple[list[Document], list[TextQuestion]]:
    """Sections about real countries, and questions that name the country."""
    from rag_vqa.demo.world import texts
    from rag_vqa.demo.world.entities import real_entities
    from rag_vqa.demo.world.facts import section_of

    documents, questions = [], []
    for entity in real_entities().values():
        documents += texts.documents(entity)
        for attribute in ("capital", "currency"):
            if (fact := entity.facts.get(attribute)) is not None:
                text = f"What is the {attribute} of {entity.name}?"
                place = f"{entity.id}/{section_of(attribute)}"
                questions.append(TextQuestion(text, (fact.value, *fact.aliases), (place,)))
    return documents, questions


def measure(reader_name: str, count: int, seed: int, world: str) -> None:
    """Prints the shares of right answers over `count` questions, drawn with `seed`."""
    documents, questions = {"museum": museum, "flags": flags}[world]()
    index = WordIndex()
    texts = [f"{each.title}. {each.section} {each.text}" for each in documents]
    index.update(np.zeros(0, np.int64), list(enumerate(texts)))
    reader = open_reader(reader_name, quantization="none", device="cpu", max_new_tokens=32)
    asked = random.Random(seed).sample(questions, min(count, len(questions)))
    found: list[bool] = []
    right: dict[bool, list[bool]] = {True: [], False: []}  # by: has an answer
    begin = time.perf_counter()
    for question in asked:
        keys = [int(key) for key in index.search([question.text], SHOWN)[0][0] if key >= 0]
        hits = [
            Hit(documents[key], Passage(documents[key].id, 0, documents[key].text), rank, 1.0)
            for rank, key in enumerate(keys, 1)
        ]
        prompt = build_prompt(Query(question.text), hits, reader.limits, reader.count)
        text = reader.generate([prompt])[0].text
        right[bool(question.answers)].append(is_right(text, question.answers))
        if question.answers:
            found.append(any(hit.document.id in question.documents for hit in hits))
    seconds = (time.perf_counter() - begin) / len(asked)
    print(
        f"{world}: {len(asked)} questions, found {share(found)}, answered right "
        f"{share(right[True])}, unanswerable right {share(right[False])}, "
        f"{seconds:.1f} s a question"
    )


def is_right(text: str, answers: Sequence[str]) -> bool:
    """True if the text contains one of the answers, or says unknown where there is none."""
    if not answers:
        return is_unknown(text)
    return any(normalize(answer) in normalize(text) for answer in answers)


def share(values: Sequence[bool]) -> str:
    return f"{sum(values)}/{len(values)}" + (
        f" = {sum(values) / len(values):.2f}" if values else ""
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reader", help="folder or hub id of a language model")
    parser.add_argument(
        "--count", type=int, default=60, help="number of questions, drawn at random"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--world", choices=("museum", "flags"), default="museum")
    given = parser.parse_args()
    measure(given.reader, given.count, given.seed, given.world)
