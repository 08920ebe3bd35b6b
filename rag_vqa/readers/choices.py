"""How likely each of a few continuations is, token by token.

It knows logits and ids. It does not know prompts, or how a model is called: `following` does that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

Spellings = Sequence[tuple[int, ...]]  # token ids of each spelling of one choice

# Inputs that hold one value for each token, and what it is for a token that is appended.
_PER_TOKEN = {"attention_mask": 1, "mm_token_type_ids": 0, "token_type_ids": 0}


def choice_scores(
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


def appended(inputs: Mapping[str, Any], ids: Sequence[int]) -> dict[str, Any]:
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
