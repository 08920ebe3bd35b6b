"""What every reader has in common: prompts in, completions out.

Knows the Reader protocol and the checks that all readers make before they read. Does not know
models, processors or servers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from rag_vqa.errors import ReaderError, UsageError
from rag_vqa.types import Completion, ImagePart, OnText, Prompt, PromptLimits, Scalar


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
    def limits(self) -> PromptLimits:
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
class ConcurrentReader(Protocol):
    """A reader whose `count` and `generate` may run in several threads at once.

    Attributes:
        at_once: how many of them gain by it.
    """

    @property
    def at_once(self) -> int: ...


def check_positive(**values: float | None) -> None:
    """Raises UsageError for one that is given and below 1."""
    for name, value in values.items():
        if value is not None and value < 1:
            raise UsageError(f"{name} = {value}: give 1 or more")


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """Raises UsageError for a value that is none of them."""
    if value not in choices:
        raise UsageError(f"{name} = {value!r}: take one of {', '.join(choices)}")


def prompt_limits(max_images: int | None, context: int, max_new_tokens: int) -> PromptLimits:
    """The limits of a prompt; `context` tokens are for it and its answer.

    `max_images` None is 1: most models were trained so, and none says it. Raises UsageError where
    there is no room for a prompt.
    """
    if context <= max_new_tokens:
        raise UsageError(
            f"max_new_tokens = {max_new_tokens}: leaves no room for a prompt, for both share "
            f"{context} tokens; lower it, or raise max_context if the model takes more"
        )
    return PromptLimits(max_images or 1, context - max_new_tokens)


def count_images(prompt: Prompt, most: PromptLimits) -> int:
    """How many pictures the prompt holds. Raises ReaderError if these are too many."""
    pictures = sum(isinstance(part, ImagePart) for part in prompt.parts)
    if pictures > most.images:
        raise ReaderError(
            f"the prompt holds {pictures} images and the reader takes "
            f"{most.images}: use --max-images {pictures} if the model can"
        )
    return pictures
