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
    """The last item of the queue: what the call returned or raised."""

    def __init__(self, result: object = None, error: BaseException | None = None) -> None:
        self.result = result
        self.error = error


def stream_call(
    call: Callable[[Callable[[str], bool]], Result],
) -> Generator[str | Result, None, None]:
    """Turn a call that reports pieces into an iterator: yields each piece, then the call's result.

    `call` runs in its own thread and gets a function `report(piece) -> bool`, which returns False
    to ask it to stop. Closing the iterator does so, and waits for the call to end. An exception of
    the call is raised here.
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
    """Passes on the pieces of one answer until a stop sequence appears, which it hides.

    Space before the answer is dropped. Text that may be the beginning of a stop sequence is held
    back until the next piece decides.

    Args:
        emit: receives each piece of text.
        stop: texts that end the answer.

    Attributes:
        text: all that was passed on.
        has_text: the reader wrote something, whether passed on or held back.
        stopped: a stop sequence appeared.

    >>> pieces = []
    >>> answer = StopSequenceFilter(pieces.append, ["\\n\\n"])
    >>> [answer.feed(piece) for piece in (" Oslo", "\\n", "\\nIt")], pieces
    ([True, True, False], ['Oslo'])
    """

    def __init__(self, emit: Callable[[str], object], stop: Sequence[str] = ()) -> None:
        self._emit = emit
        self._stop = [text for text in stop if text]
        self._held_back = ""
        self.text = ""
        self.has_text = self.stopped = False

    def feed(self, piece: str) -> bool:
        """Take a piece as the reader wrote it, "" too. False: the answer has ended."""
        self.has_text = self.has_text or bool(piece)
        if self.stopped:
            return False
        text = self._held_back + piece
        positions = [position for stop in self._stop if (position := text.find(stop)) >= 0]
        if positions:
            self.stopped = True
            self._pass_on(text[: min(positions)])
            return False
        length = max((_partial_stop_length(text, stop) for stop in self._stop), default=0)
        self._held_back = text[len(text) - length :]
        self._pass_on(text[: len(text) - length])
        return True

    def flush(self) -> None:
        """The reader has finished: pass on what was held back."""
        if not self.stopped:
            held_back, self._held_back = self._held_back, ""
            self._pass_on(held_back)

    def _pass_on(self, piece: str) -> None:
        piece = piece if self.text else piece.lstrip()
        if piece:
            self.text += piece
            self._emit(piece)


def _partial_stop_length(text: str, stop: str) -> int:
    """How many of the last characters of `text` may be the first ones of `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
