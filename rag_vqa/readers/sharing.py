"""One model read by several threads at once: the weights are shared, the modules are not.

It knows modules, tensors and cores. It does not know prompts or what is generated. Some families
keep what belongs to one call in their modules (the positions of Qwen's pictures), and two calls on
the same modules would read each other's.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


class Sharing:
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
    def lent(self) -> Iterator[Any]:
        """Modules that nobody else has meanwhile, and on a CPU this call's part of the cores."""
        with self._lock:
            self._busy += 1
            mine = self._free.pop() if self._free else _same_weights(self._model)
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


def _same_weights(model: Any) -> Any:
    """The model in modules of their own; no number is copied."""
    memo: dict[int, Any] = {id(t): t for t in (*model.parameters(), *model.buffers())}
    for part in model.modules():
        state = getattr(part, "quant_state", None)  # of bitsandbytes: scales beside a weight
        if state is not None:
            memo[id(state)] = state
    return copy.deepcopy(model, memo)
