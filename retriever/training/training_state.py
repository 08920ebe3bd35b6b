"""The state of a training on disk, written atomically (the two newest are kept), and its log.

Knows tensors, file names, JSON lines and TensorBoard. The log is cut back to the state that a run
resumes from. Does not know what a step is made of, or models' own formats.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from rag_vqa.errors import Missing, RagVqaError
from rag_vqa.storage import atomic

KEPT_STATES = 2
_STATE_NAME = "step-{:09}.safetensors"
Figures = Mapping[str, float]


@dataclass(frozen=True)
class TrainingState:
    """The state from which a training resumes.

    Attributes:
        step: how many steps are done.
        tensors: trained parameters as `model.…`, the optimizer's state as `optimizer.…`.
        record: JSON from the loop: settings, sums for the log, the best figures so far.
    """

    step: int
    tensors: Mapping[str, Tensor]
    record: Mapping[str, Any]


def save_state(folder: Path, saved: TrainingState) -> None:
    """Write `saved` into `folder`, and remove all but the two newest states."""
    atomic.make_folder(folder)
    path = folder / _STATE_NAME.format(saved.step)
    tensors = {name: t.detach().cpu().contiguous() for name, t in saved.tensors.items()}
    record = json.dumps(saved.record)
    metadata = {"step": str(saved.step), "said": record, "digest": _digest_state(tensors, record)}
    with atomic.partial_file(path) as new, atomic.translate_os_errors(path):
        save_file(tensors, new, metadata)
    for old in _newest_first(folder)[KEPT_STATES:]:
        atomic.remove_file(old)


def load_newest_state(folder: Path, note: Callable[[str], None]) -> TrainingState | None:
    """The newest undamaged state; None if the folder has none. Skips damaged ones with a note.

    Raises:
        RagVqaError: all of them are damaged.
    """
    found = _newest_first(folder)
    for path in found:
        try:
            return _read_state(path)
        except (SafetensorError, KeyError, ValueError) as error:
            note(f"{path} is damaged ({' '.join(str(error).split())}): using the state before it.")
    if found:
        raise RagVqaError(
            f"{folder}: all states of this training are damaged. To start again, delete it."
        )
    return None


def completed_steps(folder: Path) -> int:
    """How many steps the newest state has done; 0 without a state."""
    return max((int(path.stem.partition("-")[2]) for path in _newest_first(folder)), default=0)


def state_tensors(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Trained parameters and the optimizer's state by name, as in `TrainingState`."""
    out = {f"model.{n}": p.detach() for n, p in module.named_parameters() if p.requires_grad}
    for number, entry in optimizer.state_dict()["state"].items():
        out |= {f"optimizer.{number}.{key}": value for key, value in entry.items()}
    return out


@torch.no_grad()
def restore_state(
    tensors: Mapping[str, Tensor], module: nn.Module, opt: torch.optim.Optimizer
) -> None:
    """The inverse of `state_tensors`, for a module and an optimizer of the same kind.

    Raises:
        RagVqaError: the module trains other parameters.
    """
    trained = {f"model.{n}": p for n, p in module.named_parameters() if p.requires_grad}
    if strange := trained.keys() ^ {name for name in tensors if name.startswith("model.")}:
        raise RagVqaError(f"the state is of another model: {', '.join(sorted(strange)[:3])}.")
    for name, parameter in trained.items():
        parameter.copy_(tensors[name])
    entries: dict[int, dict[str, Tensor]] = defaultdict(dict)
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, number, key = name.split(".")
            entries[int(number)][key] = value
    opt.load_state_dict({**opt.state_dict(), "state": dict(entries)})


def _read_state(path: Path) -> TrainingState:
    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if metadata["digest"] != _digest_state(tensors, metadata["said"]):
        raise ValueError("its bytes are not those that were written")
    return TrainingState(int(metadata["step"]), tensors, json.loads(metadata["said"]))


def _digest_state(tensors: Mapping[str, Tensor], record: str) -> str:
    """safetensors has no checksum, and training would silently continue with a flipped bit."""
    digest = hashlib.sha256(record.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*.safetensors"), reverse=True)


class TrainingLog:
    """A log of JSON lines, each with its step.

    Removes lines after step `first`, and validations after step `validated`: they were written
    after the state from which the run resumes, and will be written again.

    Raises:
        Missing: `tensorboard` is set, and TensorBoard is not installed.
    """

    def __init__(
        self, path: Path, first: int, validated: int = 0, tensorboard: bool = False
    ) -> None:
        self.path = path
        if path.exists():
            kept = [
                x
                for x in path.read_text("utf-8").splitlines()
                if _is_before_state(x, first, validated)
            ]
            atomic.write_file(path, "".join(f"{x}\n" for x in kept).encode())
        self.board = _open_tensorboard(path.parent / "tensorboard", first) if tensorboard else None

    def write(self, step: int, figures: Figures, kind: str = "train") -> dict[str, Any]:
        """Write one line of rounded figures; returns it."""
        line = {"step": step, "kind": kind, **{k: round(v, 6) for k, v in figures.items()}}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if self.board is not None:
            for name, value in figures.items():
                self.board.add_scalar(f"{kind}/{name}", value, step)
            self.board.flush()
        return line


def _is_before_state(line: str, first: int, validated: int) -> bool:
    """Whether a complete line was written before the saved state."""
    try:
        entry = json.loads(line)
    except ValueError:
        return False
    return bool(entry["step"] <= (validated if entry["kind"] == "validation" else first))


def _open_tensorboard(folder: Path, first: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise Missing(
            "tensorboard: true, but TensorBoard is not installed. Get it: pip install "
            "'rag-vqa[train]', or leave it out: log.jsonl is written anyway."
        ) from error
    return SummaryWriter(str(folder), purge_step=first + 1)
