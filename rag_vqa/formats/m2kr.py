"""Passages of M2KR and ReT-M2KR → Items.

It knows two forms. ReT-M2KR's passages and its `jsonl/rag` knowledge bases are JSONL of passage_id,
passage_text (or null) and passage_image_path (or null), relative to a folder of images
(aimagelab/ReT: inference.py; README of the data set aimagelab/ReT-M2KR). M2KR's `<DS>_passages` are
Parquet of passage_id and passage_content, with language and others beside them (README of the data
set BByrneLab/multi_task_multi_modal_knowledge_retrieval_benchmark_M2KR). It knows no questions.

The text stays as it is, because figures are compared. Whether ReT-M2KR's knowledge bases have
more fields could not be verified: those would be listed as unknown, and left out.
"""

from __future__ import annotations

from pathlib import Path

from rag_vqa.formats import parquet
from rag_vqa.formats.items import Contents
from rag_vqa.formats.renamed import Names

JSONL = ("passage_id", "passage_text")
PARQUET = ("passage_id", "passage_content")

_NAMES = Names(
    {"id": ("passage_id",), "text": ("passage_text",), "image": ("passage_image_path",)},
)


def contents(path: Path) -> Contents:
    """What a file, or a folder of Parquet, holds."""
    if path.is_dir() or path.suffix.lower() == parquet.SUFFIX:
        return parquet.contents(path, {"id": ["passage_id"], "text": ["passage_content"]})
    return _NAMES.contents(path)
