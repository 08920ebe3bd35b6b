"""Gradients of one step: whole or in chunks (gradient caching), with a guard against NaN.

Gradient caching: Gao et al. 2021. Knows a module like DualEncoder, a batch, the objective. Does not
know optimizers. A gathered loss is NaN in every process as soon as one process's features are, so
the guard looks at features as well and names the rows that caused it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.utils.checkpoint import get_device_states, set_device_states

from rag_vqa.errors import RagVqaError, UsageError
from rag_vqa.retriever.training.objective import contrastive_objective
from rag_vqa.retriever.training.training_pairs import Batch

Inputs = Mapping[str, Tensor]
MAX_SKIPPED_STEPS = 20  # in a row: fp16's scale begins too high, and is halved until gradients fit
SHOWN_NAMES = 64  # names


def compute_gradients(
    module: nn.Module,
    batch: Batch,
    *,
    chunks: int = 1,
    symmetric: bool = True,
    backward: Callable[[Tensor], Any],
    no_sync: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> tuple[Tensor, dict[str, float]]:
    """Forward and backward of one step; gradients are added to the parameters'.

    In chunks: the features of all without their graphs, the loss's gradient with respect to them,
    then chunk by chunk again, from the random state that it had, with that gradient. Costs a
    second forward, and the memory of one chunk; the loss is of the whole batch.

    Args:
        module: TwoSides, or DDP around it.
        chunks: parts of this rank's share; the same number on all ranks.
        backward: `Accelerator.backward`, or `Tensor.backward`.
        no_sync: `lambda: accelerator.no_sync(module)`: entered for all chunks but the last.

    Returns: the loss () without graph, and the objective's figures.
    Raises UsageError where there are more chunks than queries.
    """
    check_chunks(chunks, len(batch.positives))
    right = batch.passage_ids, batch.positives
    if chunks == 1:
        queries, passages, scale = module(batch.query, batch.passage)
        loss, figures = contrastive_objective(queries, passages, scale, *right, symmetric)
        backward(loss)
        return loss.detach(), figures
    parts = [
        (split_inputs(batch.query, i, chunks), split_inputs(batch.passage, i, chunks))
        for i in range(chunks)
    ]
    queries, passages, scale, states = _cached_features(module, parts)
    loss, figures = contrastive_objective(queries, passages, scale, *right, symmetric)
    grads = torch.autograd.grad(loss, (queries, passages, scale))
    _backward_chunks(module, parts, states, grads, backward, no_sync)
    return loss.detach(), figures


def split_inputs(inputs: Inputs, i: int, parts: int) -> dict[str, Tensor]:
    """The i-th part of one side's rows, with those pictures alone that it shows."""
    of = dict(inputs)
    pictures = of.pop("pixel_values", None) if "image_index" in of else None
    found = {name: tensor.tensor_split(parts)[i] for name, tensor in of.items()}
    if pictures is not None:
        index, shown = found["image_index"], found.get("image_mask")
        if shown is not None:  # absent pictures have a place too: any that is there anyway
            index = torch.where(shown.bool(), index, index[shown.argmax()])
        used, found["image_index"] = torch.unique(index, return_inverse=True)
        found["pixel_values"] = pictures[used]
    return found


def _cached_features(
    module: nn.Module, parts: Sequence[tuple[Inputs, Inputs]]
) -> tuple[Tensor, Tensor, Tensor, list[Any]]:
    """Queries, passages and scale of all parts as leaves; the random states before each part."""
    queries, passages, states, scale = [], [], [], torch.empty(())
    with torch.no_grad():
        for query, passage in parts:
            states.append((torch.get_rng_state(), *get_device_states(*query.values())))
            some, others, scale = module(query, passage)
            queries.append(some)
            passages.append(others)
    # Older torch hands weights that autocast cast here, without a graph, to the second forward.
    torch.clear_autocast_cache()
    leaves = [x.requires_grad_() for x in (torch.cat(queries), torch.cat(passages), scale.detach())]
    return leaves[0], leaves[1], leaves[2], states


def _backward_chunks(
    module: nn.Module,
    parts: Sequence[tuple[Inputs, Inputs]],
    states: list[Any],
    grads: tuple[Tensor, ...],
    backward: Callable[[Tensor], Any],
    no_sync: Callable[[], AbstractContextManager[Any]],
) -> None:
    of_queries, of_passages, of_scale = grads
    for i, (query, passage) in enumerate(parts):
        last = i == len(parts) - 1
        with nullcontext() if last else no_sync():
            cpu, devices, others = states[i]
            torch.set_rng_state(cpu)
            set_device_states(devices, others)
            some, more, scale = module(query, passage)
            product = (some * of_queries.tensor_split(len(parts))[i]).sum()
            product = product + (more * of_passages.tensor_split(len(parts))[i]).sum()
            backward(product + scale * of_scale if last else product)


def check_chunks(chunks: int, share: int) -> None:
    """Raises UsageError where a process's share of a batch does not make so many chunks."""
    if not 1 <= chunks <= share:
        raise UsageError(
            f"{chunks} chunks of {share} pairs a process: set chunks from 1 to {share}, or a "
            "larger batch."
        )


class NanGuard:
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
        if (
            bad_features
            or bad_loss
            or self.skipped > MAX_SKIPPED_STEPS
            or (bad_gradients and not overflow)
        ):
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
        shown = "; ".join(f"process {rank}: {_join_names(rows)}" for rank, rows, _, _ in guilty)
        return (
            f"Step {step}: {what} that are no numbers ({shown}). Nothing was saved of this step. "
            "Look at these rows, or go on with another folder and a smaller rate."
        )

    def _look(self, module: nn.Module, inputs: Any, output: Any) -> None:
        for tensor in _iter_tensors(output):
            if tensor.is_floating_point():
                fine = torch.isfinite(tensor.detach()).all()
                self.whole = fine if self.whole is None else self.whole & fine


def _join_names(names: tuple[str, ...]) -> str:
    if not names:
        return "its batch"
    more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    return ", ".join(names[:SHOWN_NAMES]) + more


def _iter_tensors(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        yield from _iter_tensors(list(output.values()))
    elif isinstance(output, list | tuple):
        for part in output:
            yield from _iter_tensors(part)
