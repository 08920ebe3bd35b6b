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
# For how long processes wait for the first one, which packs data and validates alone. One that
# dies ends the others at once: the launcher sees to that.
PROCESS_TIMEOUT = timedelta(days=2)


@dataclass(frozen=True)
class StepOutcome:
    """What a step came to: its loss, figures of it, how many pairs it saw, and their names."""

    loss: Tensor
    figures: Figures = field(default_factory=dict)
    items: int = 0
    names: tuple[str, ...] = ()


# Forward and backward of step i, of this process's share, on the prepared module.
StepFunction = Callable[[nn.Module, Accelerator, int], StepOutcome]


def whole_step(forward: Callable[[int], StepOutcome]) -> StepFunction:
    """Of a function that computes a step's loss, with its graph, in one piece."""

    def step_of(module: nn.Module, accelerator: Accelerator, step: int) -> StepOutcome:
        outcome = forward(step)
        accelerator.backward(outcome.loss)
        return replace(outcome, loss=outcome.loss.detach())

    return step_of


@dataclass(frozen=True)
class Validation:
    """How good a module is by held-out data, in figures of which the first is to grow, and what to
    do with the best so far. Both are called in the main process alone."""

    measure: Callable[[], Figures]
    keep: Callable[[], None]
    patience: int | None = None  # so many validations without a better one end the training


@dataclass(frozen=True)
class TrainingCallbacks:
    """Whoever looks on: told of each step and each line, asked whether to stop."""

    step: Callable[[int], None] = lambda step: None
    line: Callable[[Mapping[str, Any]], None] = lambda line: None
    note: Note = lambda message: None
    stop: Callable[[], bool] = lambda: False
    tensorboard: bool = False


NO_CALLBACKS = TrainingCallbacks()


@dataclass(frozen=True)
class FitResult:
    """How far it came, and what was best. `stopped`: it was asked to, and the state is saved."""

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
    watch: TrainingCallbacks = NO_CALLBACKS,
) -> FitResult:
    """Train the parameters of `module` that require gradients.

    Writes `folder/log.jsonl` and `folder/state/`, from which the same call goes on. Must run in
    every process of `accelerate launch`; the main one alone writes.

    Args:
        identity: JSON of what may not differ between the runs that one state goes through.

    Raises:
        UsageError: the state there was made with another `identity`.
        RagVqaError: a loss, a feature or a gradient is no number; nothing is saved.
    """
    run = _FitState(module, plan, folder, accelerator, identity, watch)
    if validation is not None and run.to_validate:  # it ended within that
        run.validate(validation)
    while run.step < plan.steps and not run.ended:
        outcome, norm = run.advance(step_of)
        run.count(outcome, norm)
        last = run.step == plan.steps
        if run.step % plan.log_every == 0 or last:
            run.log()
        if validation is not None and run.to_validate:
            run.validate(validation)
        elif run.step % plan.save_every == 0 or last or run.ended:
            run.save()
    return run.finish()


class _FitState:
    """What a training has in hand between two steps."""

    def __init__(
        self,
        module: nn.Module,
        plan: TrainingPlan,
        folder: Path,
        accelerator: Accelerator,
        identity: Mapping[str, Any],
        watch: TrainingCallbacks,
    ) -> None:
        self.plan, self.folder, self.accelerator, self.watch = plan, folder, accelerator, watch
        self.module, self.identity = module, dict(identity)
        self.finite = NanGuard(module, accelerator)
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
                folder / LOG_FILE, self.step, self.validated, watch.tensorboard
            )
        self.started, self.counted = time.monotonic(), 0

    @property
    def ended(self) -> bool:
        return self.stopped or self.exhausted

    @property
    def to_validate(self) -> bool:
        """Whether this step is one after which it validates, and has not yet."""
        due = self.step % self.plan.validate_every == 0 or self.step == self.plan.steps
        return due and self.validated < self.step

    def advance(self, step_of: StepFunction) -> tuple[StepOutcome, float]:
        """One step: gradients, whether they are numbers, an update."""
        plan, step = self.plan, self.step
        torch.manual_seed(_step_seed(plan.seed, step, self.accelerator.process_index))
        for group, base in zip(self.optimizer.param_groups, self.bases, strict=True):
            group["lr"] = base * cosine_rate(step, plan.steps, plan.warmup)
        outcome = step_of(self.prepared, self.accelerator, step)
        for p in self.module.parameters():
            if p.requires_grad and p.grad is None:  # of a modality that no pair of the batch had
                p.grad = torch.zeros_like(p)
        # The norm is scaled to `clip` by accelerate, which takes fp16's own scale off first.
        norm = self.accelerator.clip_grad_norm_(self.prepared.parameters(), plan.clip)
        self.stopped = self.finite.check(step, outcome.loss, norm, outcome.names, self.watch.stop())
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        self.watch.step(self.step)
        return outcome, float(norm)

    def count(self, outcome: StepOutcome, norm: float) -> None:
        """Add a step to the sums of the next line."""
        figures = {"loss": float(outcome.loss), "norm": norm, **outcome.figures}
        for name, value in {**figures, "steps": 1}.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value)
        self.counted += outcome.items

    def log(self) -> None:
        """One line: means over steps and processes since the line before."""
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
            self.watch.line(self.log_file.write(self.step, line))

    def validate(self, validation: Validation) -> None:
        """Measure in the main process, keep the best model so far. The state is saved before."""
        began = time.monotonic()
        self.save()
        if self.accelerator.is_main_process:
            assert self.log_file is not None
            figures = dict(validation.measure())
            self.watch.line(self.log_file.write(self.step, figures, "validation"))
            first = next(iter(figures))
            self.since_best += 1
            if not self.best or figures[first] > self.best[first]:
                validation.keep()
                self.best, self.since_best = {"step": self.step, **figures}, 0
        patience = validation.patience
        self.exhausted = self._said_by_main(patience is not None and self.since_best >= patience)
        self.validated = self.step
        self.save()
        self.started += time.monotonic() - began  # validation is no training

    def _said_by_main(self, value: bool) -> bool:
        if self.accelerator.num_processes == 1:
            return value
        flag = torch.tensor([float(value and self.accelerator.is_main_process)])
        return bool(self.accelerator.reduce(flag.to(self.accelerator.device), "sum"))

    def save(self) -> None:
        """Write the state, in the main process."""
        if self.accelerator.is_main_process:
            said = {
                "identity": self.identity,
                "world": self.accelerator.num_processes,
                "sums": self.sums,
                "best": self.best,
                "since_best": self.since_best,
                "validated": self.validated,
                "exhausted": self.exhausted,
            }
            if self.accelerator.scaler is not None:
                said["scaler"] = self.accelerator.scaler.state_dict()
            tensors = training_state.state_tensors(self.module, self.optimizer)
            training_state.save_state(
                self.folder / STATE_FOLDER, training_state.TrainingState(self.step, tensors, said)
            )

    def _resume(self, optimizer: torch.optim.Optimizer) -> None:
        folder, note = self.folder / STATE_FOLDER, self.watch.note
        note = note if self.accelerator.is_main_process else lambda message: None
        saved = training_state.load_newest_state(folder, note)
        if saved is None:
            return
        hint = "Resume with the same settings, or give another folder."
        fingerprint.check_unchanged(self.folder, saved.said["identity"], self.identity, hint)
        if (world := saved.said["world"]) != self.accelerator.num_processes:
            note(
                f"{self.folder} was begun by {world} processes, now there are "
                f"{self.accelerator.num_processes}: what comes out differs in its last digits."
            )
        training_state.restore_state(saved.tensors, self.module, optimizer)
        self.step, self.sums = saved.step, dict(saved.said["sums"])
        self.best, self.since_best = dict(saved.said["best"]), saved.said["since_best"]
        self.exhausted, self.validated = saved.said["exhausted"], saved.said["validated"]
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(saved.said["scaler"])

    def finish(self) -> FitResult:
        """Undo what accelerate did to the module, and say how far it came."""
        self.finite.remove()
        self.accelerator.unwrap_model(self.prepared, keep_fp32_wrapper=False)
        self.accelerator.free_memory()
        return FitResult(self.step, self.stopped, self.best)


def _step_seed(seed: int, step: int, rank: int) -> int:
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0])


def make_accelerator(
    precision: str, note: Callable[[str], None] = lambda message: None
) -> Accelerator:
    """What moves, wraps and steps. Weights stay float32; `precision` is that of forward passes.

    On a CPU bf16 holds where the processor multiplies it natively (a small model's step takes half
    the time there), and is said to be fp32 elsewhere, where it would only be slower.

    Raises:
        UsageError: fp16 without a GPU.
    """
    # A process may train twice, in another precision: accelerate keeps the first one's otherwise.
    AcceleratorState._reset_state()
    # Not PartialState: it overlooks ACCELERATE_USE_CPU, and then several processes are one each.
    wait = InitProcessGroupKwargs(timeout=PROCESS_TIMEOUT)
    first = Accelerator(mixed_precision="no", kwargs_handlers=[wait])
    on_cpu = first.device.type == "cpu"
    if on_cpu and precision == "fp16":
        raise UsageError("precision fp16 needs a GPU. Here: precision: bf16, or fp32.")
    if on_cpu and precision == "bf16" and not torch.cpu._is_avx512_bf16_supported():
        told = note if first.is_main_process else lambda message: None
        told("This processor does not multiply bf16 natively: fp32 is computed instead.")
        precision = "fp32"
    AcceleratorState._reset_state()
    if not on_cpu:
        torch.use_deterministic_algorithms(True, warn_only=True)
    return Accelerator(mixed_precision=PRECISIONS[precision], kwargs_handlers=[wait])
