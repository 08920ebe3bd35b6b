"""The budget: which documents and images a prompt may hold.

Whole documents go, lowest rank first; the question never does; each drop is recorded with its
reason. This module knows limits and counts. It does not know templates or tokenizers: the prompt
is drawn by the `draw` it is given, and counted by `count`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from rag_vqa.errors import BadImage, ReaderError, UsageError
from rag_vqa.limits import Limits
from rag_vqa.types import Hit, ImagePart, ImageSource, Prompt

Count = Callable[[Prompt], int]


@dataclass(frozen=True, slots=True)
class Shown:
    """A hit as the prompt shows it: all of its text, and those of its images that fit.

    `images` have the numbers that they have in the document, from 1.
    """

    hit: Hit
    images: tuple[tuple[int, ImageSource], ...] = ()


Draw = Callable[[Sequence[Shown]], Prompt]


def fit(draw: Draw, hits: Sequence[Hit], limits: Limits, count: Count) -> Prompt:
    """The fullest prompt within `limits`: texts by rank first, then images by rank.

    Args:
        draw: the prompt that shows these documents; with none it holds the question alone.
        hits: by rank.
        limits: of the reader.
        count: tokens of a prompt, image tokens among them.

    Returns:
        The prompt; its `dropped` names documents by id, and their images as `id#1`, `id#2`, ...

    Raises:
        UsageError: the question alone does not fit.
    """
    asked = _question_images(draw(()), limits)
    dropped: dict[str, str] = {}
    room = limits.images - asked
    shown = [Shown(hit, tuple(enumerate(hit.document.images, 1))) for hit in hits]
    shown = _readable(shown, room, count, dropped)
    shown = _cut_images(shown, room, f"the reader takes {limits.images} image(s) a prompt", dropped)
    prompt = draw(shown)
    if count(prompt) > limits.context:
        prompt = draw(_cut_to_context(draw, shown, limits.context, count, dropped))
    return replace(prompt, dropped=dropped)


def _question_images(alone: Prompt, limits: Limits) -> int:
    images = sum(isinstance(part, ImagePart) for part in alone.parts)
    if images > limits.images:
        raise UsageError(
            f"the question has an image and the reader takes {limits.images}: "
            "leave out --image, or raise --max-images"
        )
    return images


def _readable(shown: list[Shown], room: int, count: Count, dropped: dict[str, str]) -> list[Shown]:
    """Without the images that cannot be read; those that there is no `room` for are not opened."""
    kept = []
    for each in shown:
        images = []
        for number, image in each.images:
            reason = _refusal(image, each.hit.document.id, count) if room > 0 else None
            if reason is None:
                images.append((number, image))
                room -= 1
            else:
                dropped[f"{each.hit.document.id}#{number}"] = reason
        kept.append(Shown(each.hit, tuple(images)))
    return kept


def _refusal(image: ImageSource, document: str, count: Count) -> str | None:
    try:
        count(Prompt((ImagePart(image, document),)))
    except (BadImage, ReaderError) as error:
        return str(error)
    return None


def _cut_to_context(
    draw: Draw, shown: list[Shown], context: int, count: Count, dropped: dict[str, str]
) -> list[Shown]:
    """Texts first: the most documents that fit without their images, then the most images."""
    tokens = count(draw(()))
    if tokens > context:
        raise UsageError(
            f"the question alone takes {tokens} tokens and the reader takes {context}: "
            "shorten it, or lower --max-pixels"
        )
    reason = f"the prompt would be longer than the reader's {context} tokens"
    texts = [Shown(each.hit) for each in shown]
    fitting = bisect_right(range(1, len(texts) + 1), context, key=lambda n: count(draw(texts[:n])))
    dropped |= {each.hit.document.id: reason for each in shown[fitting:]}
    shown = shown[:fitting]
    images = sum(len(each.images) for each in shown)
    fitting = bisect_right(
        range(1, images + 1), context, key=lambda n: count(draw(_cut_images(shown, n, reason, {})))
    )
    return _cut_images(shown, fitting, reason, dropped)


def _cut_images(shown: list[Shown], room: int, reason: str, dropped: dict[str, str]) -> list[Shown]:
    """The first `room` images, by rank; a document left with nothing goes altogether."""
    kept = []
    for each in shown:
        document = each.hit.document
        images = each.images[:room]
        room -= len(images)
        if not images and not document.text.strip():
            why = reason if each.images else "its images cannot be read"
            lacks = f"no text, and {why}" if document.images else "it has neither text nor image"
            dropped[document.id] = lacks
            continue
        for number, _ in each.images[len(images) :]:
            dropped[f"{document.id}#{number}"] = reason
        kept.append(Shown(each.hit, images))
    return kept
