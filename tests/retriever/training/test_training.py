"""Optimizer and loop: orthogonal updates, a schedule, and a run that resumes to the same bytes."""

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from rag_vqa.errors import RagVqaError, UsageError
from rag_vqa.retriever.training.loop import Plan, fit
from rag_vqa.retriever.training.optimizer import MuonAdamW, cosine, orthogonal


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 6, 16), (2, 16, 6)])
def test_updates_are_nearly_orthogonal(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonal(torch.randn(shape)))
    assert float(values.min()) > 0.5 and float(values.max()) < 1.4


def test_an_update_keeps_the_gradient_s_singular_vectors() -> None:
    u, v = torch.linalg.qr(torch.randn(5, 5))[0], torch.linalg.qr(torch.randn(5, 5))[0]
    gradient = u @ torch.diag(torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0])) @ v.T
    rotated = u.T @ orthogonal(gradient[None])[0] @ v  # diagonal, all about 1
    assert float((rotated - torch.diag(rotated.diagonal())).abs().max()) < 1e-4


def test_schedule() -> None:
    rates = [cosine(step, 100, 10) for step in range(100)]
    assert math.isclose(rates[0], 0.1) and math.isclose(max(rates), 1.0)
    assert rates[10:] == sorted(rates[10:], reverse=True) and rates[-1] < 0.03


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(5, 8), nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 1))


def loss_of(module: nn.Module) -> object:
    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        ids = torch.randint(5, (4,), generator=torch.manual_seed(step))
        return (module(ids) - ids[:, None]).square().mean(), {"seen": float(len(ids))}

    return loss


def test_what_is_hidden_goes_to_muon() -> None:
    named = [
        ("embed", nn.Parameter(torch.zeros(5, 8))),
        ("weight", nn.Parameter(torch.zeros(8, 8))),
        ("bias", nn.Parameter(torch.zeros(8))),
    ]
    optimizer = MuonAdamW(named)
    assert [tuple(shape) for shape in optimizer.matrices] == [(8, 8)]
    assert len(optimizer.adam.param_groups[0]["params"]) == 2


def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    plan = Plan(steps=30, warmup=3, rate=0.1, matrix_rate=0.1, log_every=5, save_every=10)
    whole = network()
    fit(whole, loss_of(whole), plan, tmp_path / "whole", "run")  # type: ignore[arg-type]

    halted, function = network(), None
    function = loss_of(halted)

    def stops(step: int) -> tuple[Tensor, dict[str, float]]:
        if step == 17:
            raise KeyboardInterrupt
        return function(step)  # type: ignore[operator,no-any-return]

    with pytest.raises(KeyboardInterrupt):
        fit(halted, stops, plan, tmp_path / "cut", "run")
    fresh = network()
    fit(fresh, loss_of(fresh), plan, tmp_path / "cut", "run")  # type: ignore[arg-type]
    for a, b in zip(whole.parameters(), fresh.parameters(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(UsageError, match="another run"):
        fit(network(), function, Plan(steps=40), tmp_path / "cut", "run")  # type: ignore[arg-type]
    lines = [json.loads(x) for x in (tmp_path / "whole" / "run.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 30 and lines[-1]["loss"] < lines[0]["loss"]


def test_a_loss_that_is_no_number_stops_before_anything_is_saved(tmp_path: Path) -> None:
    module = network()

    def bad(step: int) -> tuple[Tensor, dict[str, float]]:
        return torch.tensor(float("nan"), requires_grad=True), {}

    with pytest.raises(RagVqaError, match="step 0"):
        fit(module, bad, Plan(steps=3), tmp_path, "run")
    assert not (tmp_path / "run.state").exists()
