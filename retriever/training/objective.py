"""The loss of a global batch: InfoNCE over late interaction, with every right passage a target.

Knows features, ids, which passages are right for a query, and how rows of all processes are
gathered with gradients (torch.distributed, or one process). Does not know models or files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from rag_vqa.retriever.losses import cross_entropy
from rag_vqa.retriever.scoring import maxsim


def contrastive_objective(
    queries: Tensor,
    passages: Tensor,
    scale: Tensor,
    passage_ids: Tensor,
    positives: Tensor,
    symmetric: bool = True,
) -> tuple[Tensor, dict[str, float]]:
    """Loss and figures of all ranks' rows together, the same numbers on each rank.

    Query → passage: row i's target is uniform over all passages, of whatever rank, whose id is
    among its positives. Passage → query, where `symmetric`: each query's own passage likewise over
    all queries that it is right for; negatives ask nothing. The loss is the mean of both.

    Args:
        queries: (B, K, D) unit tokens of this rank, or (B, D).
        passages: (N, K, D) or (N, D), the queries' own first.
        scale: (), multiplies the scores.
        passage_ids: (N) int64.
        positives: (B, P) int64; the id of each query's own passage is among them.

    Returns: the loss, whose gradients on the ranks have the global loss's gradient as their mean,
        as DDP takes it; and recall@1 (any right passage counts) and scale.

    Scores cross the network, so that no product is computed twice and every rank sees the whole
    (ΣB, ΣN) matrix: 4 bytes each, small beside what the towers need.
    """
    of_queries, of_passages = rows_per_rank(queries), rows_per_rank(passages)
    passages, ids = gather_rows(passages, of_passages), gather_rows(passage_ids, of_passages)
    right = _positive_mask(positives, ids)  # (B, ΣN)
    scores = gather_rows(maxsim(queries, passages), of_queries)  # (ΣB, ΣN)
    right = gather_rows(right.byte(), of_queries).bool()
    logits = scores * scale
    loss = cross_entropy(logits, right)
    if symmetric:
        own = _own_passages(of_queries, of_passages, scores.device)
        loss = (loss + cross_entropy(logits[:, own].T, right[:, own].T)) / 2
    hits = right.gather(1, scores.argmax(dim=1, keepdim=True))
    return loss, {"recall@1": float(hits.float().mean()), "scale": float(scale.detach())}


def _positive_mask(positives: Tensor, ids: Tensor) -> Tensor:
    """(B, P), (N) → (B, N) bool, without (B, P, N): some queries have thousands that are right."""
    found = torch.zeros(len(positives), len(ids), dtype=torch.bool, device=ids.device)
    for one in positives.unbind(dim=1):
        found |= one[:, None] == ids
    return found


def _own_passages(of_queries: list[int], of_passages: list[int], device: torch.device) -> Tensor:
    """(ΣB): where the queries' own passages stand among all, the first of each rank's."""
    starts = [sum(of_passages[:rank]) for rank in range(len(of_passages))]
    rows = [torch.arange(n) + start for n, start in zip(of_queries, starts, strict=True)]
    return torch.cat(rows).to(device)


def rows_per_rank(rows: Tensor) -> list[int]:
    """How many rows each rank has, in the order of ranks."""
    own = torch.tensor([len(rows)], device=rows.device)
    return [int(n) for n in _all_gather(own)]


def gather_rows(rows: Tensor, of_ranks: Sequence[int]) -> Tensor:
    """(n, …) of each rank → (Σ n, …) on all, in the order of ranks.

    Each rank's gradient is the sum over ranks of what they made of its rows.

    Args:
        of_ranks: what `rows_per_rank` said; ranks may differ in n, and in nothing else.
    """
    if len(of_ranks) == 1:
        return rows
    return _GatherRows.apply(rows, of_ranks)  # type: ignore[no-any-return,no-untyped-call]


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, of_ranks: Sequence[int]) -> Tensor:
        start = sum(of_ranks[: dist.get_rank()])
        ctx.own = slice(start, start + len(rows))
        padded = rows.new_zeros(max(of_ranks), *rows.shape[1:])  # equal sizes are sent
        padded[: len(rows)] = rows
        return torch.cat([x[:n] for x, n in zip(_all_gather(padded), of_ranks, strict=True)])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        total = grad.clone()
        dist.all_reduce(total)
        return total[ctx.own], None


def _all_gather(tensor: Tensor) -> list[Tensor]:
    """The same tensor of each rank."""
    if not (dist.is_available() and dist.is_initialized()):
        return [tensor]
    found = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
    dist.all_gather(found, tensor)
    return found
