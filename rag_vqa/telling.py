"""What a client is told of an answer as it is written: no space before it, nothing of a stop text.

It knows pieces of text. It does not know readers, rows or clients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence


class Telling:
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
    >>> telling = Telling(told.append, ["\\n\\n"])
    >>> [telling.hear(piece) for piece in (" Oslo", "\\n", "\\nIt")], told
    ([True, True, False], ['Oslo'])
    """

    def __init__(self, tell: Callable[[str], object], stop: Sequence[str] = ()) -> None:
        self._tell = tell
        self._stop = [text for text in stop if text]
        self._held = ""
        self.text = ""
        self.spoke = self.stopped = False

    def hear(self, piece: str) -> bool:
        """A piece as the reader wrote it; False: the answer is over."""
        self.spoke = True
        if self.stopped:
            return False
        heard = self._held + piece
        places = [place for text in self._stop if (place := heard.find(text)) >= 0]
        if places:
            self.stopped = True
            self._say(heard[: min(places)])
            return False
        keep = max((_begun(heard, text) for text in self._stop), default=0)
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


def _begun(text: str, stop: str) -> int:
    """How many of the last characters of `text` may be the first ones of `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
