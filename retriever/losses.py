"""Losses: symmetric InfoNCE over late interaction, with soft targets for equal labels.

Knows one process's batch. Reproduces the release's loss (query to passage) and what it meant by
`simmetric_loss`, whose published code raises a TypeError: the mean of both directions.

Apart because the model and training share it.
"""

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from rag_vqa.retriever.scoring import maxsim


def cross_entropy(scores: Tensor, right: Tensor) -> Tensor:
    """Mean over rows of scores (R, C); a row's target is uniform over its right columns.

    Args:
        right: (R, C) bool.
    """
    targets = right.to(scores)
    return F.cross_entropy(scores, targets / targets.sum(dim=1, keepdim=True))


def contrastive_loss(
    queries: Tensor,
    passages: Tensor,
    labels: Sequence[Hashable],
    *,
    symmetric: bool = True,
    logit_scale: float | Tensor = 1.0,
    query_mask: Tensor | None = None,
    passage_mask: Tensor | None = None,
) -> Tensor:
    """Mean cross entropy of the (B, B) score matrix; a scalar.

    Args:
        queries, passages: (B, K, D) unit tokens, or (B, D) for the single-vector variant.
        labels: (B) names of the passages; empty = all differ. Equal labels share one target.
        logit_scale: multiplies the scores. The release has none, so logits lie in [-K, K].
    """
    scores = maxsim(queries, passages, query_mask, passage_mask) * logit_scale
    right = _equal_labels(labels if len(labels) else range(len(queries))).to(scores.device)
    loss = cross_entropy(scores, right)
    if not symmetric:
        return loss
    # Which passages are equal does not depend on the direction.
    return (loss + cross_entropy(scores.T, right)) / 2


def _equal_labels(labels: Sequence[Hashable]) -> Tensor:
    """(B, B) bool: which labels are equal."""
    ids: dict[Hashable, int] = {}
    index = torch.tensor([ids.setdefault(label, len(ids)) for label in labels])
    return index[:, None] == index[None, :]
