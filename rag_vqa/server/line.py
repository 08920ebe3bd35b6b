"""A line of questions: first come, first served; several threads may use it.

It knows an order. It does not know what is done with the questions.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable

from rag_vqa.server.budgets import BATCH_PIXELS
from rag_vqa.server.question import Asked


class Line:
    """Questions that wait for the same thing."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[Asked] = deque()

    def put(self, asked: Iterable[Asked]) -> None:
        """Behind all others."""
        with self._lock:
            self._waiting.extend(asked)

    def leave(self, asked: Asked) -> None:
        """Out of the line, wherever it stands; its picture is held no longer."""
        with self._lock:
            if asked in self._waiting:
                self._waiting.remove(asked)

    def first(self) -> Asked | None:
        """Who is next; None where nobody waits."""
        with self._lock:
            return self._waiting[0] if self._waiting else None

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self, most: int) -> list[Asked]:
        """The first ones, out of the line, as many as BATCH_PIXELS allow but one at the least;
        those that were cancelled are passed over."""
        taken: list[Asked] = []
        room = BATCH_PIXELS
        with self._lock:
            while self._waiting and len(taken) < most:
                room -= self._waiting[0].question.pixels
                if taken and room < 0:
                    break
                asked = self._waiting.popleft()
                if not asked.cancelled:
                    taken.append(asked)
        return taken
