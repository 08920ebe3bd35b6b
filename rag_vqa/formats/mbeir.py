"""Candidates of M-BEIR → Items.

It knows the lines of `cand_pool/…_cand_pool.jsonl`: did, txt (or null), img_path (or null),
modality and src_content (TIGER-AI-Lab/UniIR; README of the data set TIGER-Lab/M-BEIR). It knows no
queries. img_path begins with mbeir_images/: the folder of images is the data set's own.

src_content, which differs from data set to data set, is left out.
"""

from __future__ import annotations

from pathlib import Path

from rag_vqa.formats.items import Contents
from rag_vqa.formats.renamed import Names

JSONL = ("did", "txt", "img_path", "modality")

_NAMES = Names(
    {"id": ("did",), "text": ("txt",), "image": ("img_path",)},
    metadata=("modality",),
    left_out=("src_content",),
)


def contents(path: Path) -> Contents:
    """What a candidate pool holds."""
    return _NAMES.contents(path)
