"""Queries of M2KR and ReT-M2KR → Examples.

It knows two forms. ReT-M2KR: JSONL of data_id, instruction, question, image_path, passage_id and
answer, in files `TASK_test.jsonl` (aimagelab/ReT, inference.py and scripts/inference_m2kr_large.sh;
there E-VQA's is evqa_test_m2kr.jsonl). M2KR: Parquet of question_id, question, img_path,
instruction, pos_item_ids and answers, in folders `TASK_data` (card of
BByrneLab/multi_task_multi_modal_knowledge_retrieval_benchmark_M2KR); that files there begin with
the name of their split could not be verified. It knows no passages: those are formats/m2kr.py's.

passage_text of a query is the right passage itself: it is never read. Where a row asks nothing
besides its instruction, the query is the instruction alone.
"""

from __future__ import annotations

from pathlib import Path

from rag_vqa.errors import BadInput, Missing, UsageError
from rag_vqa.formats import parquet
from rag_vqa.formats.document import nearest, shown
from rag_vqa.formats.jsonl import objects
from rag_vqa.formats.questions.rows import Asked, Benchmark, Row, Rows, ids, optional_text, read
from rag_vqa.types import Example, Query

TASKS = ("wit", "iglue", "kvqa", "oven", "llava", "okvqa", "infoseek", "evqa")
TRAINED = (*TASKS, "cc3m")  # it is trained on, and not a task of the benchmark


def find(home: Path, split: str | None, images: Path | None, task: str | None) -> Benchmark:
    """The queries of a task in a folder, of either form; or the file that is given.

    Raises:
        UsageError: no task, or none that is known.
        Missing: no file of it.
    """
    if task not in TRAINED:
        hint = nearest(task, TASKS) if task else ""
        raise UsageError(f"m2kr has eight tasks: give --task, one of {', '.join(TASKS)}.{hint}")
    split = split or "test"
    path = home if home.is_file() else _file(home, task, split)
    tabular = path.is_dir() or path.suffix == parquet.SUFFIX
    parts = _parts(path, split) if path.is_dir() else [path]
    return Benchmark(
        name=f"m2kr/{task}",
        split=split,
        scorer="retrieval",
        files={part.name: part for part in parts},
        home=home.parent if home.is_file() else home,
        images=images or (home.parent if home.is_file() else home),
        rows=lambda _: _rows(path, parts, tabular, split),
    )


def _file(home: Path, task: str, split: str) -> Path:
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


def _parts(folder: Path, split: str) -> list[Path]:
    found = sorted(folder.glob(f"{split}*{parquet.SUFFIX}"))
    if not found:
        raise Missing(f"{folder} holds no {split}*{parquet.SUFFIX}: download that split of it.")
    return found


def _rows(path: Path, parts: list[Path], tabular: bool, split: str) -> Rows:
    if not tabular:
        return read(objects(path), path, lambda row, _: _ret(row, split))
    numbered = (row for part in parts for row in parquet.rows(part))
    return read(numbered, path, lambda row, _: _m2kr(row, split), "row")


def _ret(row: Row, split: str) -> Asked:
    return _asked(row, "data_id", "image_path", "passage_id", "answer", split)


def _m2kr(row: Row, split: str) -> Asked:
    return _asked(row, "question_id", "img_path", "pos_item_ids", "answers", split)


def _asked(row: Row, key: str, picture: str, right: str, answer: str, split: str) -> Asked:
    named = ids(row, key)
    if len(named) != 1 or not named[0]:
        raise BadInput(f"{key} is {shown(row.get(key))}, not one id.")
    (identity,) = named
    relevant = ids(row, right)
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
    return Asked(example, (image,) if image else ())


def _answers(row: Row, name: str) -> tuple[str, ...]:
    """Texts. An item may be {"wikidata": …, "range": …}: numbers of InfoSeek, which no text holds
    as they stand, so that they are left out. Of several annotators' equal answers one is kept."""
    given = row.get(name)
    listed = [] if given is None else given if isinstance(given, list) else [given]
    if not all(isinstance(item, str | int | float | dict) for item in listed):
        raise BadInput(f"{name} is {shown(given)}, not a list of answers.")
    return tuple(dict.fromkeys(str(item) for item in listed if not isinstance(item, dict)))
