"""Stop sequences: text is passed on up to the first of them, piece by piece.

It knows text. It does not know readers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from rag_vqa.types import Answer


class Stopping:
    """Takes the pieces of an answer, and reports them as far as no stop sequence can begin there.

    >>> said = []
    >>> stopping = Stopping(lambda piece: said.append(piece) or True, ["\\nQ:"])
    >>> [stopping(piece) for piece in ["King", "ston\\n", "Q: and", " more"]]
    [True, True, False, False]
    >>> said
    ['King', 'ston']
    """

    def __init__(self, report: Callable[[str], bool], stop: Sequence[str] = ()) -> None:
        self._report, self._stop = report, [end for end in stop if end]
        self._text, self._told, self._cut = "", 0, False

    def __call__(self, piece: str) -> bool:
        """Whether the reader should go on."""
        if self._cut:
            return False
        self._text += piece if self._text else piece.lstrip()
        ends = [at for end in self._stop if (at := self._text.find(end)) >= 0]
        self._cut = bool(ends)
        self._text = self._text[: min(ends)] if ends else self._text
        return self._tell(self._text if ends else self._text[: self._safe()]) and not self._cut

    def ended(self, answer: Answer) -> Answer:
        """The answer, cut as its text was; what was held back is reported."""
        if not self._cut:
            self._tell(answer.text)
            return answer
        return replace(answer, text=self._text.strip(), finish="stop")

    def _tell(self, text: str) -> bool:
        new, self._told = text[self._told :], max(self._told, len(text))
        return self._report(new) if new else True

    def _safe(self) -> int:
        """Where the text's end could be the beginning of a stop sequence."""
        held = max(
            (
                size
                for end in self._stop
                for size in range(1, len(end))
                if self._text.endswith(end[:size])
            ),
            default=0,
        )
        return len(self._text) - held
