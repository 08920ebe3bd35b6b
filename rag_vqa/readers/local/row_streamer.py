"""Streams generated text for a whole batch (transformers' TextStreamer supports batch size 1 only).

Knows token ids, the tokenizer, rows and their limits. Does not know models or prompts.
`Detokenizer` is kept by hand: tokenizers' DecodeStream has no flush, so an unfinished character at
the end would be lost, and it holds back all text as long as bytes are damaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from transformers import StoppingCriteria

from rag_vqa.types import Completion, OnText

_REPLACEMENT = "\ufffd"
# A UTF-8 character has at most 4 bytes, so at most 4 tokens. Longer runs are damaged for good.
_MAX_CHARACTER_TOKENS = 4


@dataclass(slots=True)
class Detokenizer:
    """Turns tokens into pieces of text, without half characters. The pieces join to the whole text.

    Attributes:
        emitted: number of tokens whose text was returned.
        context: where the last piece began. Decoding starts there, because a tokenizer may write a
            token differently at the start of a text (it drops a leading space).
    """

    tokenizer: Any
    ids: list[int] = field(default_factory=list)
    context: int = 0
    emitted: int = 0

    def push(self, token: int) -> str:
        """The text that this token completes; "" in the middle of a character."""
        self.ids.append(token)
        piece = self._pending_text()
        half = piece.endswith(_REPLACEMENT) and len(self.ids) - self.emitted < _MAX_CHARACTER_TOKENS
        return "" if half else self._take(piece)

    def flush(self) -> str:
        """The rest of the text at the end, including half a character."""
        return self._take(self._pending_text())

    def _pending_text(self) -> str:
        before = self._decode(self.ids[self.context : self.emitted])
        return self._decode(self.ids[self.context :])[len(before) :]

    def _take(self, piece: str) -> str:
        self.context, self.emitted = self.emitted, len(self.ids)
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
    max_tokens: int | None = None
    finish: Literal["", "stop", "length", "cancelled"] = ""


class RowStreamer(StoppingCriteria):  # type: ignore[misc]  # untyped library
    """Reports the text of each new token of a batch, and stops rows that end or are cancelled.

    Args:
        tokenizer: the reader's tokenizer.
        rows: numbers of the batch's rows, for `on_text`.
        end_ids: token ids that end a row.
        on_text: called with (row, piece); returning False cancels the row.
        one_line: a row ends before the first newline after a word.
        max_tokens: longest text of each row in tokens; None means no limit of its own.
    """

    def __init__(
        self,
        tokenizer: Any,
        rows: Sequence[int],
        end_ids: frozenset[int],
        on_text: OnText | None,
        one_line: bool = False,
        max_tokens: Sequence[int | None] | None = None,
    ) -> None:
        self.rows = [
            _Row(Detokenizer(tokenizer), max_tokens=limit)
            for _, limit in zip(rows, max_tokens or [None] * len(rows), strict=True)
        ]
        self._numbers = rows
        self._end_ids = end_ids
        self._on_text = on_text
        self._one_line = one_line

    @property
    def has_text(self) -> bool:
        """True if `on_text` was called with a piece."""
        return self._on_text is not None and any(row.text for row in self.rows)

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        """From all tokens so far, input_ids (B, L), to (B,): True where a row must stop."""
        for number, row, token in zip(
            self._numbers, self.rows, input_ids[:, -1].tolist(), strict=True
        ):
            if row.finish:
                continue  # finished rows get padding
            if token in self._end_ids:
                row.finish = "stop"
                self._report(number, row, row.detokenizer.flush())
            else:
                row.tokens += 1
                self._report(number, row, row.detokenizer.push(token))
                if row.tokens == row.max_tokens:
                    self._end_at_limit(number, row)
        return torch.tensor([bool(row.finish) for row in self.rows], device=input_ids.device)

    def close(self) -> None:
        """Call this after the last token: rows that have not ended ran into the limit."""
        for number, row in zip(self._numbers, self.rows, strict=True):
            self._end_at_limit(number, row)

    def _end_at_limit(self, number: int, row: _Row) -> None:
        """Ends a row with finish "length", unless it ended before."""
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
        """Completions of all rows, after `close`. `tokens_in`: prompt tokens of each row."""
        return [
            Completion(row.text, prompt_tokens, row.tokens, row.finish or "length")
            for row, prompt_tokens in zip(self.rows, tokens_in, strict=True)
        ]


def _first_line_end(text: str) -> int | None:
    """Position of the first newline after a word."""
    found = text.find("\n", len(text) - len(text.lstrip()))
    return None if found < 0 else found
