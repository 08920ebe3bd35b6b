"""A question set of the user → Examples: one JSON object a line.

It knows the fields id, question, image, answers, document_ids, unanswerable and group; id must be
there, and a question; in its place an image where documents are looked for and nothing is answered.
A group is what related questions share, by default their picture. A misspelt field is refused,
because it would quietly drop a metric. It knows no benchmark.
"""

from __future__ import annotations

from pathlib import Path

from rag_vqa.errors import BadInput, Missing, UsageError
from rag_vqa.formats.document import nearest, shown
from rag_vqa.formats.jsonl import objects
from rag_vqa.formats.questions.rows import (
    Asked,
    Benchmark,
    Row,
    ids,
    optional_text,
    read,
    text,
    texts,
)
from rag_vqa.types import Example, Query

FIELDS = ("id", "question", "image", "answers", "document_ids", "unanswerable", "group")


def find(home: Path, split: str | None, images: Path | None, task: str | None) -> Benchmark:
    """A JSONL file, or in a folder SPLIT.jsonl ("test" by default).

    Raises:
        Missing: there is none.
        UsageError: a file and a split.
    """
    path = file_of(home, split, "test", "questions")
    return Benchmark(
        name="own",
        split=path.name.removesuffix(".gz").removesuffix(".jsonl"),
        scorer="text",
        files={"questions": path},
        home=path.parent,
        images=images or path.parent,
        rows=lambda _: read(objects(path), path, _asked),
    )


def file_of(home: Path, split: str | None, usual: str, what: str) -> Path:
    """The JSONL file that was given, or that of a split of a folder. Raises as `find`."""
    if home.is_file() and split is not None:
        raise UsageError(f"{home} is one file of {what}: a split is for a folder of them.")
    path = home if home.is_file() else home / f"{split or usual}.jsonl"
    if not path.is_file():
        raise Missing(f"{path} is not there: give a JSONL file of {what}.")
    return path


def _asked(row: Row, place: int) -> Asked:
    for name in row:
        if name not in FIELDS:
            raise BadInput(f"unknown field {shown(name)}.{nearest(name, FIELDS)}")
    image, unanswerable = optional_text(row, "image"), row.get("unanswerable")
    if unanswerable is not None and not isinstance(unanswerable, bool):
        raise BadInput(f"unanswerable is {shown(unanswerable)}, not true or false.")
    question, answers = optional_text(row, "question"), texts(row, "answers")
    if not question and not image:
        raise BadInput("neither question nor image: there is nothing to ask about.")
    if not question and (answers or unanswerable is not None):
        raise BadInput("no question, and yet an answer: what was asked?")
    if unanswerable and answers:
        raise BadInput("unanswerable, and yet it has answers: keep one of them.")
    identity = text(row, "id")
    example = Example(
        identity,
        Query(question),
        answers=answers,
        relevant=ids(row, "document_ids"),
        group=optional_text(row, "group") or image or identity,
        unanswerable=bool(unanswerable),
    )
    return Asked(example, (image,) if image else ())
