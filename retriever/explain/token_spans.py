"""Token spans: where the tokens of a text and of a picture lie, as characters and as boxes.

Knows a fast tokenizer's offsets, and how a CLIP image processor resizes and crops. Does not know
models or weights, beyond putting a weight to each span.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from rag_vqa.retriever.image_workers import ImageTransform

Box: TypeAlias = tuple[float, float, float, float]  # x0, y0, x1, y1
_WORD = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class Span:
    """A word or punctuation mark: characters [start, end) of the encoded text, and its weight."""

    text: str
    start: int
    end: int
    weight: float


@dataclass(frozen=True, slots=True)
class Patch:
    """A patch of a picture: its box in 0..1 of the whole picture, upright, and its weight."""

    box: Box
    weight: float


def locate_words(tokenizer: Any, text: str, window: int) -> tuple[list[tuple[int, int]], list[int]]:
    """Words (runs of letters and digits) and marks of a text, and which one each token is part of.

    Args:
        window: number of tokens that are read; words that are cut off are left out.

    Returns: characters [start, end) of the W words that are read, and for each of L tokens its
        word, 0..W-1, or -1 for a mark of the tokenizer's own.
    """
    encoded = tokenizer(text, truncation=True, max_length=window, return_offsets_mapping=True)
    words = [word.span() for word in _WORD.finditer(text)]
    starts = [start for start, _ in words]
    owners = []
    for start, end in encoded["offset_mapping"]:
        piece = text[start:end].lstrip()
        owners.append(bisect_right(starts, end - len(piece)) - 1 if piece else -1)
    order = {word: place for place, word in enumerate(sorted({*owners} - {-1}))}
    return [words[word] for word in order], [order.get(word, -1) for word in owners]


def word_spans(
    tokenizer: Any, text: str, window: int, weights: Sequence[float]
) -> tuple[Span, ...]:
    """Words and marks of a text, each with the sum of its tokens' weights.

    Args:
        window: as in `locate_words`.
        weights: (L), of each token, the tokenizer's own marks among them; () of an absent text.
    """
    if not len(weights):
        return ()
    places, owners = locate_words(tokenizer, text, window)
    sums = [0.0] * len(places)
    for word, weight in zip(owners, weights, strict=True):
        if word >= 0:
            sums[word] += weight
    return tuple(
        Span(text[start:end], start, end, weight)
        for (start, end), weight in zip(places, sums, strict=True)
    )


def image_patches(
    transform: ImageTransform,
    picture: tuple[int, int],
    pixels: tuple[int, int],
    patch: int,
    weights: Sequence[float],
) -> tuple[Patch, ...]:
    """The patches of a picture that lie on it, row by row.

    Args:
        transform: how the picture was made small.
        picture: its width and height before that.
        pixels: width and height of what the tower reads, the middle of the small picture.
        patch: width and height of a patch in pixels.
        weights: (1 + patches), of the class token and each patch; () of an absent picture.
    """
    if not len(weights):
        return ()
    resized = transform.resized_size(*picture)
    columns, rows = (side // patch for side in pixels)
    patches = []
    for number, weight in zip(range(rows * columns), weights[1:], strict=True):
        corner = number % columns, number // columns
        (x0, x1), (y0, y1) = (
            _as_fraction((full - side) // 2 + at * patch, patch, full)
            for at, side, full in zip(corner, pixels, resized, strict=True)
        )
        if x0 < x1 and y0 < y1:  # otherwise it lies on padding
            patches.append(Patch((x0, y0, x1, y1), weight))
    return tuple(patches)


def _as_fraction(start: int, length: int, whole: int) -> tuple[float, float]:
    """[start, start + length) as fractions of the whole, cut to 0..1."""
    return max(0.0, start / whole), min(1.0, (start + length) / whole)
