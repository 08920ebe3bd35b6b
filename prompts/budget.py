"""The budget: which documents and images a prompt may hold.

Documents are taken by rank, each whole if it fits, else by the passage that was found, else not;
the question always is; whatever is not shown whole is recorded with its reason. This module knows
limits and counts. It does not know templates or tokenizers: the prompt is drawn by the `draw` it
is given, and counted by `count`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from rag_vqa.errors import BadImage, ReaderError, UsageError
from rag_vqa.types import Hit, ImagePart, ImageSource, Prompt, PromptLimits

Count = Callable[[Prompt], int]


@dataclass(frozen=True, slots=True)
class PackedDocument:
    """A hit as the prompt shows it: its text, and those of its images that fit.

    Attributes:
        images: with the numbers that they have in the document, from 1.
        by_passage: of its text the passage that was found, and no more.
    """

    hit: Hit
    images: tuple[tuple[int, ImageSource], ...] = ()
    by_passage: bool = False

    @property
    def text(self) -> str:
        """What is shown of the document's text."""
        return self.hit.passage.text if self.by_passage else self.hit.document.text


Draw = Callable[[Sequence[PackedDocument]], Prompt]


def pack_prompt(draw: Draw, hits: Sequence[Hit], limits: PromptLimits, count: Count) -> Prompt:
    """The fullest prompt within `limits`: texts by rank first, then images by rank.

    Args:
        draw: the prompt that shows these documents; with none it holds the question alone.
        hits: by rank.
        limits: of the reader.
        count: tokens of a prompt, image tokens among them.

    Returns:
        The prompt; its `dropped` names documents by id, and their images as `id#1`, `id#2`, ...
        A document that is shown by its passage is in `kept`, and in `dropped` too.

    Raises:
        UsageError: the question alone does not fit.
    """
    asked = _count_question_images(draw(()), limits)
    dropped: dict[str, str] = {}
    room = limits.images - asked
    shown = [PackedDocument(hit, tuple(enumerate(hit.document.images, 1))) for hit in hits]
    shown = _drop_unreadable_images(shown, room, count, dropped)
    shown = _cut_images(shown, room, f"the reader takes {limits.images} image(s) a prompt", dropped)
    prompt = draw(shown)
    if count(prompt) > limits.context:
        prompt = draw(_cut_to_context(draw, shown, limits.context, count, dropped))
    return replace(prompt, dropped=dropped)


def _count_question_images(alone: Prompt, limits: PromptLimits) -> int:
    images = sum(isinstance(part, ImagePart) for part in alone.parts)
    if images > limits.images:
        raise UsageError(
            f"the question has an image and the reader takes {limits.images}: "
            "leave out --image, or raise --max-images"
        )
    return images


def _drop_unreadable_images(
    shown: list[PackedDocument], room: int, count: Count, dropped: dict[str, str]
) -> list[PackedDocument]:
    """Without the images that cannot be read; those that there is no `room` for are not opened."""
    kept = []
    for each in shown:
        images = []
        for number, image in each.images:
            reason = _unreadable_reason(image, each.hit.document.id, count) if room > 0 else None
            if reason is None:
                images.append((number, image))
                room -= 1
            else:
                dropped[f"{each.hit.document.id}#{number}"] = reason
        kept.append(PackedDocument(each.hit, tuple(images)))
    return kept


def _unreadable_reason(image: ImageSource, document: str, count: Count) -> str | None:
    try:
        count(Prompt((ImagePart(image, document),)))
    except (BadImage, ReaderError) as error:
        return str(error)
    return None


def _cut_to_context(
    draw: Draw, shown: list[PackedDocument], context: int, count: Count, dropped: dict[str, str]
) -> list[PackedDocument]:
    """Texts first: by rank those that fit without their images, then the most images."""
    tokens = count(draw(()))
    if tokens > context:
        raise UsageError(
            f"the question alone takes {tokens} tokens and the reader takes {context}: "
            "shorten it, or lower --max-pixels"
        )
    longer = f"with it the prompt would be longer than the reader's {context} tokens"
    texts = [replace(each, images=()) for each in shown]
    fitting = bisect_right(range(1, len(texts) + 1), context, key=lambda n: count(draw(texts[:n])))
    kept = shown[:fitting]
    for each in shown[fitting:]:
        ways = [each, replace(each, by_passage=True)] if _has_passage(each.hit) else [each]
        texts = [replace(other, images=()) for other in kept]
        fits = (way for way in ways if count(draw([*texts, replace(way, images=())])) <= context)
        if (way := next(fits, None)) is None:
            dropped[each.hit.document.id] = longer
            continue
        if way.by_passage:
            dropped[each.hit.document.id] = f"its text but for the passage found: {longer}"
        kept.append(way)
    images = sum(len(each.images) for each in kept)
    fitting = bisect_right(
        range(1, images + 1), context, key=lambda n: count(draw(_cut_images(kept, n, longer, {})))
    )
    return _cut_images(kept, fitting, longer, dropped)


def _has_passage(hit: Hit) -> bool:
    """Whether the passage found is a shorter piece of the text, not of one for the search alone."""
    passage, document = hit.passage.text.strip(), hit.document
    return bool(passage) and not document.retrieval_text and len(passage) < len(document.text)


def _cut_images(
    shown: list[PackedDocument], room: int, reason: str, dropped: dict[str, str]
) -> list[PackedDocument]:
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
        kept.append(replace(each, images=images))
    return kept
