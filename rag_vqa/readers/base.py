"""What every reader has in common: prompts in, completions out.

Knows the Reader protocol and the checks that all readers make before they read. Does not know
models, processors or servers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from rag_vqa.errors import ReaderError, UsageError
from rag_vqa.types import Completion, ImagePart, OnText, Prompt, PromptLimits, Scalar, Thinking

ANSWER_TOKENS = 128  # longest answer, if no setting gives another
# Longest thoughts and answer together, by how much the reader should think.
_THINKING_TOKENS: Mapping[Thinking, int] = {
    "low": 1024, "on": 2048, "medium": 2048, "high": 4096,
}  # fmt: skip


class Reader(Protocol):
    """Reads prompts and writes answers.

    It owns the tokenizer, so it neutralises the untrusted parts of a prompt: none of them becomes
    a control token.
    """

    @property
    def name(self) -> str:
        """Name for records: model id @ revision, and quantization."""
        ...

    @property
    def settings(self) -> Mapping[str, Scalar]:
        """Settings besides the name that change answers: length, pixels, dtype.

        Records and cache keys contain them.
        """
        ...

    @property
    def limits(self) -> PromptLimits:
        """Most images and tokens that one prompt may hold."""
        ...

    def count(self, prompt: Prompt) -> int:
        """Number of tokens of the prompt, including image tokens and the chat template."""
        ...

    def render(self, prompt: Prompt) -> str:
        """The prompt as the model gets it, with the chat template, for people to read.

        Each image is one placeholder. Untrusted texts are shown neutralised.
        """
        ...

    def generate(
        self,
        prompts: Sequence[Prompt],
        on_text: OnText | None = None,
        max_tokens: Sequence[int | None] | None = None,
    ) -> list[Completion]:
        """One completion for each prompt, in the order of the prompts.

        A server may fail for a single row. The completion of that row has `finish` "failed".

        Args:
            on_text: called with (row, piece) while text is generated. It streams any number of
                rows, and cancels a row by returning False. A piece is "" while the model thinks.
            max_tokens: longest answer of each row in tokens, at least 1. None, or more than the
                reader's own `max_new_tokens`, means the reader's own.

        Raises:
            ReaderError: out of memory, or a prompt over the limits.
            Missing: no server, or no server with this model; no other prompt can be read either.
        """
        ...

    def choice_probability(
        self, prompts: Sequence[Prompt], choices: Sequence[str]
    ) -> list[list[float]]:
        """(prompts, choices): probability that each choice follows the prompt; rows sum to 1.

        Raises:
            UsageError: fewer than two choices, or one without tokens.
            ReaderError: as `generate`.
        """
        ...


@runtime_checkable
class ConcurrentReader(Protocol):
    """A reader whose `count` and `generate` may run in several threads at once.

    Attributes:
        parallel_calls: number of parallel calls that still raises throughput.
    """

    @property
    def parallel_calls(self) -> int: ...


def check_positive(**values: float | None) -> None:
    """Raises UsageError for a value below 1; None is allowed."""
    for name, value in values.items():
        if value is not None and value < 1:
            raise UsageError(f"{name} = {value}: give 1 or more")


def answer_length(max_new_tokens: int | None, thinks: Thinking, max_context: int) -> int:
    """Most tokens of thoughts and answer together; `max_new_tokens` itself, if it is given.

    A reader that thinks gets room for it, but at most half of the context.

    >>> answer_length(None, "off", 8192), answer_length(None, "on", 8192)
    (128, 2048)
    >>> answer_length(None, "high", 2048), answer_length(50, "high", 2048)
    (1024, 50)
    """
    if max_new_tokens is not None:
        return max_new_tokens
    if thinks == "off":
        return ANSWER_TOKENS
    return max(ANSWER_TOKENS, min(_THINKING_TOKENS[thinks], max_context // 2))


def check_max_images(value: int | None) -> None:
    """Raises UsageError for a negative number; 0 means text alone."""
    if value is not None and value < 0:
        raise UsageError(f"max_images = {value}: give 0 (text alone) or more")


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """Raises UsageError for a value that is not one of the choices."""
    if value not in choices:
        raise UsageError(f"{name} = {value!r}: take one of {', '.join(choices)}")


def prompt_limits(max_images: int | None, context: int, max_new_tokens: int) -> PromptLimits:
    """The limits of a prompt, from a context of `context` tokens shared by prompt and answer.

    `max_images` None means 1: most models were trained with one image, and no configuration states
    it; 0 means that the reader reads text alone. Raises UsageError if the answer leaves no room.
    """
    if context <= max_new_tokens:
        raise UsageError(
            f"max_new_tokens = {max_new_tokens}: leaves no room for a prompt, because both share "
            f"{context} tokens; lower it, or raise max_context if the model takes more"
        )
    return PromptLimits(1 if max_images is None else max_images, context - max_new_tokens)


def count_images(prompt: Prompt, limits: PromptLimits) -> int:
    """Number of images in the prompt. Raises ReaderError if the limits allow fewer."""
    count = sum(isinstance(part, ImagePart) for part in prompt.parts)
    if count > limits.images:
        raise ReaderError(
            f"the prompt holds {count} images and the reader takes "
            f"{limits.images}: use --max-images {count} if the model can"
        )
    return count
