"""Finished runs, see finished_runs.py."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from finished_runs import FinishedRuns

from rag_vqa.retriever.knowledge_base import KnowledgeBase


@pytest.fixture
def finished(birds: Path, encoder: Any, tmp_path: Path) -> Iterator[FinishedRuns]:
    with KnowledgeBase.open(birds, encoder) as kb:
        yield FinishedRuns(kb, tmp_path)
