"""A stand-in for BEM, loaded as BEM is, and runs of questions on the birds of tests/conftest.py."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from bert_files import bert
from birds_asked import CELLS, Asked, Echo, questions

from rag_vqa.eval.bem import Bem
from rag_vqa.eval.run.runner import EvaluationRun
from rag_vqa.eval.run.spec import Cell
from rag_vqa.pipeline import RagVqa
from rag_vqa.retriever.knowledge_base import KnowledgeBase


@pytest.fixture(scope="session")
def bem_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bert(tmp_path_factory.mktemp("bem"))


@pytest.fixture(scope="session")
def bem(bem_folder: Path) -> Bem:
    return Bem.load(str(bem_folder), device="cpu", offline=True)


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def ask(birds: Path, encoder: Any, echo: Echo) -> Iterator[Callable[..., EvaluationRun]]:
    """A run of n questions on the birds, or of those given."""
    kb = KnowledgeBase.open(birds, encoder)

    def make(n: int = 70, cells: Sequence[Cell] = CELLS, **options: Any) -> EvaluationRun:
        rows = options.pop("rows", None) or questions(n)
        reader, chosen = options.pop("reader", echo), options.pop("filter", None)
        return EvaluationRun(
            questions=Asked(rows),
            rag=RagVqa(kb, reader=reader, filter=chosen),
            cells=cells,
            batch=options.pop("batch", 8),
            **options,
        )

    yield make
    kb.close()
