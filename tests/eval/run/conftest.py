"""Questions on the birds of tests/conftest.py, and readers that fail in their own ways."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from rag_vqa.eval.run.cells import Cell
from rag_vqa.eval.run.running import Run
from rag_vqa.pipeline import RagVqa
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.types import Completion, Example, Prompt, Query


@dataclass
class Asked:
    """A question set in memory."""

    rows: Sequence[Example]
    name: str = "birds"
    split: str = "test"
    scorer: str = "text"
    missing: str = "fail"
    files: Mapping[str, str] = field(default_factory=lambda: {"questions": "0" * 64})

    def examples(self) -> Iterator[Example]:
        yield from self.rows


class Echo:
    """Answers with what its prompt holds: right where the documents are, and depends on batches
    in nothing. Remembers how often it was asked."""

    name = "echo"
    settings: Mapping[str, Any] = {"max_new_tokens": 8}

    def __init__(self) -> None:
        from rag_vqa.limits import Limits

        self.limits = Limits(images=4, context=4096)
        self.asked = 0
        self.calls = 0

    def count(self, prompt: Prompt) -> int:
        return len(prompt.text.split())

    def render(self, prompt: Prompt) -> str:
        return prompt.text

    def generate(self, prompts: Sequence[Prompt], on_text: Any = None) -> list[Completion]:
        self.asked += len(prompts)
        self.calls += 1
        return [self._write(prompt) for prompt in prompts]

    def _write(self, prompt: Prompt) -> Completion:
        places = ("burrows", "roofs", "fly")
        said = next((place for place in places if place in prompt.text), "")
        digest = hashlib.sha256(prompt.text.encode()).hexdigest()[:4]
        return Completion(said or f"unknown {digest}", self.count(prompt), 1)

    def choice_probability(
        self, prompts: Sequence[Prompt], choices: Sequence[str]
    ) -> list[list[float]]:
        return [[1 / len(choices)] * len(choices) for _ in prompts]


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def ask(birds: Path, encoder: Any, echo: Echo) -> Iterator[Callable[..., Run]]:
    """A run of n questions on the birds."""
    kb = KnowledgeBase.open(birds, encoder)
    places = {"puffin": "burrows", "stork": "roofs", "swift": "fly"}
    words = {"puffin": "puffins cliffs", "stork": "storks chimneys", "swift": "swifts sleep"}

    def make(n: int = 70, cells: Sequence[Cell] | None = None, **options: Any) -> Run:
        birds_asked = [list(places)[i % 3] for i in range(n)]
        rows = [
            Example(
                f"q{i}",
                Query(f"{words[bird]} question {i}?"),
                answers=(places[bird],),
                relevant=(bird,),
                group=f"g{i // 2}",
                kind="odd" if i % 2 else "even",
            )
            for i, bird in enumerate(birds_asked)
        ]
        given = [Cell("none", 0, "closed-book"), Cell("retrieved", 1, "short"),
                 Cell("retrieved", 3, "short"), Cell("oracle", 3, "short")]  # fmt: skip
        reader = options.pop("reader", echo)
        return Run(
            questions=Asked(rows),
            rag=RagVqa(kb, reader=reader),
            cells=given if cells is None else cells,
            batch=options.pop("batch", 8),
            **options,
        )

    yield make
    kb.close()
