"""Runs one model on batches and in several threads; halves a batch when memory runs out.

Knows lengths, out-of-memory errors, modules and CPU cores. Does not know prompts, or what is
generated. `ModelPool` gives each thread its own modules on shared weights, because some families
keep per-call state in their modules (the image positions of Qwen-VL).
"""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

T = TypeVar("T")
_log = logging.getLogger("rag_vqa")


class LengthBatcher:
    """Runs rows in batches of similar length. The first out-of-memory error halves the batches.

    Args:
        size: rows of one batch.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._halved = False

    def run(self, lengths: Sequence[int], run_batch: Callable[[list[int]], list[T]]) -> list[T]:
        """The result of each row, in the order of the rows.

        Args:
            lengths: tokens of each row. Rows of similar length share a batch, to save padding.
            run_batch: from the row numbers of one batch to their results.
        """
        rows = sorted(range(len(lengths)), key=lambda row: lengths[row])
        results: dict[int, T] = {}
        while len(results) < len(rows):
            batch = rows[len(results) : len(results) + self.size]
            if (made := self._try_batch(batch, run_batch)) is not None:
                results.update(zip(batch, made, strict=True))
        return [results[row] for row in range(len(lengths))]

    def _try_batch(
        self, batch: list[int], run_batch: Callable[[list[int]], list[T]]
    ) -> list[T] | None:
        """The results, or None if memory ran out: `size` is then half of the batch for good."""
        try:
            return run_batch(batch)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error) or self._halved or len(batch) < 2:
                raise
        # Outside of the handler, because the error keeps the allocated tensors alive.
        self._halved, self.size = True, (len(batch) + 1) // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        _log.warning("Out of memory with %d prompts: read %d at once", len(batch), self.size)
        return None


def is_out_of_memory(error: BaseException) -> bool:
    """True if the error means that memory ran out, on a GPU or a CPU."""
    on_cpu = isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error)
    return on_cpu or isinstance(error, torch.OutOfMemoryError)


class ModelPool:
    """Gives each thread modules of its own over the same weights.

    Args:
        model: a model of transformers. A single caller always gets the model itself.
    """

    def __init__(self, model: Any) -> None:
        self._lock = threading.Lock()
        self._model = model
        self.idle = [model]
        self._busy = 0
        self._on_cpu = torch.device(model.device).type == "cpu"
        self._cores = torch.get_num_threads()
        self._shared = False

    @contextmanager
    def acquire(self) -> Iterator[Any]:
        """Modules that no other thread uses meanwhile; on a CPU also a share of the cores."""
        with self._lock:
            self._busy += 1
            modules = self.idle.pop() if self.idle else _copy_modules(self._model)
            self._shared |= self._busy > 1
            if self._shared and self._on_cpu:  # set for this thread only
                torch.set_num_threads(max(1, self._cores // self._busy))
        try:
            yield modules
        finally:
            with self._lock:
                self._busy -= 1
                # The model itself is used first, so that a caller's changes to it take effect.
                self.idle.insert(len(self.idle) if modules is self._model else 0, modules)


def _copy_modules(model: Any) -> Any:
    """A copy of the modules that shares all weights."""
    memo: dict[int, Any] = {id(t): t for t in (*model.parameters(), *model.buffers())}
    for part in model.modules():
        state = getattr(part, "quant_state", None)  # bitsandbytes: scales beside a weight
        if state is not None:
            memo[id(state)] = state
    return copy.deepcopy(model, memo)
