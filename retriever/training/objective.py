"""The objective: InfoNCE over the global batch, with every right passage as a target.

Knows features, ids, which passages are right for a query, and how to gather rows of all processes
with gradients (torch.distributed, or one process). Does not know models or files.
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
    """Loss and metrics of all ranks' rows together, the same numbers on each rank.

    Query → passage: row i's target is uniform over all passages, of any rank, whose id is among its
    positives. Passage → query, if `symmetric`: the target of each query's own passage is uniform
    over all queries that it is right for; negatives have no row. The loss is the mean of both.

    Args:
        queries: (B, K, D) unit tokens of this rank, or (B, D).
        passages: (N, K, D) or (N, D), the queries' own first.
        scale: (), multiplies the scores.
        passage_ids: (N) int64.
        positives: (B, P) int64; the id of each query's own passage is among them.

    Returns: the loss, and recall@1 (any right passage counts) and scale. The mean of the ranks'
        gradients, which DDP takes, is the global loss's gradient.

    Ranks exchange scores, so that no product is computed twice and every rank has the whole
    (ΣB, ΣN) matrix: 4 bytes each, little beside the towers.
    """
    query_counts, passage_counts = rows_per_rank(queries), rows_per_rank(passages)
    passages = gather_rows(passages, passage_counts)
    ids = gather_rows(passage_ids, passage_counts)
    right = _positive_mask(positives, ids)  # (B, ΣN)
    scores = gather_rows(maxsim(queries, passages), query_counts)  # (ΣB, ΣN)
    right = gather_rows(right.byte(), query_counts).bool()
    logits = scores * scale
    loss = cross_entropy(logits, right)
    if symmetric:
        own = _own_passages(query_counts, passage_counts, scores.device)
        loss = (loss + cross_entropy(logits[:, own].T, right[:, own].T)) / 2
    hits = right.gather(1, scores.argmax(dim=1, keepdim=True))
    return loss, {"recall@1": float(hits.float().mean()), "scale": float(scale.detach())}


def _positive_mask(positives: Tensor, ids: Tensor) -> Tensor:
    """(B, P), (N) → (B, N) bool, without (B, P, N): a query may have thousands of positives."""
    mask = torch.zeros(len(positives), len(ids), dtype=torch.bool, device=ids.device)
    for column in positives.unbind(dim=1):
        mask |= column[:, None] == ids
    return mask


def _own_passages(
    query_counts: list[int], passage_counts: list[int], device: torch.device
) -> Tensor:
    """(ΣB): columns of the queries' own passages, which are the first of each rank's."""
    starts = [sum(passage_counts[:rank]) for rank in range(len(passage_counts))]
    rows = [torch.arange(n) + start for n, start in zip(query_counts, starts, strict=True)]
    return torch.cat(rows).to(device)


def rows_per_rank(rows: Tensor) -> list[int]:
    """Number of rows on each rank, in the order of ranks."""
    own = torch.tensor([len(rows)], device=rows.device)
    return [int(n) for n in _all_gather(own)]


def gather_rows(rows: Tensor, counts: Sequence[int]) -> Tensor:
    """(n, …) of each rank → (Σ n, …) on all, in the order of ranks.

    The gradient of a rank's rows is the sum over all ranks of the gradients by these rows.

    Args:
        counts: from `rows_per_rank`; ranks may differ in n, and in nothing else.
    """
    if len(counts) == 1:
        return rows
    return _GatherRows.apply(rows, counts)  # type: ignore[no-any-return,no-untyped-call]


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: Sequence[int]) -> Tensor:
        start = sum(counts[: dist.get_rank()])
        ctx.own = slice(start, start + len(rows))
        padded = rows.new_zeros(max(counts), *rows.shape[1:])  # all_gather needs equal sizes
        padded[: len(rows)] = rows
        return torch.cat([x[:n] for x, n in zip(_all_gather(padded), counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        total = grad.clone()
        dist.all_reduce(total)
        return total[ctx.own], None


def _all_gather(tensor: Tensor) -> list[Tensor]:
    """The same tensor of each rank."""
    if not (dist.is_available() and dist.is_initialized()):
        return [tensor]
    gathered = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, tensor)
    return gathered
