"""What every reader refuses before it reads, in the same words. It knows limits, no models."""

from __future__ import annotations

from collections.abc import Sequence

from rag_vqa.errors import ReaderError, UsageError
from rag_vqa.limits import Limits
from rag_vqa.types import ImagePart, Prompt


def check_positive(**values: float | None) -> None:
    """Raises UsageError for one that is given and below 1."""
    for name, value in values.items():
        if value is not None and value < 1:
            raise UsageError(f"{name} = {value}: give 1 or more")


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """Raises UsageError for a value that is none of them."""
    if value not in choices:
        raise UsageError(f"{name} = {value!r}: take one of {', '.join(choices)}")


def limits(max_images: int | None, context: int, max_new_tokens: int) -> Limits:
    """The limits of a prompt; `context` tokens are for it and its answer.

    `max_images` None is 1: most models were trained so, and none says it. Raises UsageError where
    there is no room for a prompt.
    """
    if context <= max_new_tokens:
        raise UsageError(
            f"max_new_tokens = {max_new_tokens}: leaves no room for a prompt, for both share "
            f"{context} tokens; lower it, or raise max_context if the model takes more"
        )
    return Limits(max_images or 1, context - max_new_tokens)


def images_of(prompt: Prompt, most: Limits) -> int:
    """How many pictures the prompt holds. Raises ReaderError if these are too many."""
    pictures = sum(isinstance(part, ImagePart) for part in prompt.parts)
    if pictures > most.images:
        raise ReaderError(
            f"the prompt holds {pictures} images and the reader takes "
            f"{most.images}: use --max-images {pictures} if the model can"
        )
    return pictures
