"""What is said of one source of training pairs.

It knows names, types and defaults. How a source is opened is opening.py's matter.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import Field

from rag_vqa.sections import Section

OnBad: TypeAlias = Literal["stop", "skip"]


class SourceSettings(Section):
    """One source.

    Attributes:
        format: pairs, m2kr (both forms), mbeir, infoseek, evqa (pages), or one that the program
            makes itself, as "flags".
        questions: the folder of the files; of pairs and m2kr also the file itself.
        documents: a file that `kb build` reads, for what rows name by an id; each document is one
            passage, as of a knowledge base with --split none.
        images, document_images: folders of the pictures of rows and of documents; by default
            those that `data check` and `kb build` take.
        split, task: as of `data check`; the split is "train" by default.
        instructions: one is drawn for each row, each time; none: the row's own, or the one that
            use puts before questions without.
        negatives: a file of `train mine`, beside those that the rows bring.
        hard: negatives of each row in each step, drawn of those; where they are fewer, the rest
            are any other documents of the source.
        weight: how often a row is seen where one of weight 1 is seen once; a source without end
            counts for so many rows.
        on_bad: what becomes of a row that cannot be used: all ends, or the row is left out.
    """

    format: str
    questions: Path | None = None
    documents: Path | None = None
    images: Path | None = None
    document_images: Path | None = None
    split: str | None = None
    task: str | None = None
    instructions: tuple[str, ...] = ()
    negatives: Path | None = None
    hard: int = Field(default=0, ge=0)
    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    on_bad: OnBad = "stop"
