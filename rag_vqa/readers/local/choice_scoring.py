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

from rag_vqa.readers.local.batching import LengthBatcher
from rag_vqa.readers.prompt_encoder import PromptEncoder, prompt_images
from rag_vqa.types import ImageSource, Prompt

ProbabilityTable = list[list[float]]  # (prompts, choices)
Spellings = Sequence[tuple[int, ...]]  # token ids of each spelling of one choice
# Inputs that hold one value for each token, and what it is for a token that is appended.
_PER_TOKEN = {"attention_mask": 1, "mm_token_type_ids": 0, "token_type_ids": 0}
# One key and one value a token, so that rows can share them. Recurrent states are another matter.
_SHAREABLE_LAYERS = (DynamicLayer, DynamicSlidingWindowLayer)


class ChoiceScorer:
    """Weighs choices with one model.

    What neighbouring prompts begin with, pictures included, is read once where that spares more
    than one prompt. Every prompt is read whole by a model whose cache is not attention's alone,
    and where pictures stand behind the first difference, unless the model takes each picture as
    one array alone (`PromptEncoder.one_each`).

    Args:
        model: of transformers.
        encoder: of its prompts.
        inputs: from prompts to the model's inputs, on its device; refuses what is over the limits.
        batches: how many rows are read at once.
        pad: id to fill up with.
    """

    def __init__(
        self,
        model: Any,
        encoder: PromptEncoder,
        inputs: Callable[[Sequence[Prompt]], Any],
        batches: LengthBatcher,
        pad: int,
    ) -> None:
        self._model = model
        self._encoder = encoder
        self._inputs = inputs
        self._batches = batches
        self._pad = pad

    def probabilities(
        self, prompts: Sequence[Prompt], choices: Sequence[Spellings]
    ) -> ProbabilityTable:
        """(prompts, choices): each row sums to 1; choices are token ids of their spellings."""
        tokens = self._encoder.ids(prompts)
        apart = self._encoder.mark_images(prompts, tokens)
        joined = [
            self._encoder.has_independent_images or one == other
            for one, other in pairwise(map(prompt_images, prompts))
        ]
        table: dict[int, list[float]] = {}
        for run in group_by_prefix(apart, joined):
            table |= self._shared(run, prompts, tokens, apart, choices)
        alone = [row for row in range(len(prompts)) if row not in table]
        table |= self._alone(alone, prompts, tokens, choices)
        return [table[row] for row in range(len(prompts))]

    def _alone(
        self,
        rows: Sequence[int],
        prompts: Sequence[Prompt],
        tokens: Sequence[list[int]],
        choices: Sequence[Spellings],
    ) -> dict[int, list[float]]:
        """Each prompt read whole."""

        def read(batch: list[int]) -> ProbabilityTable:
            inputs = self._inputs([prompts[rows[n]] for n in batch])
            return _choice_probabilities(
                lambda begun: self._following(append_tokens(inputs, begun)), choices
            )

        lengths = [len(tokens[row]) for row in rows]
        return dict(zip(rows, self._batches.read(lengths, read), strict=True))

    def _shared(
        self,
        run: range,
        prompts: Sequence[Prompt],
        tokens: Sequence[list[int]],
        apart: Sequence[list[int]],
        choices: Sequence[Spellings],
    ) -> dict[int, list[float]]:
        """The beginning of a run read once; {} where that would spare nothing, or cannot be."""
        length = shared_prefix_length([apart[row] for row in run])
        longest = max(run, key=lambda row: len(tokens[row]))
        begun = len({mark for mark in apart[longest][:length] if mark < 0})
        own = {row: prompt_images(prompts[row])[begun:] for row in run}
        spares = length * (len(run) - 1) > len(tokens[longest])
        if not spares or (any(own.values()) and not self._encoder.has_independent_images):
            return {}
        inputs = self._inputs([prompts[longest]])
        prefix = PrefixCache(
            self._model, prefix_inputs(inputs, length, begun if own[longest] else None)
        )
        if not prefix.shareable:
            return {}

        def read(batch: list[int]) -> ProbabilityTable:
            rows = [run[n] for n in batch]
            pixels = self._pixels([image for row in rows for image in own[row]])

            def following(chosen: tuple[int, ...]) -> torch.Tensor:
                ends = [[*tokens[row][length:], *chosen] for row in rows]
                return prefix.following(ends, self._pad, pixels)

            return _choice_probabilities(following, choices)

        lengths = [len(tokens[row]) - length for row in run]
        return dict(zip(run, self._batches.read(lengths, read), strict=True))

    def _pixels(self, images: Sequence[ImageSource]) -> torch.Tensor | None:
        """Pictures as the model takes them, where they are its arrays alone; None without any."""
        if not images:
            return None
        return self._encoder.pixels(images).to(self._model.device, dtype=self._model.dtype)

    def _following(self, inputs: Mapping[str, Any]) -> torch.Tensor:
        """(B, V): log probability of the next token. `generate` knows each family's positions."""
        out = self._model.generate(
            **inputs, max_new_tokens=1, output_logits=True, return_dict_in_generate=True
        )
        return torch.as_tensor(out.logits[0]).float().log_softmax(dim=-1)


def _choice_probabilities(
    following: Callable[[tuple[int, ...]], torch.Tensor], choices: Sequence[Spellings]
) -> ProbabilityTable:
    return list(score_choices(following, choices).softmax(dim=-1).tolist())


def score_choices(
    following: Callable[[tuple[int, ...]], torch.Tensor], choices: Sequence[Spellings]
) -> torch.Tensor:
    """(B, choices): log of the summed probability of each choice's spellings, each that of all its
    tokens, nothing corrected for length.

    Args:
        following: from tokens that are appended to every row, often none, to the log probability
            of the next one, (B, V).
        choices: token ids of each spelling; beginnings that several share are read once.
    """
    spellings = [spelling for choice in choices for spelling in choice]
    beginnings = {spelling[:n] for spelling in spellings for n in range(len(spelling))}
    scores = {begun: following(begun) for begun in sorted(beginnings)}

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


def group_by_prefix(rows: Sequence[list[int]], joined: Sequence[bool]) -> list[range]:
    """Neighbouring rows in runs that share a beginning.

    A run ends where pictures differ, and where two neighbours share less than half of what one of
    them shares with its other neighbour.

    Args:
        rows: token ids of each row.
        joined: for each row but the last, whether the next one has the same pictures.

    >>> group_by_prefix([[1, 2, 3, 4], [1, 2, 3, 5], [1, 7, 8], [1, 7, 9]], [True] * 3)
    [range(0, 2), range(2, 4)]
    """
    pairs = zip(pairwise(rows), joined, strict=True)
    shared = [0, *(_common_length(a, b) if same else 0 for (a, b), same in pairs), 0]
    starts = [0]
    for row in range(1, len(rows)):
        most = max(shared[row - 1 : row + 2])  # shared[row]: of this row and the one before
        if not shared[row] or 2 * shared[row] < most:
            starts.append(row)
    bounds = [*starts, len(rows)] if rows else []
    return [range(a, b) for a, b in pairwise(bounds)]


def shared_prefix_length(rows: Sequence[list[int]]) -> int:
    """Tokens that begin every row; of each row at least one is left.

    >>> shared_prefix_length([[1, 2, 3], [1, 2, 4], [1, 2]])
    1
    """
    return min(_common_length(min(rows), max(rows)), min(map(len, rows)) - 1)


def _common_length(one: list[int], other: list[int]) -> int:
    differing = (n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return next(differing, min(len(one), len(other)))


def prefix_inputs(
    inputs: Mapping[str, Any], length: int, pictures: int | None = None
) -> dict[str, Any]:
    """Of inputs of one row, (1, L), the first `length` tokens, with all pictures, or the first
    `pictures` of them where these are `PromptEncoder.one_each`."""
    whole = inputs["input_ids"].shape
    begun = {
        key: value[:, :length] if value.shape == whole else value for key, value in inputs.items()
    }
    if pictures is not None and "pixel_values" in begun:
        begun["pixel_values"] = begun["pixel_values"][:pictures]
        if not pictures:
            del begun["pixel_values"]
    return begun


class PrefixCache:
    """The keys and values of a beginning, computed once.

    `generate` computes them, since it knows each family's positions. After it, a family with
    positions of its own (M-RoPE) adds to each later position what its pictures took less than
    tokens, which it has kept from this very prefix: hence nothing else is read in between.

    Args:
        model: of transformers.
        inputs: of one row, its pictures included: input_ids (1, P), …
    """

    def __init__(self, model: Any, inputs: Mapping[str, Any]) -> None:
        read = model.generate(**inputs, max_new_tokens=1, return_dict_in_generate=True)
        self._model = model
        self._cache = read.past_key_values

    @property
    def shareable(self) -> bool:
        """Whether rows can go on from it: a cache of attention alone, whole or windowed."""
        kept = self._cache
        return isinstance(kept, DynamicCache) and all(
            type(x) in _SHAREABLE_LAYERS for x in kept.layers
        )

    def following(
        self, rows: Sequence[list[int]], pad: int, pixels: torch.Tensor | None = None
    ) -> torch.Tensor:
        """(B, V): log probability of the token after each row, which goes on from the prefix.

        Rows are padded on the right, where no token of theirs looks: no mask is needed.

        Args:
            rows: token ids of each, after the prefix; one or more.
            pad: id to fill up with.
            pixels: of the rows' own pictures, row after row (`PromptEncoder.one_each`).
        """
        lengths = [len(row) for row in rows]
        ids = [[*row, *[pad] * (max(lengths) - len(row))] for row in rows]
        last = sorted({length - 1 for length in lengths})
        device = self._model.device
        own = {} if pixels is None else {"pixel_values": pixels}
        logits = self._model(
            **own,
            input_ids=torch.tensor(ids, device=device),
            past_key_values=self._expanded(len(rows)),
            use_cache=True,
            logits_to_keep=torch.tensor(last, device=device),
        ).logits  # (B, different lengths, V)
        places = torch.tensor([last.index(length - 1) for length in lengths], device=device)
        ends = logits[torch.arange(len(rows), device=logits.device), places.to(logits.device)]
        return torch.as_tensor(ends).float().log_softmax(dim=-1)

    def _expanded(self, rows: int) -> Any:
        """A cache of so many rows; what is kept stays as it is, for new tokens go into copies."""
        cache = copy.copy(self._cache)
        cache.layers = [copy.copy(layer) for layer in self._cache.layers]
        for layer in cache.layers:
            layer.keys = layer.keys.expand(rows, -1, -1, -1)
            layer.values = layer.values.expand(rows, -1, -1, -1)
        return cache
