"""Questions under way: the queue they wait in, and the events that come back to the client.

Knows the order of waiting and of events, and the bridge from the engine's threads to the client's
event loop. Does not know how answers are made (engine.py, batch_runner.py), nor HTTP.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from rag_vqa.errors import RagVqaError
from rag_vqa.server.request_limits import BATCH_PIXELS
from rag_vqa.types import Answer, Hit, Query

AnswerEvent: TypeAlias = tuple[Hit, ...] | str | Answer


class QueueFull(RagVqaError):
    """As many questions wait as may. `retry_after`: seconds after which to ask again."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"Too many questions wait. Ask again in {retry_after} s.")
        self.retry_after = retry_after


class ShuttingDown(RagVqaError):
    """The server is being stopped."""

    def __init__(self) -> None:
        super().__init__("The server is being stopped. Ask again once it is back.")


@dataclass(frozen=True, slots=True)
class Question:
    """What one question asks for.

    Attributes:
        k, where: as of `RagVqa.ask`.
        pixels: of its picture, decoded: a batch holds as many as budgets.BATCH_PIXELS.
        max_tokens: of the answer; None, or more than the reader's own length: that one.
        stop: texts that end the answer, and are no part of it.
        hits: read these; () asks the reader without retrieval, None retrieves.
    """

    query: Query
    k: int | None = None
    where: Mapping[str, Any] | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    hits: tuple[Hit, ...] | None = None
    pixels: int = 0


@dataclass(slots=True)
class _EndOfEvents:
    """The last event: how it ended, where that was badly."""

    error: RagVqaError | None = None


@dataclass(eq=False)
class PendingQuestion:
    """A question under way, to be read by `async for`: the hits, pieces of text that join to the
    answer's, the Answer. What goes wrong is raised as RagVqaError. `cancel` it when nobody reads
    on: its place is free at once, and its row in a batch ends with the next token.

    Attributes:
        hits: once they are found; those that are read.
        reading: it left the queue.
        passed: it was left for the next batch once, for others that were being retrieved.
        cancelled: nobody waits for it any more.
        seconds: of each stage that is done, by name.
    """

    question: Question
    loop: asyncio.AbstractEventLoop
    on_end: Callable[[PendingQuestion], object]
    hits: tuple[Hit, ...] = ()
    reading: bool = False
    passed: bool = False
    cancelled: bool = False
    seconds: dict[str, float] = field(default_factory=dict)
    since: float = field(default_factory=time.perf_counter)
    _events: asyncio.Queue[AnswerEvent | _EndOfEvents] = field(default_factory=asyncio.Queue)
    _ended: bool = False

    def cancel(self, error: RagVqaError | None = None) -> None:
        """Of the loop's thread. After the end it does nothing. `error`: for who still reads."""
        if not self._ended:
            self.cancelled = True
            self._finish(error)

    def tell(self, event: AnswerEvent) -> None:
        """Of any thread. An Answer is the last event."""
        self._soon(self._put, event)

    def fail(self, error: RagVqaError) -> None:
        """Of any thread: the last event."""
        self._soon(self._finish, error)

    async def answer(self) -> Answer:
        """The Answer alone. Cancelling the task that waits cancels the question."""
        try:
            async for event in self:
                if isinstance(event, Answer):
                    return event
        finally:
            self.cancel()
        raise ShuttingDown()  # cancelled by another task

    def __aiter__(self) -> PendingQuestion:
        return self

    async def __anext__(self) -> AnswerEvent:
        event = await self._events.get()
        if not isinstance(event, _EndOfEvents):
            return event
        self._events.put_nowait(event)  # whoever reads on finds the end again
        if event.error is not None:
            raise event.error
        raise StopAsyncIteration

    def _put(self, event: AnswerEvent) -> None:
        if self._ended:
            return
        self._events.put_nowait(event)
        if isinstance(event, Answer):
            self._finish(None)

    def _finish(self, error: RagVqaError | None) -> None:
        if self._ended:
            return
        self._ended = True
        self._events.put_nowait(_EndOfEvents(error))
        self.on_end(self)

    def _soon(self, call: Callable[..., object], given: object) -> None:
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(call, given)


class RequestQueue:
    """Questions that wait for the same thing."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[PendingQuestion] = deque()

    def put(self, asked: Iterable[PendingQuestion]) -> None:
        """Behind all others."""
        with self._lock:
            self._waiting.extend(asked)

    def leave(self, asked: PendingQuestion) -> None:
        """Out of the line, wherever it stands; its picture is held no longer."""
        with self._lock:
            if asked in self._waiting:
                self._waiting.remove(asked)

    def first(self) -> PendingQuestion | None:
        """Who is next; None where nobody waits."""
        with self._lock:
            return self._waiting[0] if self._waiting else None

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self, most: int) -> list[PendingQuestion]:
        """The first ones, out of the line, as many as BATCH_PIXELS allow but one at the least;
        those that were cancelled are passed over."""
        taken: list[PendingQuestion] = []
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
