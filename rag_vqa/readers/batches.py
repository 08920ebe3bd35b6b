"""Which prompts are read together: those of like length, and fewer where memory runs out.

It knows lengths and what an allocator says. It does not know prompts or models.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

T = TypeVar("T")
_log = logging.getLogger("rag_vqa")


class Batches:
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
            if not ran_out(error) or self._halved or len(batch) < 2:
                raise
        # Outside of the handler: the error holds on to what was allocated.
        self._halved, self.size = True, (len(batch) + 1) // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        _log.warning("Out of memory with %d prompts: read %d at once", len(batch), self.size)
        return None


def ran_out(error: BaseException) -> bool:
    """Whether the error says that memory ran out, on a GPU or a CPU."""
    on_cpu = isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error)
    return on_cpu or isinstance(error, torch.OutOfMemoryError)
