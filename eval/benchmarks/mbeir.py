"""M-BEIR: its candidate pools and its queries.

Knows the lines of `cand_pool/…_cand_pool.jsonl` (did, txt or null, img_path or null, modality,
src_content) and of `query/SPLIT/mbeir_TASK_SPLIT.jsonl` (qid, query_txt, query_img_path,
pos_cand_list, and neg_cand_list, which is for training), as TIGER-AI-Lab/UniIR and the card of the
data set TIGER-Lab/M-BEIR have them. Does not know a scorer of answers: the benchmark measures
retrieval.

img_path begins with mbeir_images/: the folder of images is the data set's own. src_content differs
from data set to data set and is left out. The local pool is
`cand_pool/local/mbeir_TASK_cand_pool.jsonl`, the union
`cand_pool/global/mbeir_union_test_cand_pool.jsonl`. The qrels repeat pos_cand_list and are not
read.
Instructions differ from task to task and are drawn at random from a table of the data set: they are
left to the retriever's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from rag_vqa.errors import BadInput, Missing
from rag_vqa.formats.benchmark import BENCHMARKS, Benchmark, QuestionFiles, QuestionRow
from rag_vqa.formats.document import Contents
from rag_vqa.formats.document_format import DocumentFormat
from rag_vqa.formats.jsonl import FieldNames, read_objects
from rag_vqa.formats.question_rows import (
    Row,
    id_list,
    optional_text,
    read_question_rows,
    required_text,
)
from rag_vqa.types import Example, Query

JSONL_FIELDS = ("did", "txt", "img_path", "modality")
_CANDIDATE_NAMES = FieldNames(
    {"id": ("did",), "text": ("txt",), "image": ("img_path",)},
    metadata=("modality",),
    left_out=("src_content",),
)
TASKS = (
    "visualnews_task0", "mscoco_task0", "fashion200k_task0", "webqa_task1", "edis_task2",
    "webqa_task2", "visualnews_task3", "mscoco_task3", "fashion200k_task3", "nights_task4",
    "oven_task6", "infoseek_task6", "fashioniq_task7", "cirr_task7", "oven_task8",
    "infoseek_task8",
)  # fmt: skip


def contents(path: Path) -> Contents:
    """Open a candidate pool."""
    return _CANDIDATE_NAMES.contents(path)


def find_questions(
    path: Path, split: str | None, images: Path | None, task: str | None
) -> QuestionFiles:
    """The queries of a task, below the folder of the data set.

    Raises:
        Missing: there is no file of the task.
    """
    split = split or "test"
    file = path / "query" / split / f"mbeir_{task}_{split}.jsonl"
    if not file.is_file():
        raise Missing(f"{file} is not there: M-BEIR's queries of {task}. See docs/data.md.")

    def parse_query(row: Row, place: int) -> QuestionRow:
        identity, image = required_text(row, "qid"), optional_text(row, "query_img_path")
        relevant, question = id_list(row, "pos_cand_list"), optional_text(row, "query_txt")
        if not relevant:
            raise BadInput("pos_cand_list is missing: no candidate is right.")
        if not question and not image:
            raise BadInput("neither query_txt nor query_img_path: there is nothing to search for.")
        example = Example(
            identity,
            Query(question),
            relevant=relevant,
            kind=optional_text(row, "query_modality"),
            split=split,
            group=image or identity,
        )
        return QuestionRow(
            example, (image,) if image else (), negatives=id_list(row, "neg_cand_list")
        )

    return QuestionFiles(
        name=f"mbeir/{task}",
        split=split,
        files={"queries": file},
        home=path,
        images=images or path,
        rows=lambda _: read_question_rows(read_objects(file), file, parse_query),
        explain=_explain_missing,
    )


def _explain_missing(images: Path, missing: Iterable[str]) -> Iterator[str]:
    if not (images / "mbeir_images").is_dir():
        yield (
            f"{images / 'mbeir_images'} is not there: join the four mbeir_images.tar.gz.part-0*, "
            "then unpack them."
        )


BENCHMARKS.register(
    Benchmark(
        name="mbeir",
        find_questions=find_questions,
        tasks=TASKS,
        documents=(
            DocumentFormat(
                name="mbeir",
                recognises=lambda sample: sample.field_names.issuperset(JSONL_FIELDS),
                open=lambda path, options: contents(path),
            ),
        ),
    )
)
