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

from collections.abc import Iterator
from pathlib import Path

from rag_vqa.errors import BadInput, Missing
from rag_vqa.formats import parquet
from rag_vqa.formats.benchmark import (
    BENCHMARKS,
    Benchmark,
    PublishedFigure,
    QuestionFiles,
    QuestionRow,
    QuestionRows,
)
from rag_vqa.formats.document import Contents
from rag_vqa.formats.document_format import DocumentFormat, SourceOptions
from rag_vqa.formats.jsonl import FieldNames, read_objects
from rag_vqa.formats.question_rows import Row, id_list, optional_text, read_question_rows
from rag_vqa.formatting import quote_value
from rag_vqa.types import Example, Query

JSONL_FIELDS = ("passage_id", "passage_text")
PARQUET_COLUMNS = ("passage_id", "passage_content")
_PASSAGE_NAMES = FieldNames(
    {"id": ("passage_id",), "text": ("passage_text",), "image": ("passage_image_path",)},
)
TASKS = ("wit", "iglue", "kvqa", "oven", "llava", "okvqa", "infoseek", "evqa")
# Task → questions of its test split, documents (least and most), and as they were published.
_TEST_SETS = {
    "wit": (5120, (39_500, 40_500), "40K"),
    "iglue": (685, (950, 1_050), "1K"),
    "kvqa": (5120, (4_648, 4_648), "4,648"),
    "oven": (5120, (3_192, 3_192), "3,192"),
    "llava": (5120, (6_006, 6_006), "6,006"),
    "infoseek": (4708, (99_500, 100_500), "100K"),
    "evqa": (3750, (49_500, 50_500), "50K"),
    "okvqa": (5046, (109_500, 110_500), "110K"),
}
_METRICS = (
    "wit recall@10", "iglue recall@1", "kvqa recall@5", "oven recall@5", "llava recall@1",
    "infoseek recall@5", "infoseek pseudo@5", "evqa recall@5", "evqa pseudo@5",
    "okvqa recall@5", "okvqa pseudo@5",
)  # fmt: skip
_SOURCE = "Caffagni et al., CVPR 2025 (arXiv 2503.01980), its table of M2KR"
_PUBLISHED = {  # in percent, in the order of _METRICS
    "ReT CLIP ViT-L": (73.4, 81.8, 63.5, 82.0, 79.9, 47.0, 60.5, 44.5, 57.9, 20.2, 66.2),
    "ReT OpenCLIP ViT-H": (71.4, 80.0, 59.3, 83.0, 79.8, 47.3, 60.7, 44.8, 57.8, 18.2, 63.4),
    "ReT OpenCLIP ViT-G": (75.1, 82.2, 60.6, 84.0, 79.2, 52.0, 62.5, 48.6, 60.2, 19.0, 63.8),
    "PreFLMR-G": (61.9, 71.8, 41.9, 64.3, 72.6, 39.2, 57.7, 62.5, 72.1, 30.2, 67.4),
}


def contents(path: Path) -> Contents:
    """Open a file of passages, or a folder of Parquet files."""
    if path.is_dir() or path.suffix.lower() == parquet.SUFFIX:
        mapping = {"id": ["passage_id"], "text": ["passage_content"]}
        return parquet.contents(path, SourceOptions(mapping=mapping))
    return _PASSAGE_NAMES.contents(path)


def find_questions(
    path: Path, split: str | None, images: Path | None, task: str | None
) -> QuestionFiles:
    """The queries of a task, in either form: a file, or a folder with it.

    Raises:
        Missing: there is no file of the task.
    """
    split = split or "test"
    home = path.parent if path.is_file() else path
    found = path if path.is_file() else _find_file(home, task or "", split)
    tabular = found.is_dir() or found.suffix == parquet.SUFFIX
    parts = _parquet_files(found, split) if found.is_dir() else [found]
    return QuestionFiles(
        name=f"m2kr/{task}",
        split=split,
        files={part.name: part for part in parts},
        home=home,
        images=images or home,
        location=found if found.is_file() else home,  # a file may have a name of its own
        rows=lambda _: _question_rows(found, parts, tabular, split),
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
        f"{home} contains neither {names[0]} (ReT-M2KR) nor a folder {task.upper()}_data (M2KR). "
        "If the file has another name, give the file instead of the folder."
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
    row: Row, key: str, picture: str, positive: str, answer: str, split: str
) -> QuestionRow:
    identities = id_list(row, key)
    if len(identities) != 1 or not identities[0]:
        raise BadInput(f"{key} is {quote_value(row.get(key))}, not one id.")
    (identity,) = identities
    relevant = id_list(row, positive)
    if not relevant:
        raise BadInput(f"{positive} is missing: no passage is right.")
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
    """The answers that are texts, without repetitions.

    An item may be {"wikidata": …, "range": …}, a number of InfoSeek; passages do not contain such
    an object as text, so it is left out.
    """
    given = row.get(name)
    listed = [] if given is None else given if isinstance(given, list) else [given]
    if not all(isinstance(item, str | int | float | dict) for item in listed):
        raise BadInput(f"{name} is {quote_value(given)}, not a list of answers.")
    return tuple(dict.fromkeys(str(item) for item in listed if not isinstance(item, dict)))


def _published_figures() -> Iterator[PublishedFigure]:
    for system, values in _PUBLISHED.items():
        for name, value in zip(_METRICS, values, strict=True):
            task, metric = name.split()
            n, documents, documents_text = _TEST_SETS[task]
            yield PublishedFigure(
                benchmark=f"m2kr/{task}",
                split="test",
                n=n,
                system=system,
                condition="retrieval",
                metric=metric,
                value=round(value / 100, 4),
                scorer=metric,
                documents=documents,
                documents_text=documents_text,
                source=_SOURCE,
            )


BENCHMARKS.register(
    Benchmark(
        name="m2kr",
        find_questions=find_questions,
        tasks=TASKS,
        training_tasks=("cc3m",),
        documents=(
            DocumentFormat(
                name="m2kr",
                recognises=lambda sample: (
                    sample.field_names.issuperset(JSONL_FIELDS)
                    or sample.field_names.issuperset(PARQUET_COLUMNS)
                ),
                open=lambda path, options: contents(path),
            ),
        ),
        published=tuple(_published_figures()),
    )
)
