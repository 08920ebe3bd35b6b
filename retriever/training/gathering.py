"""Rows of all processes, one after the other, with gradients.

Knows torch.distributed, and one process without it. Does not know what the rows mean.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist


def sizes(rows: Tensor) -> list[int]:
    """How many rows each rank has, in the order of ranks."""
    own = torch.tensor([len(rows)], device=rows.device)
    return [int(n) for n in _all(own)]


def gathered(rows: Tensor, of_ranks: Sequence[int]) -> Tensor:
    """(n, …) of each rank → (Σ n, …) on all, in the order of ranks.

    Each rank's gradient is the sum over ranks of what they made of its rows.

    Args:
        of_ranks: what `sizes` said; ranks may differ in n, and in nothing else.
    """
    if len(of_ranks) == 1:
        return rows
    return _Gathered.apply(rows, of_ranks)  # type: ignore[no-any-return,no-untyped-call]


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, of_ranks: Sequence[int]) -> Tensor:
        start = sum(of_ranks[: dist.get_rank()])
        ctx.own = slice(start, start + len(rows))
        padded = rows.new_zeros(max(of_ranks), *rows.shape[1:])  # equal sizes are sent
        padded[: len(rows)] = rows
        return torch.cat([x[:n] for x, n in zip(_all(padded), of_ranks, strict=True)])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        total = grad.clone()
        dist.all_reduce(total)
        return total[ctx.own], None


def _all(tensor: Tensor) -> list[Tensor]:
    """The same tensor of each rank."""
    if not (dist.is_available() and dist.is_initialized()):
        return [tensor]
    found = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
    dist.all_gather(found, tensor)
    return found
