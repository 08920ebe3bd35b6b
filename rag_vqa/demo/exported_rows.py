"""A question, a country, a document of the flag world → the row that a benchmark would have.

It knows fields of InfoSeek, Wiki6M, Encyclopedic-VQA and our own sets. It writes no file. Ids and
addresses are the demo's own: they name nothing in Wikidata, OVEN, or on the web. Nor do InfoSeek's
unseen questions and unseen entities mean here what they mean there (all countries are unseen): the
world is cut in two so that both scores exist.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any

from rag_vqa.demo.entities import Entity, real_entities
from rag_vqa.demo.facts import SECTIONS, split_listing
from rag_vqa.demo.questions import Question
from rag_vqa.types import Document

Row = dict[str, Any]
YEARS = ("independence", "adopted")
LISTS = ("languages", "neighbours", "colours")
TOLERANCE = 0.1  # of a number, either way
_NUMBER = re.compile(r"([\d,]+(?:\.\d+)?)(?: km²)?")


def wikidata_id(place: int) -> str:
    """
    >>> wikidata_id(7)
    'Q90000007'
    """
    return f"Q9{place:07}"


def wiki6m(identity: str, name: str, found: Sequence[Document]) -> Row:
    """A country's page: all its sections as one text."""
    return {
        "wikidata_id": identity,
        "wikipedia_title": name,
        "wikipedia_summary": found[0].text,
        "wikipedia_content": "\n\n".join(f"{d.section}\n{d.text}" for d in found),
        "wikipedia_image_url": None,
    }


def infoseek(
    half: str, number: int, image: str, entity: str, code: str, question: Question
) -> tuple[Row, Row, Row]:
    """The question's line in each of the three files."""
    identity = f"infoseek_{half}_{number:08}"
    kind, answers = _judged(question)
    unseen = "unseen_entity" if _digest(code)[0] % 2 else "unseen_question"
    asked = {"data_id": identity, "image_id": image, "question": question.text,
             "answer": [question.answers[0]], "answer_eval": answers,
             "data_split": f"{half}_{unseen}"}  # fmt: skip
    name = real_entities()[code].name
    return (
        asked,
        {"data_id": identity, "question_type": kind},
        {"data_id": identity, "entity_id": entity, "entity_text": name},
    )


def _judged(question: Question) -> tuple[str, list[Any]]:
    """Type and answer_eval. A number in words ("47 million") stays text: its range would depend
    on the unit that an answer is given in."""
    if question.attribute in YEARS:
        return "Time", list(question.answers)
    number = _NUMBER.fullmatch(question.answers[0])
    if number and question.attribute in ("area", "population", "neighbour_count"):
        value = float(number[1].replace(",", ""))
        edges = [value * (1 - TOLERANCE), value * (1 + TOLERANCE)]
        return "Numerical", [{"wikidata": value, "range": edges}]
    return "String", list(question.answers)


def url(entity: Entity) -> str:
    """A page's address, which names no host that exists."""
    return f"https://flags.invalid/wiki/{entity.id}"


def page(entity: Entity, found: Sequence[Document]) -> Row:
    """A country's page of Encyclopedic-VQA: an empty lead, then a section for each document."""
    picture = f"https://flags.invalid/images/{entity.id}.jpg"
    return {
        "title": entity.name,
        "section_titles": [entity.name, *(document.section for document in found)],
        "section_texts": ["", *(document.text for document in found)],
        "image_urls": [picture for _ in found],
        "image_reference_descriptions": [f"the flag of {entity.name}" for _ in found],
        "image_section_indices": list(range(1, len(found) + 1)),
        "url": url(entity),
    }


def evqa_image(code: str, section: str, number: int) -> tuple[str, str]:
    """Id and file of a photo: half of the countries pass for landmarks, half for iNaturalist."""
    if _digest(code)[1] % 2:
        identity = _digest(f"{code}/{section}").hex()[:16]
        return identity, f"landmarks/train/{'/'.join(identity[:3])}/{identity}.jpg"
    return str(number), f"inaturalist/val/{code}/{section}.jpg"


def evqa(half: str, code: str, question: Question, image: str) -> dict[str, str]:
    """The question's row of the table."""
    entity = real_entities()[code]
    value = question.answers[0]
    items = split_listing(value) if question.attribute in LISTS else [value]
    several = len(items) > 1
    stated = [name for name in SECTIONS if any(key in entity.facts for key in SECTIONS[name])]
    return {
        "question": question.text,
        "answer": "&&".join(items) if several else "|".join(question.answers),
        "dataset_image_ids": image,
        "dataset_name": "inaturalist" if image.isdecimal() and len(image) < 16 else "landmarks",
        "dataset_category_id": code,
        "question_type": "multi_answer" if several else "templated",
        "wikipedia_url": url(entity),
        "wikipedia_title": entity.name,
        "evidence": "",
        "evidence_section_id": str(stated.index(question.section) + 1),
        "evidence_section_title": question.section,
        "encyclopedic_vqa_split": half,
        "question_original": question.text,
        "wikipedia_url_used_in_train": "False",
    }


def own(code: str, question: Question, image: str) -> Row:
    """The question in our own format."""
    gold = f"{real_entities()[code].id}/{question.section}"
    return {
        "id": f"{code}/{question.section}",
        "question": question.text,
        "image": image,
        "answers": list(question.answers),
        "document_ids": [gold],
        "group": code,
    }


def document(found: Document, image: str) -> Row:
    """A document in our own format."""
    return {
        "id": found.id,
        "title": found.title,
        "section": found.section,
        "text": found.text,
        "parent": found.parent,
        "image": image,
    }


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
