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
MAX_SKIPPED_STEPS = 20  # in a row: fp16's scale starts too high, and is halved until gradients fit
SHOWN_NAMES = 64  # of rows in an error


def compute_gradients(
    module: nn.Module,
    batch: Batch,
    *,
    chunks: int = 1,
    symmetric: bool = True,
    backward: Callable[[Tensor], Any],
    no_sync: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> tuple[Tensor, dict[str, float]]:
    """Forward and backward of one step; adds gradients to the parameters'.

    With chunks: first encodes all without graphs, then takes the loss's gradient by the features,
    then encodes chunk by chunk again, from the same random state, and goes back with that
    gradient. Costs a second forward, needs the memory of one chunk, and the loss is of the whole
    batch.

    Args:
        module: DualEncoder, or DDP around it.
        chunks: number of parts of this rank's share, the same on all ranks.
        backward: `Accelerator.backward`, or `Tensor.backward`.
        no_sync: `lambda: accelerator.no_sync(module)`, entered for all chunks but the last.

    Returns: the loss () without graph, and the objective's metrics.
    Raises UsageError if there are more chunks than queries.
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
    """The i-th part of one side's rows, with only the pictures of these rows."""
    per_row = dict(inputs)
    pictures = per_row.pop("pixel_values", None) if "image_index" in per_row else None
    part = {name: tensor.tensor_split(parts)[i] for name, tensor in per_row.items()}
    if pictures is not None:
        index, present = part["image_index"], part.get("image_mask")
        if present is not None:  # an absent picture has an index too: let it be one in use
            index = torch.where(present.bool(), index, index[present.argmax()])
        used, part["image_index"] = torch.unique(index, return_inverse=True)
        part["pixel_values"] = pictures[used]
    return part


def _cached_features(
    module: nn.Module, parts: Sequence[tuple[Inputs, Inputs]]
) -> tuple[Tensor, Tensor, Tensor, list[Any]]:
    """Queries, passages and scale of all parts as leaves; the random states before each part."""
    queries, passages, states, scale = [], [], [], torch.empty(())
    with torch.no_grad():
        for query, passage in parts:
            states.append((torch.get_rng_state(), *get_device_states(*query.values())))
            query_part, passage_part, scale = module(query, passage)
            queries.append(query_part)
            passages.append(passage_part)
    # Older torch would reuse the weights that autocast cast here, without a graph, in the second
    # forward.
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
    """Encode chunk by chunk again, each from its random state, and go back from `grads`."""
    query_grads, passage_grads, scale_grad = grads
    for i, (query, passage) in enumerate(parts):
        last = i == len(parts) - 1
        with nullcontext() if last else no_sync():
            cpu_state, devices, device_states = states[i]
            torch.set_rng_state(cpu_state)
            set_device_states(devices, device_states)
            queries, passages, scale = module(query, passage)
            product = (queries * query_grads.tensor_split(len(parts))[i]).sum()
            product = product + (passages * passage_grads.tensor_split(len(parts))[i]).sum()
            backward(product + scale * scale_grad if last else product)


def check_chunks(chunks: int, share: int) -> None:
    """Raises UsageError if a process's share of a batch is too small for this number of chunks."""
    if not 1 <= chunks <= share:
        raise UsageError(
            f"{chunks} chunks of {share} pairs a process: set chunks from 1 to {share}, or a "
            "larger batch."
        )


class NanGuard:
    """Checks the outputs of `module` for NaN and infinity, from now until `remove`."""

    def __init__(self, module: nn.Module, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self.skipped = 0
        self._finite: Tensor | None = None  # whether all outputs of this step are
        self._hook = module.register_forward_hook(self._watch)

    def remove(self) -> None:
        """Stop checking."""
        self._hook.remove()

    def check(
        self, step: int, loss: Tensor, norm: Tensor, names: tuple[str, ...], stop: bool
    ) -> bool:
        """Whether any process wants to stop. All processes must call this in every step.

        Args:
            norm: of the gradients of all processes.
            names: of this process's rows, for the error.
            stop: whether this process wants to stop.

        Raises:
            RagVqaError: in all processes, if one of them has NaN or infinity.
        """
        features_fine = True if self._finite is None else bool(self._finite)
        self._finite = None
        loss_fine, gradients_fine = bool(torch.isfinite(loss)), bool(torch.isfinite(norm))
        faults = [not features_fine, not loss_fine, not gradients_fine, stop]
        bad_features, bad_loss, bad_gradients, stops = self._any_process(faults)
        scales_loss = self.accelerator.scaler is not None
        overflow = bad_gradients and not (bad_features or bad_loss) and scales_loss
        self.skipped = self.skipped + 1 if overflow else 0
        if (
            bad_features
            or bad_loss
            or self.skipped > MAX_SKIPPED_STEPS
            or (bad_gradients and not overflow)
        ):
            what = "features" if bad_features else "a loss" if bad_loss else "gradients"
            raise RagVqaError(self._describe(step, what, names, features_fine, loss_fine))
        return stops

    def _any_process(self, own_flags: Sequence[bool]) -> list[bool]:
        """Each flag: whether it is set in any process."""
        flags = torch.tensor([float(flag) for flag in own_flags])
        if self.accelerator.num_processes > 1:
            flags = self.accelerator.reduce(flags.to(self.accelerator.device), "sum")
        return [bool(flag) for flag in flags.tolist()]

    def _describe(
        self, step: int, problem: str, names: tuple[str, ...], features_fine: bool, loss_fine: bool
    ) -> str:
        """The error's text, which names the rows of the processes that caused it."""
        own = [(self.accelerator.process_index, names, features_fine, loss_fine)]
        every = gather_object(own)
        guilty = [e for e in every if not e[2]] or [e for e in every if not e[3]] or every
        rows = "; ".join(f"process {rank}: {_join_names(names)}" for rank, names, _, _ in guilty)
        return (
            f"Step {step}: {problem} that are not finite numbers ({rows}). This step was not "
            "saved. Check these rows, or continue in another folder with a smaller rate."
        )

    def _watch(self, module: nn.Module, inputs: Any, output: Any) -> None:
        for tensor in _iter_tensors(output):
            if tensor.is_floating_point():
                fine = torch.isfinite(tensor.detach()).all()
                self._finite = fine if self._finite is None else self._finite & fine


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
