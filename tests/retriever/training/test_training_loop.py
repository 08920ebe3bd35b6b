"""The loop: a run resumes to the same bytes, settings must agree, and numbers be numbers."""

import json
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from rag_vqa.errors import Missing, RagVqaError, UsageError
from rag_vqa.retriever.training import training_state
from rag_vqa.retriever.training.training_loop import (
    FitResult,
    StepFunction,
    StepOutcome,
    TrainingCallbacks,
    Validation,
    fit,
    make_accelerator,
)
from rag_vqa.retriever.training.training_settings import TrainingPlan

PLAN = TrainingPlan(steps=30, warmup=3, rate=0.1, matrix_rate=0.1, log_every=4, save_every=5,
            validate_every=7)  # fmt: skip


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Embedding(5, 8), nn.Linear(8, 8), nn.GELU(), nn.Dropout(0.2), nn.Linear(8, 1)
    )


def step_of(module: nn.Module, accelerator: Accelerator, step: int) -> StepOutcome:
    ids = torch.randint(5, (4,), generator=torch.Generator().manual_seed(step))
    loss = (module(ids) - ids[:, None]).square().mean()
    accelerator.backward(loss)
    return StepOutcome(loss.detach(), {"seen": 4.0}, 4, tuple(f"row {i}" for i in ids.tolist()))


def run(
    folder: Path,
    module: nn.Module,
    step: StepFunction = step_of,
    plan: TrainingPlan = PLAN,
    **more: Any,
) -> FitResult:
    identity = {"rate": plan.rate, "steps": plan.steps}
    return fit(module, step, plan, folder, make_accelerator("fp32"), identity=identity, **more)


def stopping(at: int, error: Callable[[], BaseException] = KeyboardInterrupt) -> StepFunction:
    def stops(module: nn.Module, accelerator: Accelerator, step: int) -> StepOutcome:
        if step == at:
            raise error()
        return step_of(module, accelerator, step)

    return stops


def log(folder: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "items_per_second"} for line in lines]


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_a_stopped_run_goes_on_to_the_same_bytes(tmp_path: Path, optimizer: str) -> None:
    plan = replace(PLAN, optimizer=optimizer)
    straight, cut = network(), network()
    run(tmp_path / "straight", straight, plan=plan)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", cut, stopping(17), plan)
    resumed = network()
    assert run(tmp_path / "cut", resumed, plan=plan).step == 30
    for a, b in zip(straight.parameters(), resumed.parameters(), strict=True):
        assert a.detach().numpy().tobytes() == b.detach().numpy().tobytes()
    assert log(tmp_path / "cut") == log(tmp_path / "straight")
    assert log(tmp_path / "cut")[-1]["loss"] < log(tmp_path / "cut")[0]["loss"]


def test_a_run_that_is_done_is_left_as_it_is(tmp_path: Path) -> None:
    done, again = network(), network()
    run(tmp_path, done)
    run(tmp_path, again, stopping(0))  # no step is made
    assert torch.equal(next(done.parameters()), next(again.parameters()))


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    run(tmp_path, network())
    with pytest.raises(UsageError, match="steps was 30, is 40"):
        run(tmp_path, network(), plan=replace(PLAN, steps=40))


def test_whoever_asks_stops_it_after_a_step_with_its_state(tmp_path: Path) -> None:
    seen: list[int] = []
    watch = TrainingCallbacks(on_step=seen.append, should_stop=lambda: len(seen) == 8)
    fitted = run(tmp_path, network(), callbacks=watch)
    assert fitted.stopped and fitted.step == 9  # asked during the ninth
    saved = training_state.load_newest_state(tmp_path / "state", pytest.fail)
    assert saved is not None and saved.step == 9


def test_the_best_by_validation_is_kept_and_patience_ends_it(tmp_path: Path) -> None:
    figures = iter([0.1, 0.5, 0.5, 0.4, 0.9])
    kept: list[float] = []
    shown: list[float] = []

    def measure() -> dict[str, float]:
        shown.append(next(figures))
        return {"recall@1": shown[-1]}

    validation = Validation(measure, lambda: kept.append(shown[-1]), patience=2)
    fitted = run(tmp_path, network(), validation=validation)
    assert kept == [0.1, 0.5] and fitted.best == {"step": 14, "recall@1": 0.5}
    assert fitted.step == 28 and not fitted.stopped
    again = run(tmp_path, network(), stopping(0), validation=validation)
    assert again.best == fitted.best and again.step == 28


@pytest.mark.parametrize("what", ["loss", "gradients", "features"])
def test_no_number_stops_it_with_its_rows_and_nothing_saved(tmp_path: Path, what: str) -> None:
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))

        def forward(self, bad: bool) -> torch.Tensor:
            return self.weight * (float("nan") if bad else 1.0)

    def step(module: nn.Module, accelerator: Accelerator, step: int) -> StepOutcome:
        bad = step == 12
        loss = module(bad and what == "features").sum()
        if bad and what == "gradients":
            loss = (loss - loss.detach()).sqrt()  # 0, whose slope is infinite
        accelerator.backward(loss)
        told = torch.tensor(float("inf")) if bad and what == "loss" else loss.detach()
        return StepOutcome(told, {}, 1, ("train.jsonl:3", "train.jsonl:8"))

    with pytest.raises(RagVqaError, match=f"Step 12: .*{what}.*train.jsonl:3, train.jsonl:8"):
        run(tmp_path, Broken(), step)
    saved = training_state.load_newest_state(tmp_path / "state", pytest.fail)
    assert saved is not None and saved.step == 10


def test_a_parameter_that_a_batch_does_not_reach_moves_as_one_with_a_gradient_of_zero(
    tmp_path: Path,
) -> None:
    """Or one process, which has no gradient, and two, one of which has, would part."""
    module = nn.ModuleList([nn.Linear(2, 1, bias=False), nn.Linear(2, 1, bias=False)])
    peer = nn.Linear(2, 1, bias=False)
    peer.weight.data.copy_(module[1].weight.data)
    optimizer = torch.optim.AdamW(peer.parameters(), lr=0.1, betas=(0.9, 0.98), weight_decay=0.01)

    def step(whole: nn.Module, accelerator: Accelerator, step: int) -> StepOutcome:
        used = whole[1 if step == 0 else 0]  # type: ignore[index]
        loss = used(torch.ones(1, 2)).sum()
        accelerator.backward(loss)
        return StepOutcome(loss.detach())

    plan = TrainingPlan(steps=2, warmup=0, optimizer="adamw", rate=0.1, clip=1e9)
    run(tmp_path, module, step, plan)
    for scale, gradient in zip([1.0, 0.51], [1.0, 0.0], strict=True):  # (1 + .02) / 2 half way
        optimizer.param_groups[0]["lr"] = 0.1 * scale
        peer.weight.grad = torch.full((1, 2), gradient)
        optimizer.step()
    assert torch.allclose(module[1].weight, peer.weight, atol=1e-7)


def test_arithmetic_that_a_cpu_has_not(monkeypatch: pytest.MonkeyPatch) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(UsageError, match="needs a GPU"):
        make_accelerator("fp16")
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: False)
    notes: list[str] = []
    assert make_accelerator("bf16", notes.append).mixed_precision == "no" and "fp32" in notes[0]


def test_tensorboard_shows_what_the_log_says(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(tmp_path, network(), callbacks=TrainingCallbacks(tensorboard=True))
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    shown = {event.step: event.value for event in events.Scalars("train/loss")}
    told = {line["step"]: line["loss"] for line in log(tmp_path)}
    assert shown.keys() == told.keys()
    assert all(math.isclose(shown[step], told[step], abs_tol=1e-5) for step in told)


def test_without_tensorboard_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(Missing, match=r"rag-vqa\[train\]"):
        run(tmp_path, network(), callbacks=TrainingCallbacks(tensorboard=True))


def test_a_validation_that_fails_loses_no_step_and_is_made_up_for(tmp_path: Path) -> None:
    kept: list[float] = []

    def failing() -> dict[str, float]:
        raise OSError("a picture is gone")

    plan = replace(PLAN, save_every=100)
    with pytest.raises(OSError, match="gone"):
        run(tmp_path / "cut", network(), plan=plan, validation=Validation(failing, list))
    assert training_state.completed_steps(tmp_path / "cut" / "state") == 7
    with (tmp_path / "cut" / "log.jsonl").open("a") as file:  # as if killed after its line
        file.write('{"step": 7, "kind": "validation", "recall@1": 0.5}\n')
    for folder in ("cut", "straight"):
        figures = iter([0.5, 0.4, 0.3, 0.2, 0.1])
        validation = Validation(lambda: {"recall@1": next(figures)}, lambda: kept.append(1))  # noqa: B023
        fitted = run(tmp_path / folder, network(), plan=plan, validation=validation)
        assert fitted.best == {"step": 7, "recall@1": 0.5}
    assert log(tmp_path / "cut") == log(tmp_path / "straight")


def test_items_per_second_counts_no_validation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("rag_vqa.retriever.training.training_loop.time.monotonic", lambda: clock[0])

    def step(module: nn.Module, accelerator: Accelerator, step: int) -> StepOutcome:
        clock[0] += 2.0
        return step_of(module, accelerator, step)

    def measure() -> dict[str, float]:
        clock[0] += 1000.0
        return {"recall@1": 0.0}

    run(tmp_path, network(), step, validation=Validation(measure, lambda: None))
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert {line["items_per_second"] for line in lines if line["kind"] == "train"} == {2.0}
