"""The loss against its formula written out, and late interaction against a triple loop."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from rag_vqa.retriever.losses import contrastive_loss, cross_entropy
from rag_vqa.retriever.scoring import late_interaction


def tokens(*shape: int) -> Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.manual_seed(0)), dim=-1)


@pytest.mark.parametrize(("K", "D"), [(32, 128), (16, 64), (1, 128)])
def test_late_interaction_is_the_sum_of_maxima(K: int, D: int) -> None:
    queries, passages = tokens(3, K, D), tokens(4, K, D)
    scores = late_interaction(queries, passages)
    for i in range(3):
        for j in range(4):
            expected = sum(max(float(a @ b) for b in passages[j]) for a in queries[i])
            assert math.isclose(float(scores[i, j]), expected, abs_tol=1e-4)


def test_all_that_is_right_shares_the_target() -> None:
    scores = torch.tensor([[1.0, 2.0, 0.5], [0.0, 1.0, 3.0]])
    right = torch.tensor([[True, False, True], [False, True, False]])
    first, second = scores.softmax(dim=1).log().tolist()
    expected = -((first[0] + first[2]) / 2 + second[1]) / 2
    assert math.isclose(float(cross_entropy(scores, right)), expected, rel_tol=1e-6)


def test_symmetric_loss_is_the_mean_of_both_directions() -> None:
    queries, passages = tokens(3, 5, 8), tokens(3, 4, 8)
    labels = ["a", "b", "a"]
    scores = late_interaction(queries, passages) * 2.5
    target = torch.tensor([[0.5, 0, 0.5], [0, 1, 0], [0.5, 0, 0.5]])
    rows = -(target * scores.log_softmax(dim=1)).sum(dim=1).mean()
    columns = -(target.T * scores.log_softmax(dim=0)).sum(dim=0).mean()
    loss = contrastive_loss(queries, passages, labels, logit_scale=2.5)
    torch.testing.assert_close(loss, (rows + columns) / 2)
