"""A first question for each model, so that the first client waits no longer than others.

It knows the pipeline. It does not know threads, or when it is done (engine.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rag_vqa.types import Hit, Query

if TYPE_CHECKING:
    from rag_vqa.pipeline import RagVqa


def warm_retriever(rag: RagVqa) -> tuple[Hit, ...]:
    """What it finds for a grey picture; nothing where nothing is retrieved."""
    return tuple(rag.retrieve([_blank()])[0]) if rag.k else ()


def warm_reader(rag: RagVqa, hits: Sequence[Hit]) -> None:
    """A batch of one and one of two: a model may go other ways for them."""
    prompt = rag.prompt(_blank(), hits)
    for rows in (1, 2):
        rag.read([_blank()] * rows, [hits] * rows, [prompt] * rows, None, [2] * rows)


def _blank() -> Query:
    from PIL import Image

    return Query("What is this?", Image.new("RGB", (64, 64), "grey"))
