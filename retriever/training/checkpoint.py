"""The state of a training on disk: written whole or not at all, the two newest kept.

Knows names, tensors and files. Does not know what a step is made of, or models' own formats.
"""

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

from rag_vqa.errors import RagVqaError
from rag_vqa.retriever.store import files

KEPT = 2
_NAME = "step-{:09}.safetensors"


@dataclass(frozen=True)
class Saved:
    """What a training goes on from.

    Attributes:
        step: how many are done.
        tensors: trained parameters as `model.…`, the optimizer's as `optimizer.…`.
        said: JSON of whoever saved: settings, sums of the log, the best so far.
    """

    step: int
    tensors: Mapping[str, Tensor]
    said: Mapping[str, Any]


def save(folder: Path, saved: Saved) -> None:
    """Write `saved` into `folder`, and remove what is older than the two newest."""
    files.make_folder(folder)
    path = folder / _NAME.format(saved.step)
    new = path.with_name(path.name + files.NEW)
    tensors = {name: t.detach().cpu().contiguous() for name, t in saved.tensors.items()}
    said = json.dumps(saved.said)
    metadata = {"step": str(saved.step), "said": said, "digest": _digest(tensors, said)}
    with files.explained(path):
        save_file(tensors, new, metadata)
    files.sync(new)
    files.replace(new, path)
    for old in _newest_first(folder)[KEPT:]:
        files.remove(old)


def newest(folder: Path, note: Callable[[str], None]) -> Saved | None:
    """The newest whole one; None where there is none. One that is damaged is said and passed over.

    Raises:
        RagVqaError: there are some, and none is whole.
    """
    found = _newest_first(folder)
    for path in found:
        try:
            return _read(path)
        except (SafetensorError, KeyError, ValueError) as error:
            note(f"{path} is damaged ({' '.join(str(error).split())}): the one before is taken.")
    if found:
        raise RagVqaError(f"{folder}: no state of this training is whole. Begin anew: delete it.")
    return None


def done(folder: Path) -> int:
    """How many steps the newest one there is of; 0: none is there."""
    return max((int(path.stem.partition("-")[2]) for path in _newest_first(folder)), default=0)


def tensors_of(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Trained parameters and the optimizer's state by name, as `Saved` holds them."""
    out = {f"model.{n}": p.detach() for n, p in module.named_parameters() if p.requires_grad}
    for number, entry in optimizer.state_dict()["state"].items():
        out |= {f"optimizer.{number}.{key}": value for key, value in entry.items()}
    return out


@torch.no_grad()
def restore(tensors: Mapping[str, Tensor], module: nn.Module, opt: torch.optim.Optimizer) -> None:
    """The inverse of `tensors_of`, on a module and an optimizer that were made alike.

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


def differing(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> str:
    """What differs between two trees, as "steps was 10, is 20".

    >>> differing({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 3}})
    'b.c was 2, is 3'
    """
    found = []
    for name in dict.fromkeys([*before, *now]):
        old, new = before.get(name), now.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            if inner := differing(old, new, f"{prefix}{name}."):
                found.append(inner)
        elif old != new:
            found.append(f"{prefix}{name} was {old}, is {new}")
    return ", ".join(found)


def _read(path: Path) -> Saved:
    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if metadata["digest"] != _digest(tensors, metadata["said"]):
        raise ValueError("its bytes are not those that were written")
    return Saved(int(metadata["step"]), tensors, json.loads(metadata["said"]))


def _digest(tensors: Mapping[str, Tensor], said: str) -> str:
    """safetensors has no checksum, and a flipped bit would train on in silence."""
    digest = hashlib.sha256(said.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*.safetensors"), reverse=True)
