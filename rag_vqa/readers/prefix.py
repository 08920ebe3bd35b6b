"""A beginning that several prompts share is read once: its keys and values serve all of them.

It knows token ids, a model of transformers and its cache. It does not know prompts or choices.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

# One key and one value a token, so that rows can share them. Recurrent states are another matter.
_SHAREABLE = (DynamicLayer, DynamicSlidingWindowLayer)


def runs(rows: Sequence[list[int]], joined: Sequence[bool]) -> list[range]:
    """Neighbouring rows in runs that share a beginning.

    A run ends where pictures differ, and where two neighbours share less than half of what one of
    them shares with its other neighbour.

    Args:
        rows: token ids of each row.
        joined: for each row but the last, whether the next one has the same pictures.

    >>> runs([[1, 2, 3, 4], [1, 2, 3, 5], [1, 7, 8], [1, 7, 9]], [True] * 3)
    [range(0, 2), range(2, 4)]
    """
    pairs = zip(pairwise(rows), joined, strict=True)
    shared = [0, *(_common(a, b) if same else 0 for (a, b), same in pairs), 0]
    starts = [0]
    for row in range(1, len(rows)):
        most = max(shared[row - 1 : row + 2])  # shared[row]: of this row and the one before
        if not shared[row] or 2 * shared[row] < most:
            starts.append(row)
    bounds = [*starts, len(rows)] if rows else []
    return [range(a, b) for a, b in pairwise(bounds)]


def shared_length(rows: Sequence[list[int]]) -> int:
    """Tokens that begin every row; of each row at least one is left.

    >>> shared_length([[1, 2, 3], [1, 2, 4], [1, 2]])
    1
    """
    return min(_common(min(rows), max(rows)), min(map(len, rows)) - 1)


def _common(one: list[int], other: list[int]) -> int:
    differing = (n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return next(differing, min(len(one), len(other)))


def beginning(
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


class Prefix:
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
        return isinstance(kept, DynamicCache) and all(type(x) in _SHAREABLE for x in kept.layers)

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
