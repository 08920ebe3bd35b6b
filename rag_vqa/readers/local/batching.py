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
    """Takes rows by length, `size` at once; the first time that memory runs out, half as many.

    Args:
        size: rows read at once.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._halved = False

    def read(self, lengths: Sequence[int], read: Callable[[list[int]], list[T]]) -> list[T]:
        """What `read` makes of each row, in the rows' order.

        Args:
            lengths: tokens of each row; like ones stand together, so that little is padding.
            read: from numbers of rows to what becomes of them.
        """
        rows = sorted(range(len(lengths)), key=lambda row: lengths[row])
        found: dict[int, T] = {}
        while len(found) < len(rows):
            batch = rows[len(found) : len(found) + self.size]
            if (made := self._tried(batch, read)) is not None:
                found.update(zip(batch, made, strict=True))
        return [found[row] for row in range(len(lengths))]

    def _tried(self, batch: list[int], read: Callable[[list[int]], list[T]]) -> list[T] | None:
        """None where memory ran out: `size` is then half of the batch, once and for all."""
        try:
            return read(batch)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error) or self._halved or len(batch) < 2:
                raise
        # Outside of the handler: the error holds on to what was allocated.
        self._halved, self.size = True, (len(batch) + 1) // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        _log.warning("Out of memory with %d prompts: read %d at once", len(batch), self.size)
        return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error says that memory ran out, on a GPU or a CPU."""
    on_cpu = isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error)
    return on_cpu or isinstance(error, torch.OutOfMemoryError)


class ModelPool:
    """Lends a model to whoever reads.

    Args:
        model: of transformers; a lone caller is always lent itself.
    """

    def __init__(self, model: Any) -> None:
        self._lock = threading.Lock()
        self._model = model
        self._free = [model]
        self._busy = 0
        self._on_cpu = torch.device(model.device).type == "cpu"
        self._cores = torch.get_num_threads()
        self._shared = False

    @contextmanager
    def acquire(self) -> Iterator[Any]:
        """Modules that nobody else has meanwhile, and on a CPU this call's part of the cores."""
        with self._lock:
            self._busy += 1
            mine = self._free.pop() if self._free else _copy_modules(self._model)
            self._shared |= self._busy > 1
            if self._shared and self._on_cpu:  # holds for this thread
                torch.set_num_threads(max(1, self._cores // self._busy))
        try:
            yield mine
        finally:
            with self._lock:
                self._busy -= 1
                # The model itself is lent first: what a caller changes of it counts.
                self._free.insert(len(self._free) if mine is self._model else 0, mine)


def _copy_modules(model: Any) -> Any:
    """The model in modules of their own; no number is copied."""
    memo: dict[int, Any] = {id(t): t for t in (*model.parameters(), *model.buffers())}
    for part in model.modules():
        state = getattr(part, "quant_state", None)  # of bitsandbytes: scales beside a weight
        if state is not None:
            memo[id(state)] = state
    return copy.deepcopy(model, memo)
