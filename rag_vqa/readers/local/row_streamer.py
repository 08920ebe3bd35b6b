"""Streams generated text for a whole batch (transformers' TextStreamer supports batch size 1 only).

Knows token ids, the tokenizer, rows and their limits. Does not know models or prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from transformers import StoppingCriteria

from rag_vqa.types import Completion, OnText

_REPLACEMENT = "\ufffd"
# A character of UTF-8 has at most 4 bytes, hence at most 4 tokens: more are damaged for good.
_MAX_CHARACTER_TOKENS = 4


@dataclass(slots=True)
class Detokenizer:
    """Tokens to pieces of text, never half a character; the pieces join to the whole text.

    `shown` tokens are out; `context` is where the last piece began, because a tokenizer may write
    a token otherwise at the start of a text (a leading space is lost).
    """

    tokenizer: Any
    ids: list[int] = field(default_factory=list)
    context: int = 0
    shown: int = 0

    def push(self, token: int) -> str:
        """The text that has become certain with this token; often "" in the middle of one."""
        self.ids.append(token)
        piece = self._pending()
        half = piece.endswith(_REPLACEMENT) and len(self.ids) - self.shown < _MAX_CHARACTER_TOKENS
        return "" if half else self._take(piece)

    def flush(self) -> str:
        """What is left at the end, half a character included."""
        return self._take(self._pending())

    def _pending(self) -> str:
        before = self._decode(self.ids[self.context : self.shown])
        return self._decode(self.ids[self.context :])[len(before) :]

    def _take(self, piece: str) -> str:
        self.context, self.shown = self.shown, len(self.ids)
        return piece

    def _decode(self, ids: Sequence[int]) -> str:
        text = self.tokenizer.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return str(text)


@dataclass(slots=True)
class _Row:
    detokenizer: Detokenizer
    text: str = ""
    tokens: int = 0
    most: int | None = None
    finish: Literal["", "stop", "length", "cancelled"] = ""


class RowStreamer(StoppingCriteria):  # type: ignore[misc]  # untyped library
    """Sees every new token of a batch, reports its text, and stops the rows that are cancelled.

    Args:
        tokenizer: of the reader.
        rows: numbers of the batch's rows, as `on_text` is told them.
        ends: ids that end a row.
        on_text: called with (row, piece); False cancels the row.
        one_line: a newline after a word ends a row, and is no part of it.
        most: tokens of each row; None: as many as come.
    """

    def __init__(
        self,
        tokenizer: Any,
        rows: Sequence[int],
        ends: frozenset[int],
        on_text: OnText | None,
        one_line: bool = False,
        most: Sequence[int | None] | None = None,
    ) -> None:
        self.rows = [
            _Row(Detokenizer(tokenizer), most=some)
            for _, some in zip(rows, most or [None] * len(rows), strict=True)
        ]
        self._numbers = rows
        self._ends = ends
        self._on_text = on_text
        self._one_line = one_line

    @property
    def has_text(self) -> bool:
        """Whether somebody was told a piece."""
        return self._on_text is not None and any(row.text for row in self.rows)

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        """input_ids: (B, L) so far → (B,), true where a row is to stop."""
        for number, row, token in zip(
            self._numbers, self.rows, input_ids[:, -1].tolist(), strict=True
        ):
            if row.finish:
                continue  # finished rows are filled up with padding
            if token in self._ends:
                row.finish = "stop"
                self._report(number, row, row.detokenizer.flush())
            else:
                row.tokens += 1
                self._report(number, row, row.detokenizer.push(token))
                if row.tokens == row.most:
                    self._cut(number, row)
        return torch.tensor([bool(row.finish) for row in self.rows], device=input_ids.device)

    def close(self) -> None:
        """No more tokens will come: rows that have not ended ran into the limit."""
        for number, row in zip(self._numbers, self.rows, strict=True):
            self._cut(number, row)

    def _cut(self, number: int, row: _Row) -> None:
        """It ran into the limit, unless it ended before."""
        if not row.finish:
            row.finish = "length"
            self._report(number, row, row.detokenizer.flush())

    def _report(self, number: int, row: _Row, piece: str) -> None:
        if self._one_line and (end := _first_line_end(row.text + piece)) is not None:
            row.finish, piece = "stop", piece[: end - len(row.text)]
        if not piece:
            return
        row.text += piece
        if self._on_text is not None and self._on_text(number, piece) is False and not row.finish:
            row.finish = "cancelled"

    def completions(self, tokens_in: Sequence[int]) -> list[Completion]:
        """Of all rows, once closed."""
        return [
            Completion(row.text, read, row.tokens, row.finish or "length")
            for row, read in zip(self.rows, tokens_in, strict=True)
        ]


def _first_line_end(text: str) -> int | None:
    """Where the first newline after a word is."""
    found = text.find("\n", len(text) - len(text.lstrip()))
    return None if found < 0 else found
