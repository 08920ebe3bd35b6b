"""Scores a few choices after each prompt, such as "yes" and "no", and reads a shared prefix once.

Knows logits, token ids, a model of transformers and its key-value cache. Does not know what the
choices mean, or what their probabilities are used for.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from rag_vqa.readers.local.generation import LengthBatcher
from rag_vqa.readers.prompt_encoder import PromptEncoder, prompt_images
from rag_vqa.types import ImageSource, Prompt

ProbabilityTable = list[list[float]]  # (prompts, choices)
Spellings = Sequence[tuple[int, ...]]  # token ids of each spelling of one choice
# Inputs with one value for each token, and the value of an appended token.
_PER_TOKEN = {"attention_mask": 1, "mm_token_type_ids": 0, "token_type_ids": 0}
# One key and one value for each token, so that rows can share them. Recurrent states cannot be.
_SHAREABLE_LAYERS = (DynamicLayer, DynamicSlidingWindowLayer)


class ChoiceScorer:
    """Scores choices with one model.

    A prefix that neighbouring prompts share, images included, is read once if that saves more than
    one prompt. Every prompt is read whole if the model's cache holds more than attention, or if
    images follow the first difference and the model does not take each image as one array
    (`PromptEncoder.has_independent_images`).

    Args:
        model: a model of transformers.
        encoder: encodes its prompts.
        make_inputs: from prompts to the model's inputs, on its device; refuses prompts over the
            limits.
        batcher: splits rows into batches.
        pad: token id for padding.
    """

    def __init__(
        self,
        model: Any,
        encoder: PromptEncoder,
        make_inputs: Callable[[Sequence[Prompt]], Any],
        batcher: LengthBatcher,
        pad: int,
    ) -> None:
        self._model = model
        self._encoder = encoder
        self._make_inputs = make_inputs
        self._batcher = batcher
        self._pad = pad

    def probabilities(
        self, prompts: Sequence[Prompt], choices: Sequence[Spellings]
    ) -> ProbabilityTable:
        """(prompts, choices): rows sum to 1. A choice is given as token ids of its spellings."""
        tokens = self._encoder.ids(prompts)
        marked = self._encoder.mark_images(prompts, tokens)
        joinable = [
            self._encoder.has_independent_images or one == other
            for one, other in pairwise(map(prompt_images, prompts))
        ]
        table: dict[int, list[float]] = {}
        for group in group_by_prefix(marked, joinable):
            table |= self._score_with_prefix(group, prompts, tokens, marked, choices)
        others = [row for row in range(len(prompts)) if row not in table]
        table |= self._score_whole(others, prompts, tokens, choices)
        return [table[row] for row in range(len(prompts))]

    def _score_whole(
        self,
        rows: Sequence[int],
        prompts: Sequence[Prompt],
        tokens: Sequence[list[int]],
        choices: Sequence[Spellings],
    ) -> dict[int, list[float]]:
        """From row to probabilities, each prompt read whole."""

        def score(batch: list[int]) -> ProbabilityTable:
            inputs = self._make_inputs([prompts[rows[n]] for n in batch])
            return _choice_probabilities(
                lambda chosen: self._next_token_logprobs(append_tokens(inputs, chosen)), choices
            )

        lengths = [len(tokens[row]) for row in rows]
        return dict(zip(rows, self._batcher.run(lengths, score), strict=True))

    def _score_with_prefix(
        self,
        group: range,
        prompts: Sequence[Prompt],
        tokens: Sequence[list[int]],
        marked: Sequence[list[int]],
        choices: Sequence[Spellings],
    ) -> dict[int, list[float]]:
        """From row to probabilities, the shared prefix read once; {} if that saves nothing."""
        length = shared_prefix_length([marked[row] for row in group])
        longest = max(group, key=lambda row: len(tokens[row]))
        shared_images = len({mark for mark in marked[longest][:length] if mark < 0})
        own_images = {row: prompt_images(prompts[row])[shared_images:] for row in group}
        saves = length * (len(group) - 1) > len(tokens[longest])
        if not saves or (any(own_images.values()) and not self._encoder.has_independent_images):
            return {}
        inputs = self._make_inputs([prompts[longest]])
        prefix = PrefixCache(
            self._model,
            prefix_inputs(inputs, length, shared_images if own_images[longest] else None),
        )
        if not prefix.shareable:
            return {}

        def score(batch: list[int]) -> ProbabilityTable:
            rows = [group[n] for n in batch]
            pixels = self._pixels([image for row in rows for image in own_images[row]])

            def next_logprobs(chosen: tuple[int, ...]) -> torch.Tensor:
                suffixes = [[*tokens[row][length:], *chosen] for row in rows]
                return prefix.next_token_logprobs(suffixes, self._pad, pixels)

            return _choice_probabilities(next_logprobs, choices)

        lengths = [len(tokens[row]) - length for row in group]
        return dict(zip(group, self._batcher.run(lengths, score), strict=True))

    def _pixels(self, images: Sequence[ImageSource]) -> torch.Tensor | None:
        """(images, C, H, W) for the model; None without images. Needs `has_independent_images`."""
        if not images:
            return None
        return self._encoder.pixels(images).to(self._model.device, dtype=self._model.dtype)

    def _next_token_logprobs(self, inputs: Mapping[str, Any]) -> torch.Tensor:
        """(B, V): log probability of the next token. `generate` knows each family's positions."""
        out = self._model.generate(
            **inputs, max_new_tokens=1, output_logits=True, return_dict_in_generate=True
        )
        return torch.as_tensor(out.logits[0]).float().log_softmax(dim=-1)


def _choice_probabilities(
    next_logprobs: Callable[[tuple[int, ...]], torch.Tensor], choices: Sequence[Spellings]
) -> ProbabilityTable:
    return list(score_choices(next_logprobs, choices).softmax(dim=-1).tolist())


def score_choices(
    next_logprobs: Callable[[tuple[int, ...]], torch.Tensor], choices: Sequence[Spellings]
) -> torch.Tensor:
    """(B, choices): log of the summed probability of the spellings of each choice.

    A spelling's probability is the product over all its tokens, without a correction for length.

    Args:
        next_logprobs: from tokens that are appended to every row (often none) to the log
            probability of the next one, (B, V).
        choices: token ids of each spelling. A prefix that several spellings share is read once.
    """
    spellings = [spelling for choice in choices for spelling in choice]
    prefixes = {spelling[:n] for spelling in spellings for n in range(len(spelling))}
    scores = {prefix: next_logprobs(prefix) for prefix in sorted(prefixes)}

    def score(spelling: tuple[int, ...]) -> torch.Tensor:
        tokens = [scores[spelling[:n]][:, token] for n, token in enumerate(spelling)]
        return torch.stack(tokens).sum(dim=0)

    columns = [torch.stack(list(map(score, choice))).logsumexp(dim=0) for choice in choices]
    return torch.stack(columns, dim=1)


def append_tokens(inputs: Mapping[str, Any], ids: Sequence[int]) -> dict[str, Any]:
    """The inputs with the same tokens after every row: (B, L) becomes (B, L + len(ids))."""
    new = dict(inputs)
    if not ids:
        return new
    old = inputs["input_ids"]
    tail = torch.tensor([ids], device=old.device).expand(len(old), -1)
    new["input_ids"] = torch.cat([old, tail.to(old.dtype)], dim=1)
    for key, value in _PER_TOKEN.items():
        if key in inputs:
            new[key] = torch.cat([inputs[key], torch.full_like(tail, value)], dim=1)
    return new


def group_by_prefix(rows: Sequence[list[int]], joinable: Sequence[bool]) -> list[range]:
    """Groups of neighbouring rows that share a prefix.

    A group ends where `joinable` is False, and where two neighbours share less than half of the
    tokens that one of them shares with its other neighbour.

    Args:
        rows: token ids of each row.
        joinable: for each row but the last, whether the next one may join its group.

    >>> group_by_prefix([[1, 2, 3, 4], [1, 2, 3, 5], [1, 7, 8], [1, 7, 9]], [True] * 3)
    [range(0, 2), range(2, 4)]
    """
    pairs = zip(pairwise(rows), joinable, strict=True)
    shared = [0, *(_common_length(a, b) if may_join else 0 for (a, b), may_join in pairs), 0]
    starts = [0]
    for row in range(1, len(rows)):
        most = max(shared[row - 1 : row + 2])  # shared[row]: this row and the one before
        if not shared[row] or 2 * shared[row] < most:
            starts.append(row)
    bounds = [*starts, len(rows)] if rows else []
    return [range(a, b) for a, b in pairwise(bounds)]


def shared_prefix_length(rows: Sequence[list[int]]) -> int:
    """Number of tokens in the prefix of all rows; at least one token of each row stays outside.

    >>> shared_prefix_length([[1, 2, 3], [1, 2, 4], [1, 2]])
    1
    """
    return min(_common_length(min(rows), max(rows)), min(map(len, rows)) - 1)


def _common_length(one: list[int], other: list[int]) -> int:
    differing = (n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return next(differing, min(len(one), len(other)))


def prefix_inputs(
    inputs: Mapping[str, Any], length: int, images: int | None = None
) -> dict[str, Any]:
    """The first `length` tokens of the inputs of one row, (1, L), with all or some of its images.

    Args:
        images: keep this many images, from the first; None keeps all. Needs
            `PromptEncoder.has_independent_images`.
    """
    shape = inputs["input_ids"].shape
    prefix = {
        key: value[:, :length] if value.shape == shape else value for key, value in inputs.items()
    }
    if images is not None and "pixel_values" in prefix:
        prefix["pixel_values"] = prefix["pixel_values"][:images]
        if not images:
            del prefix["pixel_values"]
    return prefix


class PrefixCache:
    """The keys and values of a prefix, computed once.

    `generate` computes them, because it knows each family's positions. Families with M-RoPE keep
    the position offset of the last images that they read and add it to all later positions. The
    model must therefore read nothing else between the prefix and its continuations.

    Args:
        model: a model of transformers.
        inputs: inputs of one row with its images: input_ids (1, P), …
    """

    def __init__(self, model: Any, inputs: Mapping[str, Any]) -> None:
        output = model.generate(**inputs, max_new_tokens=1, return_dict_in_generate=True)
        self._model = model
        self._cache = output.past_key_values

    @property
    def shareable(self) -> bool:
        """True if rows can continue from it: the cache holds only attention, full or windowed."""
        cache = self._cache
        return isinstance(cache, DynamicCache) and all(
            type(layer) in _SHAREABLE_LAYERS for layer in cache.layers
        )

    def next_token_logprobs(
        self, rows: Sequence[list[int]], pad: int, pixels: torch.Tensor | None = None
    ) -> torch.Tensor:
        """(B, V): log probability of the token after each row, which continues the prefix.

        Rows are padded on the right, where none of their tokens attends: no mask is needed.

        Args:
            rows: token ids of each row after the prefix, one or more.
            pad: token id for padding.
            pixels: the rows' own images, row after row (`PromptEncoder.has_independent_images`).
        """
        lengths = [len(row) for row in rows]
        ids = [[*row, *[pad] * (max(lengths) - len(row))] for row in rows]
        last = sorted({length - 1 for length in lengths})
        device = self._model.device
        images = {} if pixels is None else {"pixel_values": pixels}
        logits = self._model(
            **images,
            input_ids=torch.tensor(ids, device=device),
            past_key_values=self._expand_cache(len(rows)),
            use_cache=True,
            logits_to_keep=torch.tensor(last, device=device),
        ).logits  # (B, different lengths, V)
        places = torch.tensor([last.index(length - 1) for length in lengths], device=device)
        ends = logits[torch.arange(len(rows), device=logits.device), places.to(logits.device)]
        return torch.as_tensor(ends).float().log_softmax(dim=-1)

    def _expand_cache(self, rows: int) -> Any:
        """A cache of this many rows. New tokens go into copies, so the prefix stays unchanged."""
        cache = copy.copy(self._cache)
        cache.layers = [copy.copy(layer) for layer in self._cache.layers]
        for layer in cache.layers:
            layer.keys = layer.keys.expand(rows, -1, -1, -1)
            layer.values = layer.values.expand(rows, -1, -1, -1)
        return cache
