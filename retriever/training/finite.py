"""Whether what a step makes are numbers; if not, every process stops at once, and says where.

Knows losses, features, gradients, and the names of a batch's rows. A gathered loss is no number
in every process as soon as one process's features are none, so features are looked at as well.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn

from rag_vqa.errors import RagVqaError

SKIPS = 20  # in a row: fp16's scale begins too high, and is halved until gradients fit
SHOWN = 64  # names


class Finite:
    """Looks at what `module` returns, from now until `remove`."""

    def __init__(self, module: nn.Module, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self.skipped = 0
        self.whole: Tensor | None = None
        self._hook = module.register_forward_hook(self._look)

    def remove(self) -> None:
        """Look no more."""
        self._hook.remove()

    def check(
        self, step: int, loss: Tensor, norm: Tensor, names: tuple[str, ...], stop: bool
    ) -> bool:
        """Whether any process was asked to stop. All processes must call it, in every step.

        Args:
            norm: of the gradients, that of all processes.

        Raises:
            RagVqaError: in all processes, if in any something is no number.
        """
        features = True if self.whole is None else bool(self.whole)
        self.whole = None
        number = bool(torch.isfinite(loss))
        fits = bool(torch.isfinite(norm))
        flags = torch.tensor([float(not features), float(not number), float(not fits), float(stop)])
        bad_features, bad_loss, bad_gradients, stops = self._over_all(flags)
        overflow = bad_gradients and not (bad_features or bad_loss) and self._scaled()
        self.skipped = self.skipped + 1 if overflow else 0
        if bad_features or bad_loss or self.skipped > SKIPS or (bad_gradients and not overflow):
            what = "features" if bad_features else "a loss" if bad_loss else "gradients"
            raise RagVqaError(self._told(step, what, names, features=features, number=number))
        return stops

    def _scaled(self) -> bool:
        return self.accelerator.scaler is not None

    def _over_all(self, flags: Tensor) -> list[bool]:
        if self.accelerator.num_processes > 1:
            flags = self.accelerator.reduce(flags.to(self.accelerator.device), "sum")
        return [bool(flag) for flag in flags.tolist()]

    def _told(
        self, step: int, what: str, names: tuple[str, ...], *, features: bool, number: bool
    ) -> str:
        mine = [(self.accelerator.process_index, names, features, number)]
        every = gather_object(mine)
        guilty = [e for e in every if not e[2]] or [e for e in every if not e[3]] or every
        shown = "; ".join(f"process {rank}: {_listed(rows)}" for rank, rows, _, _ in guilty)
        return (
            f"Step {step}: {what} that are no numbers ({shown}). Nothing was saved of this step. "
            "Look at these rows, or go on with another folder and a smaller rate."
        )

    def _look(self, module: nn.Module, inputs: Any, output: Any) -> None:
        for tensor in _tensors(output):
            if tensor.is_floating_point():
                fine = torch.isfinite(tensor.detach()).all()
                self.whole = fine if self.whole is None else self.whole & fine


def _listed(names: tuple[str, ...]) -> str:
    if not names:
        return "its batch"
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _tensors(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        yield from _tensors(list(output.values()))
    elif isinstance(output, list | tuple):
        for part in output:
            yield from _tensors(part)
