"""Queries of M-BEIR → Examples.

It knows `query/SPLIT/mbeir_TASK_SPLIT.jsonl`: qid, query_txt, query_img_path, pos_cand_list, and
neg_cand_list, which is for training (TIGER-AI-Lab/UniIR; card of the data set TIGER-Lab/M-BEIR). It
knows no candidates: those are formats/mbeir.py's, `cand_pool/local/mbeir_TASK_cand_pool.jsonl` for
the local pool, for the union `cand_pool/global/mbeir_union_test_cand_pool.jsonl`.

Of the qrels, which pos_cand_list repeats, nothing is read. Instructions differ from task to task
and are drawn at random from a table of the data set: they are left to the retriever's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from rag_vqa.errors import BadInput, Missing, UsageError
from rag_vqa.formats.document import nearest
from rag_vqa.formats.jsonl import objects
from rag_vqa.formats.questions.rows import Asked, Benchmark, Row, ids, optional_text, read, text
from rag_vqa.types import Example, Query

TASKS = (
    "visualnews_task0", "mscoco_task0", "fashion200k_task0", "webqa_task1", "edis_task2",
    "webqa_task2", "visualnews_task3", "mscoco_task3", "fashion200k_task3", "nights_task4",
    "oven_task6", "infoseek_task6", "fashioniq_task7", "cirr_task7", "oven_task8",
    "infoseek_task8",
)  # fmt: skip


def find(home: Path, split: str | None, images: Path | None, task: str | None) -> Benchmark:
    """The queries of a task, below the data set's folder.

    Raises:
        UsageError: no task, or none that is known.
        Missing: no file of it.
    """
    if task not in TASKS:
        hint = nearest(task, TASKS) if task else ""
        raise UsageError(f"mbeir has sixteen: give --task, one of {', '.join(TASKS)}.{hint}")
    split = split or "test"
    path = home / "query" / split / f"mbeir_{task}_{split}.jsonl"
    if not path.is_file():
        raise Missing(f"{path} is not there: M-BEIR's queries of {task}. See docs/data.md.")

    def example(row: Row, place: int) -> Asked:
        identity, image = text(row, "qid"), optional_text(row, "query_img_path")
        relevant, question = ids(row, "pos_cand_list"), optional_text(row, "query_txt")
        if not relevant:
            raise BadInput("pos_cand_list is missing: nothing is right.")
        if not question and not image:
            raise BadInput("neither query_txt nor query_img_path: there is nothing to look for.")
        asked = Example(
            identity,
            Query(question),
            relevant=relevant,
            kind=optional_text(row, "query_modality"),
            split=split,
            group=image or identity,
        )
        return Asked(asked, (image,) if image else (), negatives=ids(row, "neg_cand_list"))

    return Benchmark(
        name=f"mbeir/{task}",
        split=split,
        scorer="retrieval",
        files={"queries": path},
        home=home,
        images=images or home,
        rows=lambda _: read(objects(path), path, example),
        explain=_explain,
    )


def _explain(images: Path, missing: Iterable[str]) -> Iterator[str]:
    if not (images / "mbeir_images").is_dir():
        yield (
            f"{images / 'mbeir_images'} is not there: join the four mbeir_images.tar.gz.part-0*, "
            "then unpack them."
        )
