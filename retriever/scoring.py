"""Late interaction, the reference that every fast path is tested against.

s(Q, D) = Σ_i max_j Q_i · D_j (ColBERT, Khattab & Zaharia 2020; ReT, section 3.3). It is plain
rather than fast; training has maxsim.py, searching has its indexes.
"""

import torch
from torch import Tensor


def late_interaction(
    queries: Tensor,
    passages: Tensor,
    query_mask: Tensor | None = None,
    passage_mask: Tensor | None = None,
) -> Tensor:
    """Scores of every query with every passage.

    Args:
        queries: (Q, K, D) or (Q, D), unit tokens.
        passages: (N, K', D) or (N, D).
        query_mask: (Q, K), 1 = counts; multiplies each token's maximum.
        passage_mask: (N, K'), 1 = may be matched.

    Returns: (Q, N).

    >>> q = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    >>> d = torch.tensor([[[1.0, 0.0], [0.6, 0.8]]])
    >>> late_interaction(q, d)  # 1.0 + 0.8
    tensor([[1.8000]])
    """
    if queries.ndim == 2:
        return queries @ passages.T
    best = []
    for tokens in queries:  # one query at a time: (Q, N, K, K') is never whole
        similarity = torch.einsum("kd,nld->nkl", tokens, passages)
        if passage_mask is not None:
            hidden = ~passage_mask.bool()[:, None, :]
            similarity = similarity.masked_fill(hidden, torch.finfo(similarity.dtype).min)
        best.append(similarity.amax(dim=-1))  # (N, K)
    maxima = torch.stack(best)  # (Q, N, K)
    if query_mask is not None:
        maxima = maxima * query_mask[:, None, :].to(maxima.dtype)
    return maxima.sum(dim=-1)
