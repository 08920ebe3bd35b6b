"""The engine: schedules questions of many clients on one pipeline, with one thread for each model.

Questions wait in a queue, are retrieved in batches and read in batches, as many as are waiting when
a thread becomes free. No question waits for others to arrive, except for those being retrieved at
that moment. Knows threads, queues and waiting clients. Does not know HTTP, nor what happens to one
batch (batch_runner.py). Nothing is kept from one question to the next.

The retriever's thread searches, so that a search never waits for a long answer. The reader's
threads build prompts, select and read; they run two batches at once if the reader gains by it
(`ReadsAtOnce`) and no filter uses it too. The writer's thread adds and deletes. At each search, the
knowledge base picks up what other processes have committed.
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
from rag_vqa.readers.base import ConcurrentReader
from rag_vqa.server.engine.batch_runner import (
    answer_batch,
    each_alone_on_error,
    warm_reader,
    warm_retriever,
)
from rag_vqa.server.engine.engine_metrics import EngineMetrics
from rag_vqa.server.engine.request_queue import (
    AnswerEvent,
    PendingQuestion,
    Question,
    QueueFull,
    RequestQueue,
    ShuttingDown,
)
from rag_vqa.types import Document, Hit, Prompt, Query

if TYPE_CHECKING:
    from rag_vqa.pipeline import RagVqa
    from rag_vqa.retriever.ingest_batch import AddReport

__all__ = ["AnswerEvent", "Engine", "PendingQuestion", "Question", "QueueFull", "ShuttingDown"]
Result = TypeVar("Result")
_MAX_RETRY_AFTER = 60  # seconds that a client is told to wait, at most


class Engine:
    """Answers questions of one event loop; all of it is called from there.

    Args:
        rag: the pipeline. From `start` on it belongs to the engine's threads.
        queue: questions that wait to be read; so many searches and other calls besides.
        batch: questions that are retrieved, and read, together at most.

    Attributes:
        ready: warmed up, and not being stopped.
        figures: what it has done.
    """

    def __init__(self, rag: RagVqa, *, queue: int = 32, batch: int = 16) -> None:
        if queue < 1 or batch < 1:
            raise UsageError(f"queue = {queue}, batch = {batch}: give 1 or more of each")
        self.rag = rag
        self.figures = EngineMetrics()
        self.ready = False
        self._queue, self._batch = queue, batch
        self._closing = False
        self._to_find, self._to_read = RequestQueue(), RequestQueue()
        self._live: set[PendingQuestion] = set()
        self._arriving = 0  # questions whose pictures are being opened
        self._calls, self._limited = set[asyncio.Future[Any]](), 0
        self._lock = threading.Lock()
        self._finding = 0  # jobs of the retriever's that bring questions to the reader
        self._busy, self._at_once = 0, 1  # batches at work, and at most
        self._retriever, self._reader, self._writer = (
            ThreadPoolExecutor(1, f"rag-vqa-{name}") for name in ("retriever", "reader", "writer")
        )

    async def start(self) -> None:
        """Load both models and ask each once, so that the first client waits no longer than
        others. Raises what loading raises."""
        hits = await self._call(self._retriever, partial(warm_retriever, self.rag))
        if self.rag.k:
            self.figures.set_commit(self.rag.kb.retriever.commit)
        warm = partial(warm_reader, self.rag, hits)
        await self._call(self._reader, warm)
        reader = self.rag.reader
        if isinstance(reader, ConcurrentReader) and self.rag.filter is None and reader.at_once > 1:
            self._at_once = reader.at_once
            self._reader.shutdown(wait=False)
            self._reader = ThreadPoolExecutor(self._at_once, "rag-vqa-reader")
            await asyncio.gather(*(self._call(self._reader, warm) for _ in range(self._at_once)))
        self.ready = not self._closing

    def stop(self) -> None:
        """Take nothing new, and give up what was asked: who waits for it is told so at once.

        What a thread is at, it goes on with, and nobody waits for it.
        """
        self._closing, self.ready = True, False
        for asked in list(self._live):
            asked.cancel(ShuttingDown())
        for call in self._calls:
            call.cancel()
        for thread in (self._retriever, self._reader, self._writer):
            thread.shutdown(wait=False, cancel_futures=True)

    @property
    def waiting(self) -> int:
        """Questions in the queue."""
        return sum(not asked.reading for asked in self._live)

    @property
    def reading(self) -> int:
        """Questions in the batch at work."""
        return len(self._live) - self.waiting

    def ask(self, question: Question) -> PendingQuestion:
        """Put a question; its events come as they come.

        Raises:
            Busy: the queue is full.
            Closing: the engine is being stopped.
            UsageError: max_tokens or k cannot be meant.
        """
        if self._closing:
            raise ShuttingDown()
        if question.max_tokens is not None and question.max_tokens < 1:
            raise UsageError(f"max_tokens = {question.max_tokens}: ask for at least 1")
        self._check_queue()
        asked = PendingQuestion(question, asyncio.get_running_loop(), self._ended)
        self._live.add(asked)
        if question.hits is None:
            self._to_find.put([asked])
            with self._lock:
                self._finding += 1
            self._retriever.submit(self._retrieve)
        else:
            asked.hits = question.hits
            self._found([asked])
        return asked

    @contextmanager
    def arriving(self) -> Iterator[None]:
        """A place in the queue for what is asked once its picture is opened. Raises as `ask`."""
        if self._closing:
            raise ShuttingDown()
        self._check_queue()
        self._arriving += 1
        try:
            yield
        finally:
            self._arriving -= 1

    async def search(
        self, query: Query, k: int | None = None, where: Mapping[str, Any] | None = None
    ) -> list[Hit]:
        """Retrieval alone. Raises Busy, Closing, and as `RagVqa.search`."""
        instruction, search = query.instruction, self.rag.search

        def find() -> list[Hit]:
            hits = search(query.text, query.image, instruction=instruction, k=k, where=where)
            self.figures.set_commit(self.rag.kb.retriever.commit)
            return hits

        return await self.run_in_retriever(find)

    async def prompt(self, question: Question) -> Prompt:
        """The prompt that the question would be put by. Raises as `search`."""
        query, hits = question.query, question.hits
        if hits is None:
            find = partial(self.rag.retrieve, [query], question.k, question.where)
            hits = tuple((await self.run_in_retriever(find))[0])

        def build() -> Prompt:
            return self.rag.prompt(query, self.rag.select([query], [hits])[0])

        return await self._call(self._reader, build)

    async def run_in_retriever(self, call: Callable[[], Result]) -> Result:
        """What a call returns that searches, encodes, or reads documents. Raises Busy, Closing,
        and what it raises."""
        return await self._call(self._retriever, call)

    async def add(self, documents: Iterable[Document | Mapping[str, Any]]) -> AddReport:
        """As `KnowledgeBase.add`; questions are answered meanwhile."""
        return await self._call(self._writer, partial(self.rag.kb.add, documents))

    async def delete(self, ids: str | Sequence[str]) -> int:
        """As `KnowledgeBase.delete`."""
        return await self._call(self._writer, partial(self.rag.kb.delete, ids))

    async def get(self, identity: str) -> Document | None:
        """As `KnowledgeBase.get`. It is never refused for the queue: a page looks at pictures of
        all its evidence at once, and one costs next to nothing."""
        return await self._call(self._retriever, partial(self.rag.kb.get, identity), limited=False)

    async def _call(
        self, thread: ThreadPoolExecutor, call: Callable[[], Result], limited: bool = True
    ) -> Result:
        if self._closing:
            raise ShuttingDown()
        if limited and self._limited >= self._queue:
            raise self._busy_for()
        running = asyncio.get_running_loop().run_in_executor(thread, call)
        self._calls.add(running)
        self._limited += limited
        try:
            return await running
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._closing and task is not None and not task.cancelling():
                raise ShuttingDown() from None  # `stop` gave the call up, not who waits for it
            raise
        finally:
            self._calls.discard(running)
            self._limited -= limited

    def _check_queue(self) -> None:
        if self.waiting + self._arriving >= self._queue:
            self.figures.count("refused")
            raise self._busy_for()

    def _busy_for(self) -> QueueFull:
        seconds = (self.figures.each or 1.0) * self.waiting
        return QueueFull(min(max(1, math.ceil(seconds)), _MAX_RETRY_AFTER))

    def _ended(self, asked: PendingQuestion) -> None:
        self._live.discard(asked)
        self.figures.count("cancelled", by=asked.cancelled)
        self._to_find.leave(asked)
        self._to_read.leave(asked)

    # In the threads. Each question brings one job, and a job takes as many questions as wait: those
    # that are left over find nothing to do.

    def _retrieve(self) -> None:
        def key(asked: PendingQuestion) -> tuple[int | None, str]:
            return asked.question.k, repr(asked.question.where)

        taken, found = self._to_find.take(self._batch), list[PendingQuestion]()
        try:
            for alike in dict.fromkeys(map(key, taken)):
                group = [asked for asked in taken if key(asked) == alike]
                found += each_alone_on_error(self._find, group, self.figures)
        finally:
            with self._lock:
                self._finding -= 1
        self._found([asked for asked in taken if asked in found])

    def _find(self, group: Sequence[PendingQuestion]) -> None:
        start, first = time.perf_counter(), group[0].question
        found = self.rag.retrieve([asked.question.query for asked in group], first.k, first.where)
        seconds = time.perf_counter() - start
        self.figures.set_commit(self.rag.kb.retriever.commit)
        for asked, hits in zip(group, found, strict=True):
            asked.hits = tuple(hits)
            asked.seconds["retrieve"] = seconds

    def _found(self, found: Sequence[PendingQuestion]) -> None:
        """These are to be read; if none are, those that waited for them."""
        if self.rag.filter is None:  # else they are told once they are selected
            for asked in found:
                asked.tell(asked.hits)
        self._to_read.put(found)
        self._begin_to_read()

    def _begin_to_read(self) -> None:
        with suppress(RuntimeError):  # stopped meanwhile: whoever asked was told
            for _ in range(self._at_once):
                self._reader.submit(self._read)

    def _read(self) -> None:
        if not (batch := self._next_batch()):
            return
        try:
            answer_batch(self.rag, batch, self.figures)
        finally:
            with self._lock:
                self._busy -= 1
            self._begin_to_read()

    def _next_batch(self) -> list[PendingQuestion]:
        """Who is read now: an equal part for each thread that is free."""
        with self._lock:
            first = self._to_read.first()
            if first is None:
                return []
            if self._finding and not first.passed:  # whoever ends finding begins to read
                first.passed = True
                return []
            free = self._at_once - self._busy
            batch = self._to_read.take(min(self._batch, math.ceil(len(self._to_read) / free)))
            self._busy += bool(batch)
            return batch
