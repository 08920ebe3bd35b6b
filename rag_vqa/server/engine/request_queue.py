"""Questions under way: the queue they wait in, and the events that come back to the client.

Knows the order of waiting and of events, and the bridge from the engine's threads to the client's
event loop. Does not know how answers are made (engine.py, batch_runner.py), nor HTTP.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from rag_vqa.errors import RagVqaError
from rag_vqa.server.request_limits import BATCH_PIXELS
from rag_vqa.types import Answer, Hit, Query, Where

AnswerEvent: TypeAlias = tuple[Hit, ...] | str | Answer


class QueueFull(RagVqaError):
    """The queue is full. `retry_after`: seconds after which the client should ask again."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"Too many questions are waiting. Ask again in {retry_after} s.")
        self.retry_after = retry_after


class ShuttingDown(RagVqaError):
    """The server is shutting down."""

    def __init__(self) -> None:
        super().__init__("The server is shutting down. Ask again once it is back.")


@dataclass(frozen=True, slots=True)
class Question:
    """One question of a client, with its options.

    Attributes:
        k, where: as in `RagVqa.ask`.
        max_tokens: longest answer; None, or more than the reader's own limit, means that limit.
        stop: texts that end the answer and are not part of it.
        hits: read these; () asks the reader without retrieval, None retrieves.
        pixels: size of the decoded picture; a batch holds at most request_limits.BATCH_PIXELS.
    """

    query: Query
    k: int | None = None
    where: Where | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    hits: tuple[Hit, ...] | None = None
    pixels: int = 0


@dataclass(slots=True)
class _EndOfEvents:
    """The last event; `error` is what the question failed with."""

    error: RagVqaError | None = None


@dataclass(eq=False)
class PendingQuestion:
    """A question under way: an async iterator over its events.

    The events are the hits, then pieces of text that join to the answer's text, then the Answer.
    A failure is raised as RagVqaError. Call `cancel` when nobody reads on: the question's place is
    free at once, and its row in a batch ends with the next token.

    Attributes:
        hits: what was retrieved, then what was selected.
        is_reading: it has left the queue for a batch of the reader.
        was_deferred: it waited for the next batch once, for others that were being retrieved.
        cancelled: nobody waits for it any more.
        seconds: duration of each finished stage, by name.
        asked_at: when it was asked, by `time.perf_counter`.
    """

    question: Question
    loop: asyncio.AbstractEventLoop
    on_end: Callable[[PendingQuestion], object]
    hits: tuple[Hit, ...] = ()
    is_reading: bool = False
    was_deferred: bool = False
    cancelled: bool = False
    seconds: dict[str, float] = field(default_factory=dict)
    asked_at: float = field(default_factory=time.perf_counter)
    _events: asyncio.Queue[AnswerEvent | _EndOfEvents] = field(default_factory=asyncio.Queue)
    _has_ended: bool = False

    def cancel(self, error: RagVqaError | None = None) -> None:
        """End it, from the loop's thread; a reader still waiting gets `error`. Does nothing after
        the end."""
        if not self._has_ended:
            self.cancelled = True
            self._end(error)

    def emit(self, event: AnswerEvent) -> None:
        """Send an event, from any thread. An Answer is the last one."""
        self._call_in_loop(self._put_event, event)

    def fail(self, error: RagVqaError) -> None:
        """Send an error as the last event, from any thread."""
        self._call_in_loop(self._end, error)

    async def answer(self) -> Answer:
        """Wait for the Answer alone. Cancelling the waiting task cancels the question."""
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
        self._events.put_nowait(event)  # a second reader finds the end again
        if event.error is not None:
            raise event.error
        raise StopAsyncIteration

    def _put_event(self, event: AnswerEvent) -> None:
        if self._has_ended:
            return
        self._events.put_nowait(event)
        if isinstance(event, Answer):
            self._end(None)

    def _end(self, error: RagVqaError | None) -> None:
        if self._has_ended:
            return
        self._has_ended = True
        self._events.put_nowait(_EndOfEvents(error))
        self.on_end(self)

    def _call_in_loop(self, call: Callable[..., object], argument: object) -> None:
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(call, argument)


class RequestQueue:
    """Questions that wait for the same stage, first come, first served; safe between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[PendingQuestion] = deque()

    def put(self, questions: Iterable[PendingQuestion]) -> None:
        """Append questions at the end."""
        with self._lock:
            self._waiting.extend(questions)

    def remove(self, pending: PendingQuestion) -> None:
        """Remove a question wherever it stands, which frees its picture."""
        with self._lock:
            if pending in self._waiting:
                self._waiting.remove(pending)

    def peek(self) -> PendingQuestion | None:
        """The next question; None if nobody waits."""
        with self._lock:
            return self._waiting[0] if self._waiting else None

    def __len__(self) -> int:
        return len(self._waiting)

    def take_batch(self, size: int) -> list[PendingQuestion]:
        """Remove and return up to `size` questions from the front.

        Fewer if their pictures exceed BATCH_PIXELS together, but at least one. Cancelled questions
        are dropped.
        """
        batch: list[PendingQuestion] = []
        room = BATCH_PIXELS
        with self._lock:
            while self._waiting and len(batch) < size:
                room -= self._waiting[0].question.pixels
                if batch and room < 0:
                    break
                pending = self._waiting.popleft()
                if not pending.cancelled:
                    batch.append(pending)
        return batch
