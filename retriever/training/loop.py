"""The training loop: steps, a schedule, validation, a log, and a state that resumes to the byte.

Knows modules, and a function that makes the gradients of a step. Does not know data: whoever
trains draws the batch of step i as a function of i alone, so that a resumed run sees what the
straight one saw. The random state, too, is a function of (seed, step, rank): none is saved.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from rag_vqa.errors import UsageError
from rag_vqa.retriever.store import files
from rag_vqa.retriever.training import checkpoint
from rag_vqa.retriever.training.finite import Finite
from rag_vqa.retriever.training.logs import Figures, Log
from rag_vqa.retriever.training.optimizer import cosine, made

STATE, LOG = "state", "log.jsonl"
Note = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """How long and how fast. Rates are by step, never by the clock."""

    steps: int
    warmup: int = 50
    optimizer: str = "muon"
    matrix_rate: float = 0.02
    rate: float = 2e-3
    weight_decay: float = 0.01
    clip: float = 1.0
    log_every: int = 50
    save_every: int = 200
    validate_every: int = 200
    seed: int = 0


@dataclass(frozen=True)
class Outcome:
    """What a step came to: its loss, figures of it, how many pairs it saw, and their names."""

    loss: Tensor
    figures: Figures = field(default_factory=dict)
    items: int = 0
    names: tuple[str, ...] = ()


# Forward and backward of step i, of this process's share, on the prepared module.
StepOf = Callable[[nn.Module, Accelerator, int], Outcome]


def whole(forward: Callable[[int], Outcome]) -> StepOf:
    """Of a function that computes a step's loss, with its graph, in one piece."""

    def step_of(module: nn.Module, accelerator: Accelerator, step: int) -> Outcome:
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
class Watch:
    """Whoever looks on: told of each step and each line, asked whether to stop."""

    step: Callable[[int], None] = lambda step: None
    line: Callable[[Mapping[str, Any]], None] = lambda line: None
    note: Note = lambda message: None
    stop: Callable[[], bool] = lambda: False
    tensorboard: bool = False


NOBODY = Watch()


@dataclass(frozen=True)
class Fitted:
    """How far it came, and what was best. `stopped`: it was asked to, and the state is saved."""

    step: int
    stopped: bool
    best: Figures


def fit(
    module: nn.Module,
    step_of: StepOf,
    plan: Plan,
    folder: Path,
    accelerator: Accelerator,
    *,
    identity: Mapping[str, Any],
    validation: Validation | None = None,
    watch: Watch = NOBODY,
) -> Fitted:
    """Train the parameters of `module` that require gradients.

    Writes `folder/log.jsonl` and `folder/state/`, from which the same call goes on. Must run in
    every process of `accelerate launch`; the main one alone writes.

    Args:
        identity: JSON of what may not differ between the runs that one state goes through.

    Raises:
        UsageError: the state there was made with another `identity`.
        RagVqaError: a loss, a feature or a gradient is no number; nothing is saved.
    """
    run = _Run(module, plan, folder, accelerator, identity, watch)
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


class _Run:
    """What a training has in hand between two steps."""

    def __init__(
        self,
        module: nn.Module,
        plan: Plan,
        folder: Path,
        accelerator: Accelerator,
        identity: Mapping[str, Any],
        watch: Watch,
    ) -> None:
        self.plan, self.folder, self.accelerator, self.watch = plan, folder, accelerator, watch
        self.module, self.identity = module, dict(identity)
        self.finite = Finite(module, accelerator)
        files.make_folder(folder)
        module.to(accelerator.device)
        optimizer = made(module.named_parameters(), plan)
        self.bases = [group["lr"] for group in optimizer.param_groups]
        self.step, self.stopped, self.exhausted = 0, False, False
        self.best: dict[str, float] = {}
        self.validated = self.since_best = 0
        self.sums: dict[str, float] = {}
        self._resume(optimizer)
        self.prepared, self.optimizer = accelerator.prepare(module, optimizer)
        self.log_file = None
        if accelerator.is_main_process:
            self.log_file = Log(folder / LOG, self.step, self.validated, watch.tensorboard)
        self.started, self.counted = time.monotonic(), 0

    @property
    def ended(self) -> bool:
        return self.stopped or self.exhausted

    @property
    def to_validate(self) -> bool:
        """Whether this step is one after which it validates, and has not yet."""
        due = self.step % self.plan.validate_every == 0 or self.step == self.plan.steps
        return due and self.validated < self.step

    def advance(self, step_of: StepOf) -> tuple[Outcome, float]:
        """One step: gradients, whether they are numbers, an update."""
        plan, step = self.plan, self.step
        torch.manual_seed(_seed(plan.seed, step, self.accelerator.process_index))
        for group, base in zip(self.optimizer.param_groups, self.bases, strict=True):
            group["lr"] = base * cosine(step, plan.steps, plan.warmup)
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

    def count(self, outcome: Outcome, norm: float) -> None:
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
            tensors = checkpoint.tensors_of(self.module, self.optimizer)
            checkpoint.save(self.folder / STATE, checkpoint.Saved(self.step, tensors, said))

    def _resume(self, optimizer: torch.optim.Optimizer) -> None:
        folder, note = self.folder / STATE, self.watch.note
        note = note if self.accelerator.is_main_process else lambda message: None
        saved = checkpoint.newest(folder, note)
        if saved is None:
            return
        if differing := checkpoint.differing(saved.said["identity"], self.identity):
            raise UsageError(
                f"{self.folder} holds a training with other settings: {differing}. Go on with "
                "those, or give another folder."
            )
        if (world := saved.said["world"]) != self.accelerator.num_processes:
            note(
                f"{self.folder} was begun by {world} processes, now there are "
                f"{self.accelerator.num_processes}: what comes out differs in its last digits."
            )
        checkpoint.restore(saved.tensors, self.module, optimizer)
        self.step, self.sums = saved.step, dict(saved.said["sums"])
        self.best, self.since_best = dict(saved.said["best"]), saved.said["since_best"]
        self.exhausted, self.validated = saved.said["exhausted"], saved.said["validated"]
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(saved.said["scaler"])

    def finish(self) -> Fitted:
        """Undo what accelerate did to the module, and say how far it came."""
        self.finite.remove()
        self.accelerator.unwrap_model(self.prepared, keep_fp32_wrapper=False)
        self.accelerator.free_memory()
        return Fitted(self.step, self.stopped, self.best)


def _seed(seed: int, step: int, rank: int) -> int:
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0])
