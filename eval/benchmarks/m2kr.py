"""M2KR and ReT-M2KR: their passages and their queries.

Knows two forms of each. ReT-M2KR's passages and its `jsonl/rag` knowledge bases are JSONL of
passage_id, passage_text (or null) and passage_image_path (or null), relative to a folder of images;
its queries are JSONL of data_id, instruction, question, image_path, passage_id and answer, in files
`TASK_test.jsonl` (aimagelab/ReT: inference.py, scripts/inference_m2kr_large.sh; README of the data
set aimagelab/ReT-M2KR). M2KR's `<DS>_passages` are Parquet of passage_id and passage_content; its
queries are Parquet of question_id, question, img_path, instruction, pos_item_ids and answers, in
folders `TASK_data` (card of BByrneLab/multi_task_multi_modal_knowledge_retrieval_benchmark_M2KR).
Does not know a scorer of answers: the benchmark measures retrieval.

The text of a passage stays as it is, because figures are compared. Not verified: whether ReT-M2KR's
knowledge bases have more fields (they would be listed as unknown, and left out), and that M2KR's
files begin with the name of their split. passage_text of a query is the right passage itself: it is
never read. If a row asks nothing besides its instruction, the query is the instruction alone.
"""

from __future__ import annotations

from pathlib import Path

from rag_vqa.errors import BadInput, Missing, UsageError
from rag_vqa.formats import parquet
from rag_vqa.formats.benchmark import QuestionFiles, QuestionRow, QuestionRows
from rag_vqa.formats.document import Contents
from rag_vqa.formats.jsonl import FieldNames, read_objects
from rag_vqa.formats.question_rows import Row, id_list, optional_text, read_question_rows
from rag_vqa.formatting import did_you_mean, quote_value
from rag_vqa.types import Example, Query

JSONL_FIELDS = ("passage_id", "passage_text")
PARQUET_COLUMNS = ("passage_id", "passage_content")
_PASSAGE_NAMES = FieldNames(
    {"id": ("passage_id",), "text": ("passage_text",), "image": ("passage_image_path",)},
)
TASKS = ("wit", "iglue", "kvqa", "oven", "llava", "okvqa", "infoseek", "evqa")
TRAINING_TASKS = (*TASKS, "cc3m")  # it is trained on, and not a task of the benchmark


def contents(path: Path) -> Contents:
    """What a file, or a folder of Parquet, holds."""
    if path.is_dir() or path.suffix.lower() == parquet.SUFFIX:
        return parquet.contents(path, {"id": ["passage_id"], "text": ["passage_content"]})
    return _PASSAGE_NAMES.contents(path)


def find_questions(
    home: Path, split: str | None, images: Path | None, task: str | None
) -> QuestionFiles:
    """The queries of a task in a folder, of either form; or the file that is given.

    Raises:
        UsageError: no task, or none that is known.
        Missing: no file of it.
    """
    if task not in TRAINING_TASKS:
        hint = did_you_mean(task, TASKS) if task else ""
        raise UsageError(f"m2kr has eight tasks: give --task, one of {', '.join(TASKS)}.{hint}")
    split = split or "test"
    path = home if home.is_file() else _find_file(home, task, split)
    tabular = path.is_dir() or path.suffix == parquet.SUFFIX
    parts = _parquet_files(path, split) if path.is_dir() else [path]
    return QuestionFiles(
        name=f"m2kr/{task}",
        split=split,
        scorer="retrieval",
        files={part.name: part for part in parts},
        home=home.parent if home.is_file() else home,
        images=images or (home.parent if home.is_file() else home),
        rows=lambda _: _question_rows(path, parts, tabular, split),
    )


def _find_file(home: Path, task: str, split: str) -> Path:
    names = [f"{task}_{split}.jsonl", f"{task}_{split}_m2kr.jsonl"]
    for path in (home / name for name in names):
        if path.is_file():
            return path
    for folder in sorted(home.glob("*_data")) if home.is_dir() else []:
        if folder.name.lower() == f"{task}_data" and folder.is_dir():
            return folder
    raise Missing(
        f"{home} holds neither {names[0]} (ReT-M2KR) nor a folder {task.upper()}_data (M2KR). "
        "If the file has another name, give it instead of the folder."
    )


def _parquet_files(folder: Path, split: str) -> list[Path]:
    found = sorted(folder.glob(f"{split}*{parquet.SUFFIX}"))
    if not found:
        raise Missing(f"{folder} holds no {split}*{parquet.SUFFIX}: download that split of it.")
    return found


def _question_rows(path: Path, parts: list[Path], tabular: bool, split: str) -> QuestionRows:
    if not tabular:
        return read_question_rows(
            read_objects(path), path, lambda row, _: _ret_m2kr_row(row, split)
        )
    numbered = (row for part in parts for row in parquet.read_rows(part))
    return read_question_rows(numbered, path, lambda row, _: _m2kr_row(row, split), "row")


def _ret_m2kr_row(row: Row, split: str) -> QuestionRow:
    return _question_row(row, "data_id", "image_path", "passage_id", "answer", split)


def _m2kr_row(row: Row, split: str) -> QuestionRow:
    return _question_row(row, "question_id", "img_path", "pos_item_ids", "answers", split)


def _question_row(
    row: Row, key: str, picture: str, right: str, answer: str, split: str
) -> QuestionRow:
    named = id_list(row, key)
    if len(named) != 1 or not named[0]:
        raise BadInput(f"{key} is {quote_value(row.get(key))}, not one id.")
    (identity,) = named
    relevant = id_list(row, right)
    if not relevant:
        raise BadInput(f"{right} is missing: nothing is right.")
    image = optional_text(row, picture)
    query = Query(optional_text(row, "question"), instruction=optional_text(row, "instruction"))
    example = Example(
        identity,
        query,
        answers=_answers(row, answer),
        relevant=relevant,
        split=split,
        group=image or identity,
    )
    return QuestionRow(example, (image,) if image else ())


def _answers(row: Row, name: str) -> tuple[str, ...]:
    """Texts. An item may be {"wikidata": …, "range": …}: numbers of InfoSeek, which no text holds
    as they stand, so that they are left out. Of several annotators' equal answers one is kept."""
    given = row.get(name)
    listed = [] if given is None else given if isinstance(given, list) else [given]
    if not all(isinstance(item, str | int | float | dict) for item in listed):
        raise BadInput(f"{name} is {quote_value(given)}, not a list of answers.")
    return tuple(dict.fromkeys(str(item) for item in listed if not isinstance(item, dict)))
