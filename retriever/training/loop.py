"""The training loop: steps, a schedule, a log of JSON lines, a state that resumes.

Knows modules and a function from step number to loss. Does not know data: whoever trains draws
the batch of step i from a generator seeded by (seed, i), so a resumed run sees the same batches.
"""

import json
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rag_vqa.errors import RagVqaError, UsageError
from rag_vqa.retriever.training.optimizer import MuonAdamW, cosine

LossOf = Callable[[int], tuple[Tensor, Mapping[str, float]]]


@dataclass(frozen=True)
class Plan:
    """How long and how fast. Rates are by step, never by the clock."""

    steps: int
    warmup: int = 50
    matrix_rate: float = 0.02
    rate: float = 2e-3
    log_every: int = 50
    save_every: int = 200
    seed: int = 0


def autocast() -> AbstractContextManager[object]:
    """For the forward pass alone: bfloat16 where this processor multiplies it natively, else
    float32. On such a CPU a small model's step takes half the time; weights stay float32."""
    return torch.autocast("cpu", torch.bfloat16, enabled=torch.cpu._is_avx512_bf16_supported())


def fit(module: nn.Module, loss_of: LossOf, plan: Plan, folder: Path, name: str) -> None:
    """Train the parameters of `module` that require gradients.

    Writes `folder/name.jsonl` (one line each `log_every` steps) and `folder/name.state`
    (safetensors), from which the same call goes on. Raises RagVqaError on a loss that is no
    number, before anything is saved.
    """
    folder.mkdir(parents=True, exist_ok=True)
    optimizer = MuonAdamW(module.named_parameters(), matrix_rate=plan.matrix_rate, rate=plan.rate)
    state = folder / f"{name}.state"
    first = _resume(module, optimizer, state, plan) if state.exists() else 0
    log_path = folder / f"{name}.jsonl"
    _cut_log(log_path, first)
    sums: dict[str, float] = {}
    started, since = time.monotonic(), first
    for step in range(first, plan.steps):
        loss, figures = loss_of(step)
        if not torch.isfinite(loss):
            raise RagVqaError(
                f"{name}: the loss of step {step} is {float(loss.detach())}: nothing saved."
            )
        loss.backward()  # type: ignore[no-untyped-call]
        norm = optimizer.step(cosine(step, plan.steps, plan.warmup))
        for key, value in {"loss": float(loss.detach()), "norm": norm, **figures}.items():
            sums[key] = sums.get(key, 0.0) + value
        if (step + 1) % plan.log_every == 0 or step + 1 == plan.steps:
            count, seconds = step + 1 - since, time.monotonic() - started
            line = {"step": step + 1, **{k: round(v / count, 4) for k, v in sums.items()}}
            line["seconds_per_step"] = round(seconds / count, 3)
            with log_path.open("a") as log:
                log.write(json.dumps(line) + "\n")
            print(name, line, flush=True)
            sums, since, started = {}, step + 1, time.monotonic()
        if (step + 1) % plan.save_every == 0 or step + 1 == plan.steps:
            _save(module, optimizer, step + 1, state, plan)


def _save(module: nn.Module, optimizer: MuonAdamW, step: int, path: Path, plan: Plan) -> None:
    trained = {n: p for n, p in module.named_parameters() if p.requires_grad}
    tensors = {f"model.{n}": p.detach() for n, p in trained.items()}
    tensors |= {f"optimizer.{n}": t for n, t in optimizer.state().items()}
    tensors["step"] = torch.tensor(step)
    scratch = path.with_suffix(".tmp")
    metadata = {"plan": json.dumps(asdict(plan))}
    save_file({n: t.contiguous() for n, t in tensors.items()}, scratch, metadata)
    scratch.replace(path)


def _resume(module: nn.Module, optimizer: MuonAdamW, path: Path, plan: Plan) -> int:
    with safe_open(path, "pt") as file:
        said = json.loads((file.metadata() or {}).get("plan", "{}"))
    if said != asdict(plan):
        raise UsageError(
            f"{path} belongs to another run ({said}). Go on with its settings, or delete it."
        )
    tensors = load_file(path)
    parameters = dict(module.named_parameters())
    with torch.no_grad():
        for name, tensor in tensors.items():
            if name.startswith("model."):
                parameters[name.removeprefix("model.")].copy_(tensor)
    prefix = "optimizer."
    optimizer.restore(
        {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
    )
    return int(tensors["step"])


def _cut_log(path: Path, step: int) -> None:
    """Lines beyond the state that a run goes on from will be written again."""
    if path.exists():
        lines = path.read_text("utf-8").splitlines(keepends=True)
        path.write_text("".join(x for x in lines if json.loads(x)["step"] <= step), "utf-8")
