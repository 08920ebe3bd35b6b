"""Questions on the birds of tests/conftest.py, and a reader that finds its answers in its prompts.

It imports no torch, so that scripts which are killed start fast.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rag_vqa.eval.run.spec import Cell
from rag_vqa.types import Completion, Example, Prompt, PromptLimits, Query

PLACES = {"puffin": "burrows", "stork": "roofs", "swift": "fly"}
WORDS = {"puffin": "puffins cliffs", "stork": "storks chimneys", "swift": "swifts sleep"}
CELLS = (Cell("none", 0, "closed-book"), Cell("retrieved", 1, "short"),
         Cell("retrieved", 3, "short"), Cell("oracle", 3, "short"))  # fmt: skip


@dataclass
class Asked:
    """A question set in memory."""

    rows: Sequence[Example]
    name: str = "birds"
    split: str = "test"
    scorer: str = "text"
    missing_policy: str = "fail"
    skipped_count: int = 0
    files: Mapping[str, str] = field(default_factory=lambda: {"questions": "0" * 64})

    def examples(self) -> Iterator[Example]:
        yield from self.rows


def questions(n: int) -> list[Example]:
    """n questions, on each bird in turn; groups of two, and two kinds."""
    birds = [list(PLACES)[i % 3] for i in range(n)]
    return [
        Example(
            f"q{i}",
            Query(f"{WORDS[bird]} question {i}?"),
            answers=(PLACES[bird],),
            relevant=(bird,),
            group=f"g{i // 2}",
            kind="odd" if i % 2 else "even",
        )
        for i, bird in enumerate(birds)
    ]


class Echo:
    """Answers with what its prompt holds: right where the documents are, and depends on batches
    in nothing. Remembers how often it was asked."""

    name = "echo"
    settings: Mapping[str, Any] = {"max_new_tokens": 8}
    limits = PromptLimits(images=4, context=4096)

    def __init__(self) -> None:
        self.asked = 0
        self.calls = 0

    def count(self, prompt: Prompt) -> int:
        return len(prompt.text.split())

    def render(self, prompt: Prompt) -> str:
        return prompt.text

    def generate(self, prompts: Sequence[Prompt], on_text: Any = None, *_: Any) -> list[Completion]:
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
