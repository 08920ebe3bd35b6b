"""A line of questions: first come, first served; several threads may use it.

It knows an order. It does not know what is done with the questions.
"""

from __future__ import annotations

import threading
from collections import deque

from rag_vqa.server.question import Asked


class Line:
    """Questions that wait for the same thing."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[Asked] = deque()

    def put(self, asked: Asked) -> None:
        """Behind all others."""
        with self._lock:
            self._waiting.append(asked)

    def leave(self, asked: Asked) -> None:
        """Out of the line, wherever it stands; its picture is held no longer."""
        with self._lock:
            if asked in self._waiting:
                self._waiting.remove(asked)

    def take(self, most: int) -> list[Asked]:
        """The first ones, out of the line; those that were cancelled are passed over."""
        taken: list[Asked] = []
        with self._lock:
            while self._waiting and len(taken) < most:
                asked = self._waiting.popleft()
                if not asked.cancelled:
                    taken.append(asked)
        return taken
