"""What the rest of the program knows of a reader: prompts in, completions out.

It does not know models, processors or servers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from rag_vqa.limits import Limits
from rag_vqa.types import Completion, Prompt, Scalar

# (row, piece): pieces of one row join to its completion's text; returning False cancels that row.
OnText = Callable[[int, str], bool | None]


class Reader(Protocol):
    """Reads prompts and writes answers. It owns the tokenizer: untrusted parts of a prompt never
    become control tokens of it."""

    @property
    def name(self) -> str:
        """For records: model id @ revision, and quantization."""
        ...

    @property
    def settings(self) -> Mapping[str, Scalar]:
        """What else its answers depend on: length, pixels, dtype. For records and cache keys."""
        ...

    @property
    def limits(self) -> Limits:
        """The most that one prompt may hold."""
        ...

    def count(self, prompt: Prompt) -> int:
        """Tokens that the prompt takes, image tokens and chat template among them."""
        ...

    def render(self, prompt: Prompt) -> str:
        """The prompt as the model is given it, chat template included; for people to read.

        Each picture is one placeholder, and untrusted texts are as they were made harmless.
        """
        ...

    def generate(
        self,
        prompts: Sequence[Prompt],
        on_text: OnText | None = None,
        max_tokens: Sequence[int | None] | None = None,
    ) -> list[Completion]:
        """One completion for each prompt, in their order.

        A server may fail for one row alone: its completion then has `finish` "failed".

        Args:
            max_tokens: of each row's answer, at least 1; None, and more than the reader's own
                length, mean that one.

        Raises:
            ReaderError: out of memory, or a prompt over the limits.
            Missing: no server, or none that serves the model: no other prompt can be read either.
        """
        ...

    def choice_probability(
        self, prompts: Sequence[Prompt], choices: Sequence[str]
    ) -> list[list[float]]:
        """(prompts, choices): how likely each choice follows; a row sums to 1.

        Raises:
            UsageError: fewer than two choices, or one without tokens.
            ReaderError: as `generate`.
        """
        ...


@runtime_checkable
class ReadsAtOnce(Protocol):
    """A reader whose `count` and `generate` may run in several threads at once.

    Attributes:
        at_once: how many of them gain by it.
    """

    @property
    def at_once(self) -> int: ...
