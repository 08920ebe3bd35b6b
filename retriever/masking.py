"""What scores lose without each word of a text: random halves of the words hidden, a regression.

Knows masks and scores. Does not know models, tokenizers, or what a score is of.

The score of a document rests on many words that say the same, so that leaving out one by itself
shows little: what counts is what a word takes away from texts that lack others. Each word is hidden
in half of `MASKS` drawn texts, and scores are fitted by a sum of what the hidden words take away
(ridge regression). Sources: Ribeiro et al., "Why Should I Trust You?", KDD 2016 (LIME); with halves
the coefficients estimate Banzhaf values (Wang and Jia, "Data Banzhaf", AISTATS 2023).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

MASKS = 128
_RIDGE = 1.0  # in texts: it settles words that were always hidden together, and little else


def losses(scores: Callable[[Tensor], Tensor], owners: Sequence[int]) -> Tensor:
    """How much lower scores are where a word is hidden; below 0 where they are higher.

    Args:
        scores: seen (MASKS, L), True = token that is read → (MASKS, T), of T kinds. Called once.
        owners: (L), of each token which of W words it is part of; -1 = of none, always read.

    Returns: (W, T), float64. The same in each run.
    """
    count = max(owners, default=-1) + 1
    random = torch.Generator().manual_seed(0)
    hidden = torch.rand(MASKS, count, generator=random) < 0.5
    always = torch.zeros(MASKS, 1, dtype=torch.bool)  # the last, hence that of -1
    found = scores(~torch.cat([hidden, always], dim=1)[:, list(owners)]).double()
    x = hidden.double() - hidden.double().mean(dim=0)
    gram = x.T @ x + _RIDGE * torch.eye(count, dtype=torch.float64)
    fitted: Tensor = torch.linalg.solve(gram, x.T @ (found.mean(dim=0) - found))
    return fitted
