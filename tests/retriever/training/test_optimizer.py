"""Optimizers: orthogonal updates, AdamW as torch's, what goes where, and the schedule."""

import math

import pytest
import torch
from torch import nn

from rag_vqa.retriever.training.optimizer import (
    MuonAdamW,
    cosine_rate,
    make_adamw,
    orthogonalise,
    split_param_groups,
)


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 6, 16), (2, 16, 6)])
def test_updates_are_nearly_orthogonal(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalise(torch.randn(shape)))
    assert float(values.min()) > 0.5 and float(values.max()) < 1.4


def test_an_update_keeps_the_gradient_s_singular_vectors() -> None:
    u, v = torch.linalg.qr(torch.randn(5, 5))[0], torch.linalg.qr(torch.randn(5, 5))[0]
    gradient = u @ torch.diag(torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0])) @ v.T
    rotated = u.T @ orthogonalise(gradient[None])[0] @ v  # diagonal, all about 1
    assert float((rotated - torch.diag(rotated.diagonal())).abs().max()) < 1e-4


def test_schedule() -> None:
    rates = [cosine_rate(step, 100, 10) for step in range(100)]
    assert math.isclose(rates[0], 0.1) and math.isclose(max(rates), 1.0)
    assert rates[10:] == sorted(rates[10:], reverse=True) and rates[-1] < 0.03


def named() -> list[tuple[str, nn.Parameter]]:
    torch.manual_seed(0)
    return [
        ("embed", nn.Parameter(torch.randn(5, 8))),
        ("weight", nn.Parameter(torch.randn(8, 8))),
        ("bias", nn.Parameter(torch.randn(8))),
        ("frozen", nn.Parameter(torch.randn(8, 8), requires_grad=False)),
    ]


def test_what_is_hidden_and_what_is_frozen() -> None:
    matrices, rest = split_param_groups(named())
    assert [tuple(p.shape) for p in matrices] == [(8, 8)]
    assert [tuple(p.shape) for p in rest] == [(5, 8), (8,)]
    assert (
        sum(len(g["params"]) for g in make_adamw(named(), rate=1, weight_decay=0).param_groups) == 3
    )


def test_all_else_moves_as_torch_s_adamw_moves_it() -> None:
    ours, theirs = dict(named()), dict(named())
    optimizer = MuonAdamW(ours.items(), rate=0.1)
    peers = [theirs["embed"], theirs["bias"]]
    peer = torch.optim.AdamW(peers, lr=0.1, betas=(0.9, 0.98), weight_decay=0.0)
    for step in range(4):
        torch.manual_seed(step)
        for name in ("embed", "weight", "bias"):
            ours[name].grad = torch.randn_like(ours[name])
            theirs[name].grad = ours[name].grad.clone()
        optimizer.step()
        peer.step()
    for name in ("embed", "bias"):
        assert torch.allclose(ours[name], theirs[name], rtol=1e-6, atol=1e-7)


def test_a_matrix_moves_by_momentum_made_orthogonal_and_decays() -> None:
    parameters = dict(named())
    optimizer = MuonAdamW(parameters.items(), matrix_rate=0.5, weight_decay=0.1)
    before = parameters["weight"].detach().clone()
    gradient = torch.randn(8, 8)
    parameters["weight"].grad = gradient.clone()
    optimizer.step()
    # The first step's momentum, seen ahead (Nesterov), is a multiple of the gradient itself.
    wanted = before * (1 - 0.5 * 0.1) - 0.5 * orthogonalise(gradient[None])[0]
    assert torch.allclose(parameters["weight"], wanted, atol=1e-5)
