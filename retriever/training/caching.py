"""A step's gradients, whole or in chunks that fit (gradient caching, Gao et al. 2021).

Knows a module like TwoSides, a Batch, and the objective. Does not know optimizers.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import get_device_states, set_device_states

from rag_vqa.errors import UsageError
from rag_vqa.retriever.training.batch import Batch
from rag_vqa.retriever.training.objective import objective

Inputs = Mapping[str, Tensor]


def gradients(
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
        loss, figures = objective(queries, passages, scale, *right, symmetric)
        backward(loss)
        return loss.detach(), figures
    parts = [(part(batch.query, i, chunks), part(batch.passage, i, chunks)) for i in range(chunks)]
    queries, passages, scale, states = _features(module, parts)
    loss, figures = objective(queries, passages, scale, *right, symmetric)
    grads = torch.autograd.grad(loss, (queries, passages, scale))
    _again(module, parts, states, grads, backward, no_sync)
    return loss.detach(), figures


def part(inputs: Inputs, i: int, parts: int) -> dict[str, Tensor]:
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


def _features(
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


def _again(
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
