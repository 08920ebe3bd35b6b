"""Writes the flag world in the file formats of benchmarks: questions, photos and documents.

Knows the files and fields of InfoSeek with Wiki6M, of Encyclopedic-VQA and of our own question
sets. The content is the demo's, so an evaluation can be tried without a download. Splits are "dev"
and "test". On one machine every export writes the same bytes.

Ids and addresses are invented: they name nothing in Wikidata, OVEN or on the web. InfoSeek's
"unseen question" and "unseen entity" do not have their usual meaning here, because no country was
seen in training: the world is cut in two so that both scores exist.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from PIL import Image

from rag_vqa import images
from rag_vqa.demo.drawing.flag import draw_flag
from rag_vqa.demo.drawing.real_flags import REAL_FLAGS
from rag_vqa.demo.gallery import Half, country_codes, draw_questions
from rag_vqa.demo.questions import Question, unanswerable_question
from rag_vqa.demo.world.entities import Entity, real_entities
from rag_vqa.demo.world.facts import SECTIONS, split_list
from rag_vqa.demo.world.texts import documents
from rag_vqa.errors import UsageError
from rag_vqa.types import Document

Format: TypeAlias = Literal["infoseek", "evqa", "own"]
HALVES: tuple[Half, ...] = get_args(Half)
Row = dict[str, Any]
YEARS = ("independence", "adopted")
LISTS = ("languages", "neighbours", "colours")
TOLERANCE = 0.1  # of a number, either way
_NUMBER = re.compile(r"([\d,]+(?:\.\d+)?)(?: km²)?")


def export_benchmark(format: Format, folder: Path) -> dict[Half, int]:
    """Write a benchmark's files of both halves; returns the number of questions in each.

    Raises:
        UsageError: the format is unknown, or the folder is not empty.
    """
    writers = {"infoseek": _write_infoseek, "evqa": _write_evqa, "own": _write_own}
    if format not in writers:
        raise UsageError(f"Unknown format {format!r}. Choose one of {', '.join(writers)}.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is not empty. Give a folder that is new or empty.")
    return writers[format](folder)


def _write_infoseek(folder: Path) -> dict[Half, int]:
    pages, number = [], 0
    counts: dict[Half, int] = {}
    for place, code in enumerate(country_codes()):
        entity, identity = real_entities()[code], wikidata_id(place)
        _write_jpeg(
            folder / f"wikipedia_images/{identity[:4]}/{identity}.jpg", draw_flag(REAL_FLAGS[code])
        )
        pages.append(wiki6m_page(identity, entity.name, documents(entity)))
    _write_json_lines(folder / "Wiki6M_ver_1_0.jsonl", pages)
    for half in HALVES:
        found: list[tuple[Row, Row, Row]] = []
        for code, question, photo in draw_questions(half):
            image = f"oven_{number:08}"
            _write_jpeg(folder / f"oven_images/{image[5:7]}/{image}.jpg", photo)
            entity_id = wikidata_id(country_codes().index(code))
            found.append(infoseek_rows(half, len(found), image, entity_id, code, question))
            number += 1
        for part, name in enumerate(("", "_qtype", "_withkb")):
            _write_json_lines(folder / f"infoseek_{half}{name}.jsonl", [row[part] for row in found])
        counts[half] = len(found)
    return counts


def _write_evqa(folder: Path) -> dict[Half, int]:
    pages = {}
    counts: dict[Half, int] = {}
    for code in country_codes():
        entity = real_entities()[code]
        pages[page_url(entity)] = evqa_page(entity, documents(entity))
        _write_jpeg(folder / f"kb_images/{entity.id}.jpg", draw_flag(REAL_FLAGS[code]))
    (folder / "encyclopedic_kb_wiki.json").write_text(_to_json(pages), "utf-8")
    listed: list[dict[str, Any]] = []  # the pictures that are to pass for iNaturalist's
    for half in HALVES:
        found = []
        for code, question, photo in draw_questions(half):
            image, name = evqa_image(code, question.section, len(listed))
            found.append(evqa_row(half, code, question, image))
            if name.startswith("inaturalist/"):
                listed.append({"id": int(image), "file_name": name.removeprefix("inaturalist/")})
            _write_jpeg(folder / name, photo)
        _write_csv(folder / f"{half}.csv", found)
        counts[half] = len(found)
    (folder / "inaturalist" / "val.json").write_text(_to_json({"images": listed}), "utf-8")
    return counts


def _write_own(folder: Path) -> dict[Half, int]:
    found = []
    for code in country_codes():
        for document in documents(real_entities()[code]):
            found.append(own_document_row(document, f"flags/{code}.png"))
        _write_bytes(
            folder / f"flags/{code}.png",
            images.encode(Image.fromarray(draw_flag(REAL_FLAGS[code]))),
        )
    _write_json_lines(folder / "documents.jsonl", found)
    counts: dict[Half, int] = {}
    for half in HALVES:
        asked = list(_own_question_rows(folder, half))
        _write_json_lines(folder / f"{half}.jsonl", asked)
        counts[half] = len(asked)
    return counts


def _own_question_rows(folder: Path, half: Half) -> Iterator[dict[str, Any]]:
    """Questions with answers; after a country's first one that no document answers."""
    rng, seen = np.random.default_rng(0), ""
    for code, question, photo in draw_questions(half):
        name = f"photos/{code}-{question.section}.png"
        _write_bytes(folder / name, images.encode(photo))
        yield own_question_row(code, question, name)
        if code != seen:
            seen = code
            more = unanswerable_question(rng, held_out=True).text
            yield {"id": f"{code}/unknown", "question": more, "image": name,
                   "unanswerable": True, "group": code}  # fmt: skip


def _write_jpeg(path: Path, picture: Image.Image | Any) -> None:
    shown = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    _write_bytes(path, images.encode(shown, "JPEG"))


def _write_bytes(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _write_json_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    text = "".join(f"{_to_json(row)}\n" for row in rows)
    _write_bytes(path, text.encode())


def _write_csv(path: Path, rows: list[dict[str, str]]) -> None:
    buffer = io.StringIO(newline="")
    table = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    _write_bytes(path, buffer.getvalue().encode())


def _to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def wikidata_id(place: int) -> str:
    """
    >>> wikidata_id(7)
    'Q90000007'
    """
    return f"Q9{place:07}"


def wiki6m_page(identity: str, name: str, documents: Sequence[Document]) -> Row:
    """A country's page: all its sections as one text."""
    return {
        "wikidata_id": identity,
        "wikipedia_title": name,
        "wikipedia_summary": documents[0].text,
        "wikipedia_content": "\n\n".join(f"{d.section}\n{d.text}" for d in documents),
        "wikipedia_image_url": None,
    }


def infoseek_rows(
    half: str, number: int, image: str, entity: str, code: str, question: Question
) -> tuple[Row, Row, Row]:
    """The question's line in each of the three files."""
    identity = f"infoseek_{half}_{number:08}"
    kind, answers = _infoseek_answers(question)
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


def _infoseek_answers(question: Question) -> tuple[str, list[Any]]:
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


def page_url(entity: Entity) -> str:
    """A page's address, which names no host that exists."""
    return f"https://flags.invalid/wiki/{entity.id}"


def evqa_page(entity: Entity, documents: Sequence[Document]) -> Row:
    """A country's page of Encyclopedic-VQA: an empty lead, then a section for each document."""
    picture = f"https://flags.invalid/images/{entity.id}.jpg"
    return {
        "title": entity.name,
        "section_titles": [entity.name, *(document.section for document in documents)],
        "section_texts": ["", *(document.text for document in documents)],
        "image_urls": [picture for _ in documents],
        "image_reference_descriptions": [f"the flag of {entity.name}" for _ in documents],
        "image_section_indices": list(range(1, len(documents) + 1)),
        "url": page_url(entity),
    }


def evqa_image(code: str, section: str, number: int) -> tuple[str, str]:
    """Id and file of a photo: half of the countries pass for landmarks, half for iNaturalist."""
    if _digest(code)[1] % 2:
        identity = _digest(f"{code}/{section}").hex()[:16]
        return identity, f"landmarks/train/{'/'.join(identity[:3])}/{identity}.jpg"
    return str(number), f"inaturalist/val/{code}/{section}.jpg"


def evqa_row(half: str, code: str, question: Question, image: str) -> dict[str, str]:
    """The question's row of the table."""
    entity = real_entities()[code]
    value = question.answers[0]
    items = split_list(value) if question.attribute in LISTS else [value]
    several = len(items) > 1
    stated = [name for name in SECTIONS if any(key in entity.facts for key in SECTIONS[name])]
    return {
        "question": question.text,
        "answer": "&&".join(items) if several else "|".join(question.answers),
        "dataset_image_ids": image,
        "dataset_name": "inaturalist" if image.isdecimal() and len(image) < 16 else "landmarks",
        "dataset_category_id": code,
        "question_type": "multi_answer" if several else "templated",
        "wikipedia_url": page_url(entity),
        "wikipedia_title": entity.name,
        "evidence": "",
        "evidence_section_id": str(stated.index(question.section) + 1),
        "evidence_section_title": question.section,
        "encyclopedic_vqa_split": half,
        "question_original": question.text,
        "wikipedia_url_used_in_train": "False",
    }


def own_question_row(code: str, question: Question, image: str) -> Row:
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


def own_document_row(found: Document, image: str) -> Row:
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
