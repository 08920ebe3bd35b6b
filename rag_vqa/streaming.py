"""A call that reports through a callback, turned into an iterator. It knows nothing of readers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from queue import SimpleQueue
from typing import TypeVar

Result = TypeVar("Result")


class _Ended:
    """Marks the end of the queue, with what the call returned or raised."""

    def __init__(self, result: object = None, error: BaseException | None = None) -> None:
        self.result = result
        self.error = error


def stream_call(
    call: Callable[[Callable[[str], bool]], Result],
) -> Generator[str | Result, None, None]:
    """Yields each piece that `call` reports, then what it returns.

    `call` runs in a thread of its own and is handed `report(piece) -> bool`: False asks it to
    stop. Closing the iterator makes `report` return False and waits for the call to end; what the
    call raises is raised here.
    """
    queue: SimpleQueue[str | _Ended] = SimpleQueue()
    closed = threading.Event()

    def report(piece: str) -> bool:
        queue.put(piece)
        return not closed.is_set()

    def run() -> None:
        try:
            queue.put(_Ended(result=call(report)))
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            queue.put(_Ended(error=error))

    thread = threading.Thread(target=run, name="rag-vqa-stream", daemon=True)
    thread.start()
    try:
        while True:
            item = queue.get()
            if isinstance(item, str):
                yield item
            elif item.error is not None:
                raise item.error
            else:
                yield item.result  # type: ignore[misc]  # the queue holds what `call` returned
                return
    finally:
        closed.set()
        thread.join()
