"""A row's tokens as a few: the means of its own groups of like tokens. Nothing is learned.

A row of one meaning becomes copies of one mean, a row of four meanings four. It knows one row at
a time. It does not know other rows nor how means are searched.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from rag_vqa.retriever.index.protocol import Tokens

MEANS = 4  # of a row, or as many as it has tokens
_ROUNDS = 3
_ROWS = 2048  # worked on at once, so that memory stays flat


def means(tokens: Tokens) -> NDArray[np.float32]:
    """(N, K, D) → (N, min(MEANS, K), D), unit length.

    Spherical k-means within each row. It begins at the token that is least like their mean, goes
    on with the one that is least like those begun at, and is the same on every run.

    >>> means(np.array([[[2.0, 0.0], [0.0, 1.0]]])).tolist()
    [[[0.0, 1.0], [2.0, 0.0]]]
    """
    N, K, D = tokens.shape
    J = min(MEANS, K)
    found = np.empty((N, J, D), np.float32)
    for start in range(0, N, _ROWS):
        rows = torch.from_numpy(np.asarray(tokens[start : start + _ROWS], np.float32))
        found[start : start + _ROWS] = (rows if J == K else _grouped(rows, J)).numpy()
    return found


def _grouped(rows: torch.Tensor, J: int) -> torch.Tensor:
    """(N, K, D) → (N, J, D)."""
    every = torch.arange(len(rows))
    likest = torch.einsum("nkd,nd->nk", rows, _unit(rows.mean(1)))
    chosen: list[torch.Tensor] = []
    for number in range(J):
        token = rows[every, likest.argmin(1)]
        chosen.append(token)
        near = torch.einsum("nkd,nd->nk", rows, token)
        likest = near if number == 0 else torch.maximum(likest, near)
    centres = torch.stack(chosen, 1)
    for _ in range(_ROUNDS):
        nearest = torch.einsum("nkd,njd->nkj", rows, centres).argmax(2)
        member = torch.nn.functional.one_hot(nearest, J).float()  # (N, K, J)
        sums = torch.einsum("nkj,nkd->njd", member, rows)
        # A centre that no token is nearest to stays where it is.
        centres = torch.where(member.sum(1)[..., None] > 0, _unit(sums), centres)
    return centres


def _unit(vectors: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(vectors, dim=-1)
