"""The prompt's budget: which documents and images fit into the reader's limits.

Documents are taken by rank: whole if they fit, else only the passage that was found, else not at
all. The question is always shown. Everything that is left out is recorded with the reason.

Knows limits and counts. Does not know templates or tokenizers: the caller's `draw` makes a prompt,
and its `count` counts the tokens.
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
    """A hit as the prompt shows it: its text, and the images that fit.

    Attributes:
        images: (number in the document, image); numbers start at 1.
        passage_only: only the passage that was found is shown, not the whole text.
    """

    hit: Hit
    images: tuple[tuple[int, ImageSource], ...] = ()
    passage_only: bool = False

    @property
    def text(self) -> str:
        """The part of the document's text that is shown."""
        return self.hit.passage.text if self.passage_only else self.hit.document.text


Draw = Callable[[Sequence[PackedDocument]], Prompt]


def pack_prompt(draw: Draw, hits: Sequence[Hit], limits: PromptLimits, count: Count) -> Prompt:
    """The fullest prompt within `limits`: texts by rank first, then images by rank.

    Args:
        draw: from documents to the prompt that shows them; without any, to the question alone.
        hits: by rank, best first.
        limits: those of the reader.
        count: number of tokens of a prompt, including image tokens.

    Returns:
        The prompt. Its `dropped` names documents by id, and their images as `id#1`, `id#2`, ...
        A document of which only a passage is shown is both in `kept` and in `dropped`.

    Raises:
        UsageError: the question alone does not fit.
    """
    dropped: dict[str, str] = {}
    room = limits.images - _count_question_images(draw(()), limits)
    packed = [PackedDocument(hit, tuple(enumerate(hit.document.images, 1))) for hit in hits]
    packed = _drop_unreadable_images(packed, room, count, dropped)
    reason = f"the reader takes {limits.images} image(s) a prompt"
    packed = _cut_images(packed, room, reason, dropped)
    prompt = draw(packed)
    if count(prompt) > limits.context:
        prompt = draw(_cut_to_context(draw, packed, limits.context, count, dropped))
    return replace(prompt, dropped=dropped)


def _count_question_images(question: Prompt, limits: PromptLimits) -> int:
    images = sum(isinstance(part, ImagePart) for part in question.parts)
    if images > limits.images:
        raise UsageError(
            f"the question has an image and the reader takes {limits.images}: "
            "leave out --image, or raise --max-images"
        )
    return images


def _drop_unreadable_images(
    packed: list[PackedDocument], room: int, count: Count, dropped: dict[str, str]
) -> list[PackedDocument]:
    """The documents without unreadable images. Images beyond the first `room` are not opened."""
    kept = []
    for each in packed:
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
    draw: Draw, packed: list[PackedDocument], context: int, count: Count, dropped: dict[str, str]
) -> list[PackedDocument]:
    """The texts that fit without their images, by rank; then as many images as fit."""
    tokens = count(draw(()))
    if tokens > context:
        raise UsageError(
            f"the question alone takes {tokens} tokens and the reader takes {context}: "
            "shorten it, or lower --max-pixels"
        )
    longer = f"with it the prompt would be longer than the reader's {context} tokens"
    texts = [replace(each, images=()) for each in packed]
    fitting = bisect_right(range(1, len(texts) + 1), context, key=lambda n: count(draw(texts[:n])))
    kept = packed[:fitting]
    for each in packed[fitting:]:
        passage = [replace(each, passage_only=True)] if _has_passage(each.hit) else []
        texts = [replace(other, images=()) for other in kept]
        fits = (
            version
            for version in [each, *passage]
            if count(draw([*texts, replace(version, images=())])) <= context
        )
        if (version := next(fits, None)) is None:
            dropped[each.hit.document.id] = longer
            continue
        if version.passage_only:
            dropped[each.hit.document.id] = f"its text except the passage found: {longer}"
        kept.append(version)
    images = sum(len(each.images) for each in kept)
    fitting = bisect_right(
        range(1, images + 1), context, key=lambda n: count(draw(_cut_images(kept, n, longer, {})))
    )
    return _cut_images(kept, fitting, longer, dropped)


def _has_passage(hit: Hit) -> bool:
    """True if the passage found is a shorter piece of the text, not of the `retrieval_text`."""
    passage, document = hit.passage.text.strip(), hit.document
    return bool(passage) and not document.retrieval_text and len(passage) < len(document.text)


def _cut_images(
    packed: list[PackedDocument], room: int, reason: str, dropped: dict[str, str]
) -> list[PackedDocument]:
    """Keeps the first `room` images, by rank. A document without text and images is dropped."""
    kept = []
    for each in packed:
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
