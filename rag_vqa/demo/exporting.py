"""The flag world as files: questions, photos and documents in the formats of benchmarks.

It knows which files there are, and the countries' own numbers in them. How a question is put into
a benchmark's row is exported_rows.py's matter. Equal bytes each time, on the same machine.

The formats are InfoSeek's with Wiki6M, Encyclopedic-VQA's, and our own; the content is the demo's,
so that all that an evaluation does can be seen without a download. Splits are "dev" and "test".
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from PIL import Image

from rag_vqa import images
from rag_vqa.demo import exported_rows as rows
from rag_vqa.demo.asked import Half, asked_about
from rag_vqa.demo.bundled import countries
from rag_vqa.demo.entities import real_entities
from rag_vqa.demo.flag import draw
from rag_vqa.demo.questions import unanswerable
from rag_vqa.demo.real_flags import REAL
from rag_vqa.demo.texts import documents
from rag_vqa.errors import UsageError

Format: TypeAlias = Literal["infoseek", "evqa", "own"]
HALVES: tuple[Half, ...] = get_args(Half)


def export(format: Format, folder: Path) -> dict[Half, int]:
    """Write a benchmark's files of both halves; gives how many questions each has.

    Raises:
        UsageError: the format is not known, or the folder holds something.
    """
    writers = {"infoseek": _infoseek, "evqa": _evqa, "own": _own}
    if format not in writers:
        raise UsageError(f"{format!r} is none of {', '.join(writers)}.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} holds something. Give a folder that is new or empty.")
    return writers[format](folder)


def _infoseek(folder: Path) -> dict[Half, int]:
    pages, number = [], 0
    counts: dict[Half, int] = {}
    for place, code in enumerate(countries()):
        entity, identity = real_entities()[code], rows.wikidata_id(place)
        _jpeg(folder / f"wikipedia_images/{identity[:4]}/{identity}.jpg", draw(REAL[code]))
        pages.append(rows.wiki6m(identity, entity.name, documents(entity)))
    _lines(folder / "Wiki6M_ver_1_0.jsonl", pages)
    for half in HALVES:
        found: list[tuple[rows.Row, rows.Row, rows.Row]] = []
        for code, question, photo in asked_about(half):
            image = f"oven_{number:08}"
            _jpeg(folder / f"oven_images/{image[5:7]}/{image}.jpg", photo)
            entity_id = rows.wikidata_id(countries().index(code))
            found.append(rows.infoseek(half, len(found), image, entity_id, code, question))
            number += 1
        for part, name in enumerate(("", "_qtype", "_withkb")):
            _lines(folder / f"infoseek_{half}{name}.jsonl", [row[part] for row in found])
        counts[half] = len(found)
    return counts


def _evqa(folder: Path) -> dict[Half, int]:
    pages = {}
    counts: dict[Half, int] = {}
    for code in countries():
        entity = real_entities()[code]
        pages[rows.url(entity)] = rows.page(entity, documents(entity))
        _jpeg(folder / f"kb_images/{entity.id}.jpg", draw(REAL[code]))
    (folder / "encyclopedic_kb_wiki.json").write_text(_json(pages), "utf-8")
    listed: list[dict[str, Any]] = []  # the pictures that are to pass for iNaturalist's
    for half in HALVES:
        found = []
        for code, question, photo in asked_about(half):
            image, name = rows.evqa_image(code, question.section, len(listed))
            found.append(rows.evqa(half, code, question, image))
            if name.startswith("inaturalist/"):
                listed.append({"id": int(image), "file_name": name.removeprefix("inaturalist/")})
            _jpeg(folder / name, photo)
        _table(folder / f"{half}.csv", found)
        counts[half] = len(found)
    (folder / "inaturalist" / "val.json").write_text(_json({"images": listed}), "utf-8")
    return counts


def _own(folder: Path) -> dict[Half, int]:
    found = []
    for code in countries():
        for document in documents(real_entities()[code]):
            found.append(rows.document(document, f"flags/{code}.png"))
        _save(folder / f"flags/{code}.png", images.encode(Image.fromarray(draw(REAL[code]))))
    _lines(folder / "documents.jsonl", found)
    counts: dict[Half, int] = {}
    for half in HALVES:
        asked = list(_own_questions(folder, half))
        _lines(folder / f"{half}.jsonl", asked)
        counts[half] = len(asked)
    return counts


def _own_questions(folder: Path, half: Half) -> Iterator[dict[str, Any]]:
    """Questions with answers; after a country's first one that no document answers."""
    rng, seen = np.random.default_rng(0), ""
    for code, question, photo in asked_about(half):
        name = f"photos/{code}-{question.section}.png"
        _save(folder / name, images.encode(photo))
        yield rows.own(code, question, name)
        if code != seen:
            seen = code
            more = unanswerable(rng, held_out=True).text
            yield {"id": f"{code}/unknown", "question": more, "image": name,
                   "unanswerable": True, "group": code}  # fmt: skip


def _jpeg(path: Path, picture: Image.Image | Any) -> None:
    shown = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    _save(path, images.encode(shown, "JPEG"))


def _save(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _lines(path: Path, found: Iterable[Mapping[str, Any]]) -> None:
    text = "".join(f"{_json(row)}\n" for row in found)
    _save(path, text.encode())


def _table(path: Path, found: list[dict[str, str]]) -> None:
    buffer = io.StringIO(newline="")
    table = csv.DictWriter(buffer, list(found[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(found)
    _save(path, buffer.getvalue().encode())


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
