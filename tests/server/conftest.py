"""A pipeline over birds whose reader is held."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from held_reader import HeldReader

from rag_vqa.pipeline import RagVqa
from rag_vqa.retriever.knowledge_base import KnowledgeBase


@pytest.fixture
def held() -> HeldReader:
    return HeldReader()


@pytest.fixture
def rag(birds: Path, encoder: Any, held: HeldReader) -> Iterator[RagVqa]:
    with KnowledgeBase.open(birds, encoder) as kb:
        yield RagVqa(kb, held, k=2)
