"""Streaming of answer text: from a callback to an iterator, with stop sequences hidden.

Knows pieces of text and threads. Does not know readers, batches or clients.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from queue import SimpleQueue
from typing import TypeVar

Result = TypeVar("Result")


class _CallResult:
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
    queue: SimpleQueue[str | _CallResult] = SimpleQueue()
    closed = threading.Event()

    def report(piece: str) -> bool:
        queue.put(piece)
        return not closed.is_set()

    def run() -> None:
        try:
            queue.put(_CallResult(result=call(report)))
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            queue.put(_CallResult(error=error))

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


class StopSequenceFilter:
    """Tells pieces of one answer, and says when it is over.

    Args:
        tell: is given each piece.
        stop: texts that end the answer. What may be the beginning of one is held back until it is
            known.

    Attributes:
        text: all that was told.
        spoke: the reader wrote something, told or held back.
        stopped: a stop text came.

    >>> told = []
    >>> telling = StopSequenceFilter(told.append, ["\\n\\n"])
    >>> [telling.hear(piece) for piece in (" Oslo", "\\n", "\\nIt")], told
    ([True, True, False], ['Oslo'])
    """

    def __init__(self, tell: Callable[[str], object], stop: Sequence[str] = ()) -> None:
        self._tell = tell
        self._stop = [text for text in stop if text]
        self._held = ""
        self.text = ""
        self.has_text = self.stopped = False

    def hear(self, piece: str) -> bool:
        """A piece as the reader wrote it; False: the answer is over."""
        self.has_text = True
        if self.stopped:
            return False
        heard = self._held + piece
        places = [place for text in self._stop if (place := heard.find(text)) >= 0]
        if places:
            self.stopped = True
            self._say(heard[: min(places)])
            return False
        keep = max((_partial_stop_length(heard, text) for text in self._stop), default=0)
        self._held = heard[len(heard) - keep :]
        self._say(heard[: len(heard) - keep])
        return True

    def end(self) -> None:
        """No more will come: what was held back is text."""
        if not self.stopped:
            held, self._held = self._held, ""
            self._say(held)

    def _say(self, piece: str) -> None:
        piece = piece if self.text else piece.lstrip()
        if piece:
            self.text += piece
            self._tell(piece)


def _partial_stop_length(text: str, stop: str) -> int:
    """How many of the last characters of `text` may be the first ones of `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
