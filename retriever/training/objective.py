"""The loss of a global batch: InfoNCE over late interaction, with every right passage a target.

Knows features, ids and what is right for which query. Does not know models or files.
"""

import torch
from torch import Tensor

from rag_vqa.retriever.loss import cross_entropy
from rag_vqa.retriever.maxsim import maxsim
from rag_vqa.retriever.training.gathering import gathered, sizes


def objective(
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
    of_queries, of_passages = sizes(queries), sizes(passages)
    passages, ids = gathered(passages, of_passages), gathered(passage_ids, of_passages)
    right = _right(positives, ids)  # (B, ΣN)
    scores = gathered(maxsim(queries, passages), of_queries)  # (ΣB, ΣN)
    right = gathered(right.byte(), of_queries).bool()
    logits = scores * scale
    loss = cross_entropy(logits, right)
    if symmetric:
        own = _own(of_queries, of_passages, scores.device)
        loss = (loss + cross_entropy(logits[:, own].T, right[:, own].T)) / 2
    hits = right.gather(1, scores.argmax(dim=1, keepdim=True))
    return loss, {"recall@1": float(hits.float().mean()), "scale": float(scale.detach())}


def _right(positives: Tensor, ids: Tensor) -> Tensor:
    """(B, P), (N) → (B, N) bool, without (B, P, N): some queries have thousands that are right."""
    found = torch.zeros(len(positives), len(ids), dtype=torch.bool, device=ids.device)
    for one in positives.unbind(dim=1):
        found |= one[:, None] == ids
    return found


def _own(of_queries: list[int], of_passages: list[int], device: torch.device) -> Tensor:
    """(ΣB): where the queries' own passages stand among all, the first of each rank's."""
    starts = [sum(of_passages[:rank]) for rank in range(len(of_passages))]
    rows = [torch.arange(n) + start for n, start in zip(of_queries, starts, strict=True)]
    return torch.cat(rows).to(device)
