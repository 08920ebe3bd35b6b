"""The engine: schedules questions of many clients on one pipeline, with one thread for each model.

Questions wait in a queue, are retrieved in batches and read in batches, as many as are waiting when
a thread becomes free. No question waits for others to arrive, except for those being retrieved at
that moment. Knows threads, queues and waiting clients. Does not know HTTP, nor what happens to one
batch (batch_runner.py). Nothing is kept from one question to the next.

The retriever's thread searches, so that a search never waits for a long answer. The reader's
threads build prompts, select and read; they run two batches at once if the reader gains by it
(`ConcurrentReader`) and no filter uses it too. The writer's thread adds and deletes. At each
search, the knowledge base picks up what other processes have committed.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from rag_vqa.errors import UsageError
from rag_vqa.pipeline import RagVqa
from rag_vqa.readers.base import ConcurrentReader
from rag_vqa.server.engine.batch_runner import (
    answer_batch,
    each_alone_on_error,
    warm_reader,
    warm_retriever,
)
from rag_vqa.server.engine.engine_metrics import EngineMetrics
from rag_vqa.server.engine.request_queue import (
    PendingQuestion,
    Question,
    QueueFull,
    RequestQueue,
    ShuttingDown,
)
from rag_vqa.types import Document, Hit, Prompt, Query, Where

if TYPE_CHECKING:
    from rag_vqa.retriever.ingest_batch import AddReport

Result = TypeVar("Result")
_MAX_RETRY_AFTER = 60  # seconds; the most that Retry-After asks a client to wait


class Engine:
    """Answers the questions of one event loop; call all of it from that loop.

    Args:
        rag: the pipeline. From `start` on it belongs to the engine's threads.
        queue: questions that may wait for the reader; the same number of other calls may run.
        batch: most questions that are retrieved, or read, together.

    Attributes:
        ready: True once both models are warmed up, until the engine stops.
        metrics: counts and times of the questions so far.
    """

    def __init__(self, rag: RagVqa, *, queue: int = 32, batch: int = 16) -> None:
        if queue < 1 or batch < 1:
            raise UsageError(f"queue = {queue}, batch = {batch}: give 1 or more of each")
        self.rag = rag
        self.metrics = EngineMetrics()
        self.ready = False
        self._queue_size, self._batch_size = queue, batch
        self._stopping = False
        self._retrieval_queue, self._reader_queue = RequestQueue(), RequestQueue()
        self._pending: set[PendingQuestion] = set()
        self._reserved_places = 0  # for questions whose pictures are being opened
        self._calls, self._limited_calls = set[asyncio.Future[Any]](), 0
        self._lock = threading.Lock()
        self._retrieval_jobs = 0  # submitted, and about to bring questions to the reader
        self._batches_running, self._max_batches = 0, 1
        self._retriever, self._reader, self._writer = (
            ThreadPoolExecutor(1, f"rag-vqa-{name}") for name in ("retriever", "reader", "writer")
        )

    async def start(self) -> None:
        """Load both models and run each once, so that the first client waits no longer than later
        ones. Raises what loading raises."""
        self.rag.kb.warns = False  # responses say it; logs hold nothing of a question
        hits = await self._call(self._retriever, partial(warm_retriever, self.rag))
        if self.rag.k:
            self.metrics.set_commit(self.rag.kb.retriever.commit)
        warm = partial(warm_reader, self.rag, hits)
        await self._call(self._reader, warm)
        reader = self.rag.reader
        if (
            isinstance(reader, ConcurrentReader)
            and self.rag.filter is None
            and reader.parallel_calls > 1
        ):
            self._max_batches = reader.parallel_calls
            self._reader.shutdown(wait=False)
            self._reader = ThreadPoolExecutor(self._max_batches, "rag-vqa-reader")
            calls = (self._call(self._reader, warm) for _ in range(self._max_batches))
            await asyncio.gather(*calls)
        self.ready = not self._stopping

    def stop(self) -> None:
        """Accept nothing new and cancel everything under way: waiting clients get ShuttingDown.

        Work that a thread has begun runs on, and nobody waits for it.
        """
        self._stopping, self.ready = True, False
        for pending in list(self._pending):
            pending.cancel(ShuttingDown())
        for call in self._calls:
            call.cancel()
        for thread in (self._retriever, self._reader, self._writer):
            thread.shutdown(wait=False, cancel_futures=True)

    @property
    def waiting_count(self) -> int:
        """Questions that wait to be read."""
        return sum(not pending.is_reading for pending in self._pending)

    @property
    def retrieval_count(self) -> int:
        """Questions that wait to be retrieved; they are part of `waiting_count`."""
        return len(self._retrieval_queue)

    @property
    def reading_count(self) -> int:
        """Questions in the reader's batches."""
        return len(self._pending) - self.waiting_count

    @property
    def call_count(self) -> int:
        """Searches, prompts, additions and other calls under way."""
        return len(self._calls)

    def ask(self, question: Question) -> PendingQuestion:
        """Put a question in the queue; the result is an iterator over its events.

        Raises:
            QueueFull: the queue is full.
            ShuttingDown: the engine is stopping.
            UsageError: max_tokens is below 1.
        """
        if self._stopping:
            raise ShuttingDown()
        if question.max_tokens is not None and question.max_tokens < 1:
            raise UsageError(f"max_tokens = {question.max_tokens}: ask for at least 1")
        self._check_queue()
        pending = PendingQuestion(question, asyncio.get_running_loop(), self._remove)
        self._pending.add(pending)
        if question.hits is None:
            self._retrieval_queue.put([pending])
            with self._lock:
                self._retrieval_jobs += 1
            self._retriever.submit(self._retrieve_batch)
        else:
            pending.hits = question.hits
            self._queue_for_reader([pending])
        return pending

    @contextmanager
    def reserve_place(self) -> Iterator[None]:
        """Hold a place in the queue while a question's picture is opened. Raises as `ask`."""
        if self._stopping:
            raise ShuttingDown()
        self._check_queue()
        self._reserved_places += 1
        try:
            yield
        finally:
            self._reserved_places -= 1

    async def search(
        self, query: Query, k: int | None = None, where: Where | None = None
    ) -> list[Hit]:
        """Retrieval alone. Raises QueueFull, ShuttingDown, and as `RagVqa.search`."""
        instruction, search = query.instruction, self.rag.search

        def find() -> list[Hit]:
            hits = search(query.text, query.image, instruction=instruction, k=k, where=where)
            self.metrics.set_commit(self.rag.kb.retriever.commit)
            return hits

        return await self.run_in_retriever(find)

    async def prompt(self, question: Question) -> Prompt:
        """The prompt that the reader would get for the question. Raises as `search`."""
        query, hits = question.query, question.hits
        if hits is None:
            retrieve = partial(self.rag.retrieve, [query], question.k, question.where)
            hits = tuple((await self.run_in_retriever(retrieve))[0])

        def build() -> Prompt:
            return self.rag.prompt(query, self.rag.select([query], [hits])[0])

        return await self._call(self._reader, build)

    async def run_in_retriever(self, call: Callable[[], Result]) -> Result:
        """Run a call that searches, encodes, or reads documents. Raises QueueFull, ShuttingDown,
        and what the call raises."""
        return await self._call(self._retriever, call)

    async def add(self, documents: Iterable[Document | Mapping[str, Any]]) -> AddReport:
        """As `KnowledgeBase.add`; questions are answered meanwhile."""
        return await self._call(self._writer, partial(self.rag.kb.add, documents))

    async def delete(self, ids: str | Sequence[str]) -> int:
        """As `KnowledgeBase.delete`."""
        return await self._call(self._writer, partial(self.rag.kb.delete, ids))

    async def get(self, identity: str) -> Document | None:
        """As `KnowledgeBase.get`. Never raises QueueFull: a page fetches the pictures of all its
        evidence at once, and each costs next to nothing."""
        return await self._call(self._retriever, partial(self.rag.kb.get, identity), limited=False)

    async def describe_no_match(self, where: Where) -> str:
        """As `KnowledgeBase.describe_no_match`. Never raises QueueFull: an answer waits for it."""
        describe = partial(self.rag.kb.describe_no_match, where)
        return await self._call(self._retriever, describe, limited=False)

    async def _call(
        self, thread: ThreadPoolExecutor, call: Callable[[], Result], limited: bool = True
    ) -> Result:
        if self._stopping:
            raise ShuttingDown()
        if limited and self._limited_calls >= self._queue_size:
            raise self._queue_full()
        running = asyncio.get_running_loop().run_in_executor(thread, call)
        self._calls.add(running)
        self._limited_calls += limited
        try:
            return await running
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._stopping and task is not None and not task.cancelling():
                raise ShuttingDown() from None  # cancelled by `stop`, not by the waiting task
            raise
        finally:
            self._calls.discard(running)
            self._limited_calls -= limited

    def _check_queue(self) -> None:
        if self.waiting_count + self._reserved_places >= self._queue_size:
            self.metrics.count("refused")
            raise self._queue_full()

    def _queue_full(self) -> QueueFull:
        seconds = (self.metrics.seconds_per_question or 1.0) * self.waiting_count
        return QueueFull(min(max(1, math.ceil(seconds)), _MAX_RETRY_AFTER))

    def _remove(self, pending: PendingQuestion) -> None:
        self._pending.discard(pending)
        self.metrics.count("cancelled", by=pending.cancelled)
        self._retrieval_queue.remove(pending)
        self._reader_queue.remove(pending)

    # The methods below run in the threads. Each question submits one job, and a job takes as many
    # questions as are waiting: the jobs left over find nothing to do.

    def _retrieve_batch(self) -> None:
        def search_options(pending: PendingQuestion) -> tuple[int | None, str]:
            return pending.question.k, repr(pending.question.where)

        batch = self._retrieval_queue.take_batch(self._batch_size)
        retrieved: list[PendingQuestion] = []
        try:
            for options in dict.fromkeys(map(search_options, batch)):
                group = [pending for pending in batch if search_options(pending) == options]
                retrieved += each_alone_on_error(self._retrieve_group, group, self.metrics)
        finally:
            with self._lock:
                self._retrieval_jobs -= 1
        self._queue_for_reader([pending for pending in batch if pending in retrieved])

    def _retrieve_group(self, group: Sequence[PendingQuestion]) -> None:
        """Retrieve for questions with the same k and filter."""
        start, first = time.perf_counter(), group[0].question
        queries = [pending.question.query for pending in group]
        retrieved = self.rag.retrieve(queries, first.k, first.where)
        seconds = time.perf_counter() - start
        self.metrics.set_commit(self.rag.kb.retriever.commit)
        for pending, hits in zip(group, retrieved, strict=True):
            pending.hits = tuple(hits)
            pending.seconds["retrieve"] = seconds

    def _queue_for_reader(self, retrieved: Sequence[PendingQuestion]) -> None:
        """Queue these and wake the reader, even if there are none: deferred questions wait."""
        if self.rag.filter is None:  # with a filter, the hits are sent once they are selected
            for pending in retrieved:
                pending.emit(pending.hits)
        self._reader_queue.put(retrieved)
        self._wake_reader()

    def _wake_reader(self) -> None:
        with suppress(RuntimeError):  # the engine has stopped, and the clients know
            for _ in range(self._max_batches):
                self._reader.submit(self._read_batch)

    def _read_batch(self) -> None:
        if not (batch := self._next_batch()):
            return
        try:
            answer_batch(self.rag, batch, self.metrics)
        finally:
            with self._lock:
                self._batches_running -= 1
            self._wake_reader()

    def _next_batch(self) -> list[PendingQuestion]:
        """The questions to read now: an equal share for each free thread."""
        with self._lock:
            first = self._reader_queue.peek()
            if first is None:
                return []
            if self._retrieval_jobs and not first.was_deferred:
                first.was_deferred = True  # the end of that retrieval wakes the reader again
                return []
            free = self._max_batches - self._batches_running
            share = math.ceil(len(self._reader_queue) / free)
            batch = self._reader_queue.take_batch(min(self._batch_size, share))
            self._batches_running += bool(batch)
            return batch
