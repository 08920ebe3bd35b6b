"""Pairs to train on, of the user → Asked: one JSON object a line.

It knows the fields of own.py, of which a question set is a file of pairs as it stands, and beside
them `instruction`, `document` (the right one: an id, or the passage itself as an object of a
document's fields) and `negatives` (wrong ones, in the same two forms). `document_ids` are all
other ids that are right. It does not know where documents of an id are.

A passage that stands in the row gets an id from its content unless it has one: the same passage in
two rows is one passage, and never a negative of either.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from rag_vqa.errors import BadInput, UsageError
from rag_vqa.formats.document import from_mapping, nearest, shown
from rag_vqa.formats.jsonl import objects
from rag_vqa.formats.questions import own
from rag_vqa.formats.questions.rows import (
    Asked,
    Benchmark,
    Row,
    ids,
    optional_text,
    read,
    texts,
)
from rag_vqa.types import Document, Example, Query

FIELDS = (*own.FIELDS, "instruction", "document", "negatives")


def find(home: Path, split: str | None, images: Path | None, task: str | None) -> Benchmark:
    """A JSONL file, or in a folder SPLIT.jsonl ("train" by default).

    Raises:
        Missing: there is none.
        UsageError: a file and a split, or a task.
    """
    if task is not None:
        raise UsageError("a task is for m2kr and mbeir: pairs have none.")
    path = own.file_of(home, split, "train", "pairs")
    return Benchmark(
        name="pairs",
        split=split or "train",
        scorer="retrieval",
        files={"questions": path},
        home=path.parent,
        images=images or path.parent,
        rows=lambda _: read(objects(path), path, _asked),
    )


def _asked(row: Row, place: int) -> Asked:
    for name in row:
        if name not in FIELDS:
            raise BadInput(f"unknown field {shown(name)}.{nearest(name, FIELDS)}")
    image, question = optional_text(row, "image"), optional_text(row, "question")
    if not question and not image:
        raise BadInput("neither question nor image: there is nothing to look for.")
    given = [] if row.get("document") is None else [row["document"]]
    right = [_document("document", value) for value in given]
    listed = row.get("negatives") or []
    if not isinstance(listed, list):
        raise BadInput(f"negatives is {shown(listed)}, not a list.")
    wrong = [_document("negatives", value) for value in listed]
    relevant = dict.fromkeys([*(_id(one) for one in right), *ids(row, "document_ids")])
    if not relevant:
        raise BadInput('nothing is right: give "document" or "document_ids".')
    identity = _own_id(row, place)
    query = Query(question, instruction=optional_text(row, "instruction") or None)
    example = Example(
        identity,
        query,
        answers=texts(row, "answers"),
        relevant=tuple(relevant),
        group=optional_text(row, "group") or image or identity,
    )
    return Asked(
        example,
        (image,) if image else (),
        negatives=tuple(_id(one) for one in wrong),
        documents=tuple(one for one in (*right, *wrong) if isinstance(one, Document)),
    )


def _own_id(row: Row, place: int) -> str:
    named = ids(row, "id")
    if len(named) > 1 or named == ("",):
        raise BadInput(f"id is {shown(row.get('id'))}, not one id.")
    return named[0] if named else f"row {place + 1}"


def _document(field: str, value: Any) -> str | Document:
    """An id, or a passage with an id."""
    if not isinstance(value, dict):
        named = ids({field: value}, field)
        if len(named) != 1 or not named[0]:
            raise BadInput(f"{field} is {shown(value)}: give an id, or an object with a text.")
        return named[0]
    content = json.dumps(value, sort_keys=True).encode()
    given = {"id": f"inline:{hashlib.sha256(content).hexdigest()[:24]}", **value}
    document = from_mapping(given)
    if not all(isinstance(image, str) for image in document.images):
        raise BadInput(f"an image of {field} is not the name of a file.")
    return document


def _id(one: str | Document) -> str:
    return one if isinstance(one, str) else one.id
