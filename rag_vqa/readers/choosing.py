"""How likely each of a few choices follows each of many prompts; a shared beginning is read once.

It knows a model, encoded prompts and which of them belong together. It does not know what the
choices mean, or what is made of their probabilities.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch

from rag_vqa.readers.batches import Batches
from rag_vqa.readers.choices import Spellings, appended, choice_scores
from rag_vqa.readers.encoding import PromptEncoder, images_in
from rag_vqa.readers.prefix import Prefix, beginning, runs, shared_length
from rag_vqa.types import ImageSource, Prompt

Table = list[list[float]]  # (prompts, choices)


class Choosing:
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
        batches: Batches,
        pad: int,
    ) -> None:
        self._model = model
        self._encoder = encoder
        self._inputs = inputs
        self._batches = batches
        self._pad = pad

    def probabilities(self, prompts: Sequence[Prompt], choices: Sequence[Spellings]) -> Table:
        """(prompts, choices): each row sums to 1; choices are token ids of their spellings."""
        tokens = self._encoder.ids(prompts)
        apart = self._encoder.told_apart(prompts, tokens)
        joined = [
            self._encoder.one_each or one == other
            for one, other in pairwise(map(images_in, prompts))
        ]
        table: dict[int, list[float]] = {}
        for run in runs(apart, joined):
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

        def read(batch: list[int]) -> Table:
            inputs = self._inputs([prompts[rows[n]] for n in batch])
            return _softmax(lambda begun: self._following(appended(inputs, begun)), choices)

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
        length = shared_length([apart[row] for row in run])
        longest = max(run, key=lambda row: len(tokens[row]))
        begun = len({mark for mark in apart[longest][:length] if mark < 0})
        own = {row: images_in(prompts[row])[begun:] for row in run}
        spares = length * (len(run) - 1) > len(tokens[longest])
        if not spares or (any(own.values()) and not self._encoder.one_each):
            return {}
        inputs = self._inputs([prompts[longest]])
        prefix = Prefix(self._model, beginning(inputs, length, begun if own[longest] else None))
        if not prefix.shareable:
            return {}

        def read(batch: list[int]) -> Table:
            rows = [run[n] for n in batch]
            pixels = self._pixels([image for row in rows for image in own[row]])

            def following(chosen: tuple[int, ...]) -> torch.Tensor:
                ends = [[*tokens[row][length:], *chosen] for row in rows]
                return prefix.following(ends, self._pad, pixels)

            return _softmax(following, choices)

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


def _softmax(
    following: Callable[[tuple[int, ...]], torch.Tensor], choices: Sequence[Spellings]
) -> Table:
    return list(choice_scores(following, choices).softmax(dim=-1).tolist())
