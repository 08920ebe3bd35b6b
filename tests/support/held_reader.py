"""A reader that waits until the test lets it go on: by events, without sleeps."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

from rag_vqa.types import Completion, Prompt, PromptLimits

OnText = Callable[[int, str], bool | None]
PATIENCE = 20.0  # seconds after which a test has failed


class HeldReader:
    """Writes "word 0 word 1 …", all rows in step, as a model does. Each step waits until it is let
    through; a batch whose rows are all over ends at once.

    Attributes:
        batches: the questions of each batch.
        fails: a prompt that holds this text fails the batch, before a word or after the first.
    """

    name = "held reader"
    settings: Mapping[str, int] = {"max_new_tokens": 4}
    limits = PromptLimits(images=4, context=4096)

    def __init__(self, words: int = 4) -> None:
        self.words = words
        self.batches: list[list[str]] = []
        self.parallel_calls = 1
        self.fails = ""
        self.fails_late = ""
        self.steps = threading.Semaphore(0)
        self.begun = threading.Semaphore(0)

    def let(self, steps: int = 1000) -> None:
        """Allow this many further steps."""
        self.steps.release(steps)

    def begins(self) -> None:
        """Wait until a batch has begun. Not in the event loop's thread."""
        assert self.begun.acquire(timeout=PATIENCE)

    def count(self, prompt: Prompt) -> int:
        return len(prompt.text.split())

    def render(self, prompt: Prompt) -> str:
        return prompt.text

    def generate(
        self,
        prompts: Sequence[Prompt],
        on_text: OnText | None = None,
        max_tokens: Sequence[int | None] | None = None,
    ) -> list[Completion]:
        self.batches.append([_question(prompt) for prompt in prompts])
        self.begun.release()
        self._fail(self.fails, prompts)
        most = [min(n or self.words, self.words) for n in max_tokens or [None] * len(prompts)]
        texts, finish = [""] * len(prompts), [""] * len(prompts)
        for step in range(self.words):
            if all(finish):
                break
            assert self.steps.acquire(timeout=PATIENCE)
            for row in range(len(prompts)):
                if finish[row]:
                    continue
                piece = f" word {step}" if step else "word 0"
                texts[row] += piece
                if on_text is not None and on_text(row, piece) is False:
                    finish[row] = "cancelled"
                elif step + 1 == most[row]:
                    finish[row] = "length"
            self._fail(self.fails_late, prompts)
        return [
            Completion(text, 1, len(text.split()) // 2, end or "stop")
            for text, end in zip(texts, finish, strict=True)
        ]

    def choice_probability(
        self, prompts: Sequence[Prompt], choices: Sequence[str]
    ) -> list[list[float]]:
        return [[1.0, *[0.0] * (len(choices) - 1)] for _ in prompts]

    @staticmethod
    def _fail(on: str, prompts: Sequence[Prompt]) -> None:
        if on and any(on in prompt.text for prompt in prompts):
            raise ValueError(f"a secret question: {on}")


def _question(prompt: Prompt) -> str:
    return prompt.text.strip().splitlines()[-1].removeprefix("Question: ")
