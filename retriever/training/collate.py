"""Pairs → a Batch: pictures opened once each, texts as tokens, ids as numbers.

It knows the processor of the retriever and what a batch looks like. It does not know sources, and
leaves no pair out: a picture that cannot be opened is an error with the name of its pair.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from PIL.Image import Image
from torch import Tensor
from torch.nn import functional as F

from rag_vqa import images
from rag_vqa.errors import BadInput, RagVqaError, UsageError
from rag_vqa.retriever.opening import Opening
from rag_vqa.retriever.processor import RetProcessor
from rag_vqa.retriever.training.batch import Batch, Item, Pair, number

# Of tokens: few shapes, because kernels are compiled or chosen anew for each.
ROUND = 16

Opened = dict[str | bytes, Image]  # pictures of a batch, small, by path or by content


def collate(pairs: Sequence[Pair], processor: RetProcessor, skipped: Sequence[str] = ()) -> Batch:
    """The pairs' queries, their own passages in the same order, then all negatives.

    The query side has no text_mask, as in the release: an absent text is read as its marks.

    Raises:
        BadInput: a picture that cannot be opened; a pair whose passage is not among its positives.
        UsageError: pairs with different numbers of negatives: ranks would differ in their shapes.
    """
    if len({len(pair.negatives) for pair in pairs}) != 1:
        raise UsageError("pairs of one batch need the same number of negatives, and at least one.")
    for pair in pairs:
        if pair.passage.id not in pair.positives:
            raise BadInput(f"{pair.name}: its passage is not among what is right for it.")
    seen: Opened = {}
    pairs = [opened(pair, processor, seen) for pair in pairs]
    negatives = [item for pair in pairs for item in pair.negatives]
    passages = [*(pair.passage for pair in pairs), *negatives]
    query = _tensors([pair.query for pair in pairs], processor)
    query.pop("text_mask")
    most = max(len(pair.positives) for pair in pairs)
    right = [[number(one) for one in pair.positives] for pair in pairs]
    return Batch(
        query=query,
        passage=_tensors(passages, processor),
        passage_ids=torch.tensor([number(item.id) for item in passages]),
        positives=torch.tensor([row + row[:1] * (most - len(row)) for row in right]),
        names=tuple(pair.name for pair in pairs),
        skipped=tuple(skipped),
    )


def opened(pair: Pair, processor: RetProcessor, seen: Opened) -> Pair:
    """The pair with its pictures decoded and small; one that was `seen` is the same object. What
    comes decoded stays as it is: the processor sees to that.

    Raises BadInput: one cannot be opened, with the name of the pair.
    """
    opening = Opening.of(processor.image_processor, exif=not processor.parity)

    def item(given: Item) -> Item:
        if given.image is None or given.image == "" or isinstance(given.image, Image):
            return given
        key = given.image if isinstance(given.image, bytes) else str(given.image)
        if key not in seen:
            seen[key] = opening.small(images.load(given.image, exif=opening.exif))
        return replace(given, image=seen[key])

    try:
        return replace(
            pair,
            query=item(pair.query),
            passage=item(pair.passage),
            negatives=tuple(item(one) for one in pair.negatives),
        )
    except RagVqaError as error:
        raise BadInput(f"{pair.name}: {error}") from error


def _tensors(items: Sequence[Item], processor: RetProcessor) -> dict[str, Tensor]:
    inputs = processor([item.text for item in items], [item.image for item in items])
    given: Mapping[str, Tensor | None] = vars(inputs)
    tensors = {name: value for name, value in given.items() if value is not None}
    length = tensors["input_ids"].shape[1]
    more = min(-(-length // ROUND) * ROUND, processor.window) - length
    padding = {"input_ids": processor.tokenizer.pad_token_id, "attention_mask": 0}
    for name, value in padding.items():
        tensors[name] = F.pad(tensors[name], (0, more), value=value)
    return tensors
