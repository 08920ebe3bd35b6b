"""The training loop: steps, a schedule, validation, a log, and a state that resumes to the byte.

Knows modules, a function that computes the gradients of a step, and the processes and precision
that accelerate sets up (DDP is tested; FSDP and DeepSpeed are not). Does not know data: the caller
draws the batch of step i as a function of i alone, so that a resumed run sees what an
uninterrupted one saw. The random state, too, is a function of (seed, step, rank): none is saved.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import InitProcessGroupKwargs
from torch import Tensor, nn

from rag_vqa.errors import UsageError
from rag_vqa.retriever.training import training_state
from rag_vqa.retriever.training.optimizer import cosine_rate, make_optimizer
from rag_vqa.retriever.training.step_gradients import NanGuard
from rag_vqa.retriever.training.training_settings import TrainingPlan
from rag_vqa.retriever.training.training_state import Figures, TrainingLog
from rag_vqa.storage import atomic, fingerprint

STATE_FOLDER, LOG_FILE = "state", "log.jsonl"
Note = Callable[[str], None]
PRECISIONS = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}  # ours: accelerate's
# Processes wait this long for the main one, which alone packs data and validates. If one dies,
# the launcher ends the others at once.
PROCESS_TIMEOUT = timedelta(days=2)


@dataclass(frozen=True)
class StepOutcome:
    """The result of a step: its loss, its figures, how many pairs it saw, and their names."""

    loss: Tensor
    figures: Figures = field(default_factory=dict)
    items: int = 0
    names: tuple[str, ...] = ()


# Computes forward and backward of step i for this process's share, on the prepared module.
StepFunction = Callable[[nn.Module, Accelerator, int], StepOutcome]


def whole_step(forward: Callable[[int], StepOutcome]) -> StepFunction:
    """A StepFunction made of a function that returns a step's loss with its graph."""

    def step_of(module: nn.Module, accelerator: Accelerator, step: int) -> StepOutcome:
        outcome = forward(step)
        accelerator.backward(outcome.loss)
        return replace(outcome, loss=outcome.loss.detach())

    return step_of


@dataclass(frozen=True)
class Validation:
    """How to measure a module on held-out data, and how to keep the best one.

    Both functions are called in the main process only.

    Attributes:
        measure: returns figures; a larger first figure is better.
        keep: saves the module; called whenever it is the best so far.
        patience: stop after this many validations without an improvement; None: never.
    """

    measure: Callable[[], Figures]
    keep: Callable[[], None]
    patience: int | None = None


@dataclass(frozen=True)
class TrainingCallbacks:
    """Functions that the loop calls.

    Attributes:
        on_step: with the number of steps done, after each step.
        on_line: with each line of the log.
        note: with messages for the user.
        should_stop: after each step; True saves the state and ends the loop.
        tensorboard: write TensorBoard files, too.
    """

    on_step: Callable[[int], None] = lambda step: None
    on_line: Callable[[Mapping[str, Any]], None] = lambda line: None
    note: Note = lambda message: None
    should_stop: Callable[[], bool] = lambda: False
    tensorboard: bool = False


NO_CALLBACKS = TrainingCallbacks()


@dataclass(frozen=True)
class FitResult:
    """The steps done, and the best figures. `stopped`: it was asked to stop, and can resume."""

    step: int
    stopped: bool
    best: Figures


def fit(
    module: nn.Module,
    step_of: StepFunction,
    plan: TrainingPlan,
    folder: Path,
    accelerator: Accelerator,
    *,
    identity: Mapping[str, Any],
    validation: Validation | None = None,
    callbacks: TrainingCallbacks = NO_CALLBACKS,
) -> FitResult:
    """Train the parameters of `module` that require gradients.

    Writes `folder/log.jsonl` and `folder/state/`, from which the same call resumes. Must run in
    every process of `accelerate launch`; only the main one writes.

    Args:
        identity: JSON that must be equal when a training resumes.

    Raises:
        UsageError: the state in `folder` has another `identity`.
        RagVqaError: a loss, a feature or a gradient is NaN or infinite; nothing is saved.
    """
    run = _FitState(module, plan, folder, accelerator, identity, callbacks)
    if validation is not None and run.must_validate:  # interrupted during a validation
        run.validate(validation)
    while run.step < plan.steps and not run.must_end:
        outcome, norm = run.advance(step_of)
        run.count(outcome, norm)
        last = run.step == plan.steps
        if run.step % plan.log_every == 0 or last:
            run.log()
        if validation is not None and run.must_validate:
            run.validate(validation)
        elif run.step % plan.save_every == 0 or last or run.must_end:
            run.save()
    return run.finish()


class _FitState:
    """The state of a training between two steps."""

    def __init__(
        self,
        module: nn.Module,
        plan: TrainingPlan,
        folder: Path,
        accelerator: Accelerator,
        identity: Mapping[str, Any],
        callbacks: TrainingCallbacks,
    ) -> None:
        self.plan, self.folder, self.accelerator, self.callbacks = (
            plan,
            folder,
            accelerator,
            callbacks,
        )
        self.module, self.identity = module, dict(identity)
        self.guard = NanGuard(module, accelerator)
        atomic.make_folder(folder)
        module.to(accelerator.device)
        optimizer = make_optimizer(module.named_parameters(), plan)
        self.bases = [group["lr"] for group in optimizer.param_groups]
        self.step, self.stopped, self.exhausted = 0, False, False
        self.best: dict[str, float] = {}
        self.validated = self.since_best = 0
        self.sums: dict[str, float] = {}
        self._resume(optimizer)
        self.prepared, self.optimizer = accelerator.prepare(module, optimizer)
        self.log_file = None
        if accelerator.is_main_process:
            self.log_file = TrainingLog(
                folder / LOG_FILE, self.step, self.validated, callbacks.tensorboard
            )
        self.started, self.counted = time.monotonic(), 0

    @property
    def must_end(self) -> bool:
        return self.stopped or self.exhausted

    @property
    def must_validate(self) -> bool:
        """Whether a validation is due after this step, and not done yet."""
        due = self.step % self.plan.validate_every == 0 or self.step == self.plan.steps
        return due and self.validated < self.step

    def advance(self, step_of: StepFunction) -> tuple[StepOutcome, float]:
        """One step: gradients, a check that they are finite, an update."""
        plan, step = self.plan, self.step
        torch.manual_seed(_step_seed(plan.seed, step, self.accelerator.process_index))
        for group, base in zip(self.optimizer.param_groups, self.bases, strict=True):
            group["lr"] = base * cosine_rate(step, plan.steps, plan.warmup)
        outcome = step_of(self.prepared, self.accelerator, step)
        for p in self.module.parameters():
            if p.requires_grad and p.grad is None:  # a modality that no pair of the batch has
                p.grad = torch.zeros_like(p)
        # accelerate removes the scale of fp16 first, then clips.
        norm = self.accelerator.clip_grad_norm_(self.prepared.parameters(), plan.clip)
        self.stopped = self.guard.check(
            step, outcome.loss, norm, outcome.names, self.callbacks.should_stop()
        )
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        self.callbacks.on_step(self.step)
        return outcome, float(norm)

    def count(self, outcome: StepOutcome, norm: float) -> None:
        """Add a step to the sums of the next line."""
        figures = {"loss": float(outcome.loss), "norm": norm, **outcome.figures}
        for name, value in {**figures, "steps": 1}.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value)
        self.counted += outcome.items

    def log(self) -> None:
        """Write one line: means over steps and processes since the previous line."""
        names = sorted(self.sums)
        own = torch.tensor([self.sums[name] for name in names], device=self.accelerator.device)
        means = dict(zip(names, self.accelerator.reduce(own, "mean").tolist(), strict=True))
        steps = means.pop("steps")
        line = {name: value / steps for name, value in means.items()}
        seconds = time.monotonic() - self.started
        line["items_per_second"] = self.counted * self.accelerator.num_processes / seconds
        line["rate"] = self.optimizer.param_groups[-1]["lr"]
        self.sums, self.counted, self.started = {}, 0, time.monotonic()
        if self.log_file is not None:
            self.callbacks.on_line(self.log_file.write(self.step, line))

    def validate(self, validation: Validation) -> None:
        """Measure in the main process, and keep the best model so far. Saves the state first."""
        began = time.monotonic()
        self.save()
        if self.accelerator.is_main_process:
            assert self.log_file is not None
            figures = dict(validation.measure())
            self.callbacks.on_line(self.log_file.write(self.step, figures, "validation"))
            first = next(iter(figures))
            self.since_best += 1
            if not self.best or figures[first] > self.best[first]:
                validation.keep()
                self.best, self.since_best = {"step": self.step, **figures}, 0
        patience = validation.patience
        self.exhausted = self._broadcast_from_main(
            patience is not None and self.since_best >= patience
        )
        self.validated = self.step
        self.save()
        self.started += time.monotonic() - began  # validation does not count as training

    def _broadcast_from_main(self, value: bool) -> bool:
        if self.accelerator.num_processes == 1:
            return value
        flag = torch.tensor([float(value and self.accelerator.is_main_process)])
        return bool(self.accelerator.reduce(flag.to(self.accelerator.device), "sum"))

    def save(self) -> None:
        """Write the state, in the main process."""
        if self.accelerator.is_main_process:
            record = {
                "identity": self.identity,
                "world": self.accelerator.num_processes,
                "sums": self.sums,
                "best": self.best,
                "since_best": self.since_best,
                "validated": self.validated,
                "exhausted": self.exhausted,
            }
            if self.accelerator.scaler is not None:
                record["scaler"] = self.accelerator.scaler.state_dict()
            tensors = training_state.state_tensors(self.module, self.optimizer)
            training_state.save_state(
                self.folder / STATE_FOLDER, training_state.TrainingState(self.step, tensors, record)
            )

    def _resume(self, optimizer: torch.optim.Optimizer) -> None:
        folder, note = self.folder / STATE_FOLDER, self.callbacks.note
        note = note if self.accelerator.is_main_process else lambda message: None
        saved = training_state.load_newest_state(folder, note)
        if saved is None:
            return
        hint = "Resume with the same settings, or give another folder."
        fingerprint.check_unchanged(self.folder, saved.record["identity"], self.identity, hint)
        if (world := saved.record["world"]) != self.accelerator.num_processes:
            note(
                f"{self.folder} was started with {world} processes and resumes with "
                f"{self.accelerator.num_processes}: the result differs in its last digits."
            )
        training_state.restore_state(saved.tensors, self.module, optimizer)
        self.step, self.sums = saved.step, dict(saved.record["sums"])
        self.best, self.since_best = dict(saved.record["best"]), saved.record["since_best"]
        self.exhausted, self.validated = saved.record["exhausted"], saved.record["validated"]
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(saved.record["scaler"])

    def finish(self) -> FitResult:
        """Undo what accelerate did to the module; returns the result."""
        self.guard.remove()
        self.accelerator.unwrap_model(self.prepared, keep_fp32_wrapper=False)
        self.accelerator.free_memory()
        return FitResult(self.step, self.stopped, self.best)


def _step_seed(seed: int, step: int, rank: int) -> int:
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0])


def make_accelerator(
    precision: str, note: Callable[[str], None] = lambda message: None
) -> Accelerator:
    """Set up accelerate. Weights stay float32; `precision` is for forward passes.

    A CPU computes bf16 only if it multiplies it natively, where a small model's step takes half
    the time. Other CPUs would be slower: they compute fp32, and a note says so.

    Raises:
        UsageError: fp16 without a GPU.
    """
    # Otherwise accelerate keeps the precision of an earlier training in this process.
    AcceleratorState._reset_state()
    # Not PartialState: it ignores ACCELERATE_USE_CPU, so each process would believe it is alone.
    wait = InitProcessGroupKwargs(timeout=PROCESS_TIMEOUT)
    first = Accelerator(mixed_precision="no", kwargs_handlers=[wait])
    on_cpu = first.device.type == "cpu"
    if on_cpu and precision == "fp16":
        raise UsageError("precision fp16 needs a GPU. Set precision to bf16 or fp32.")
    if on_cpu and precision == "bf16" and not torch.cpu._is_avx512_bf16_supported():
        if first.is_main_process:
            note("This processor does not multiply bf16 natively: computing in fp32 instead.")
        precision = "fp32"
    AcceleratorState._reset_state()
    if not on_cpu:
        torch.use_deterministic_algorithms(True, warn_only=True)
    return Accelerator(mixed_precision=PRECISIONS[precision], kwargs_handlers=[wait])
