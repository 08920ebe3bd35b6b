"""Generates text in batches: similar lengths together, streamed row by row, from several threads.

Knows lengths, token ids, out-of-memory errors, modules and CPU cores. Does not know prompts, how a
model is loaded, or how thoughts are marked (thoughts.py).

`ModelPool` gives each thread its own modules on shared weights, because some families keep per-call
state in their modules (the image positions of Qwen-VL). `RowStreamer` streams a whole batch;
transformers' TextStreamer supports batch size 1 only. `Detokenizer` is kept by hand: tokenizers'
DecodeStream has no flush, so an unfinished character at the end would be lost, and it holds back
all text as long as bytes are damaged.
"""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import torch
from transformers import StoppingCriteria

from rag_vqa.readers.thoughts import ThoughtSplitter, is_thought_mark
from rag_vqa.types import Completion, Finish, OnText

T = TypeVar("T")
_log = logging.getLogger("rag_vqa")
_REPLACEMENT = "\ufffd"
# A UTF-8 character has at most 4 bytes, so at most 4 tokens. Longer runs are damaged for good.
_MAX_CHARACTER_TOKENS = 4
_LATE_THOUGHTS = (
    "the model's text turned out to be its thoughts after it had been streamed as the answer: "
    "ask again without streaming, or use --thinking on"
)
_NO_ROOM = (
    "the model was still thinking when its tokens ran out, so there is no answer: "
    "raise --max-new-tokens, or use --thinking off if it was on"
)
_NO_ANSWER = "the model wrote only thoughts, and no answer: see them with --show-thinking"


class LengthBatcher:
    """Runs rows in batches of similar length. The first out-of-memory error halves the batches.

    Args:
        size: rows of one batch.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._halved = False

    def run(self, lengths: Sequence[int], run_batch: Callable[[list[int]], list[T]]) -> list[T]:
        """The result of each row, in the order of the rows.

        Args:
            lengths: tokens of each row. Rows of similar length share a batch, to save padding.
            run_batch: from the row numbers of one batch to their results.
        """
        rows = sorted(range(len(lengths)), key=lambda row: lengths[row])
        results: dict[int, T] = {}
        while len(results) < len(rows):
            batch = rows[len(results) : len(results) + self.size]
            if (made := self._try_batch(batch, run_batch)) is not None:
                results.update(zip(batch, made, strict=True))
        return [results[row] for row in range(len(lengths))]

    def _try_batch(
        self, batch: list[int], run_batch: Callable[[list[int]], list[T]]
    ) -> list[T] | None:
        """The results, or None if memory ran out: `size` is then half of the batch for good."""
        try:
            return run_batch(batch)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error) or self._halved or len(batch) < 2:
                raise
        # Outside of the handler, because the error keeps the allocated tensors alive.
        self._halved, self.size = True, (len(batch) + 1) // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        _log.warning("Out of memory with %d prompts: read %d at once", len(batch), self.size)
        return None


def is_out_of_memory(error: BaseException) -> bool:
    """True if the error means that memory ran out, on a GPU or a CPU."""
    on_cpu = isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error)
    return on_cpu or isinstance(error, torch.OutOfMemoryError)


class ModelPool:
    """Gives each thread modules of its own over the same weights.

    Args:
        model: a model of transformers. A single caller always gets the model itself.
    """

    def __init__(self, model: Any) -> None:
        self._lock = threading.Lock()
        self._model = model
        self.idle = [model]
        self._busy = 0
        self._on_cpu = torch.device(model.device).type == "cpu"
        self._cores = torch.get_num_threads()
        self._shared = False

    @contextmanager
    def acquire(self) -> Iterator[Any]:
        """Modules that no other thread uses meanwhile; on a CPU also a share of the cores."""
        with self._lock:
            self._busy += 1
            modules = self.idle.pop() if self.idle else _copy_modules(self._model)
            self._shared |= self._busy > 1
            if self._shared and self._on_cpu:  # set for this thread only
                torch.set_num_threads(max(1, self._cores // self._busy))
        try:
            yield modules
        finally:
            with self._lock:
                self._busy -= 1
                # The model itself is used first, so that a caller's changes to it take effect.
                self.idle.insert(len(self.idle) if modules is self._model else 0, modules)


def _copy_modules(model: Any) -> Any:
    """A copy of the modules that shares all weights."""
    memo: dict[int, Any] = {id(t): t for t in (*model.parameters(), *model.buffers())}
    for part in model.modules():
        state = getattr(part, "quant_state", None)  # bitsandbytes: scales beside a weight
        if state is not None:
            memo[id(state)] = state
    return copy.deepcopy(model, memo)


@dataclass(slots=True)
class Detokenizer:
    """Turns tokens into pieces of text, without half characters. The pieces join to the whole text.

    Special tokens are text here; leave out those that should not be seen (`hidden_token_ids`).

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
            ids, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return str(text)


def hidden_token_ids(tokenizer: Any) -> frozenset[int]:
    """Special tokens that are no part of a text: all but the marks of thoughts and channels."""
    added = tokenizer.added_tokens_decoder
    special = {number: token.content for number, token in added.items() if token.special}
    special |= dict(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True))
    return frozenset(i for i, text in special.items() if not is_thought_mark(text))


@dataclass(slots=True)
class _Row:
    """One text in the making. `text`: its answer so far; `reasoning`: tokens of its thoughts."""

    detokenizer: Detokenizer
    splitter: ThoughtSplitter
    text: str = ""
    tokens: int = 0
    reasoning: int = 0
    max_tokens: int | None = None
    finish: Literal["", "stop", "length", "cancelled"] = ""


class RowStreamer(StoppingCriteria):  # type: ignore[misc]  # untyped library
    """Reports the text of each new token of a batch, and stops rows that end or are cancelled.

    Thoughts are split off, and never reported. While a row thinks, `on_text` is called with "".

    Args:
        tokenizer: the reader's tokenizer.
        rows: numbers of the batch's rows, for `on_text`.
        end_ids: token ids that end a row.
        on_text: called with (row, piece); returning False cancels the row.
        one_line: a row ends before the first newline after a word of its answer.
        max_tokens: longest text of each row in tokens; None means no limit of its own.
        hidden_ids: token ids that are no text, see `hidden_token_ids`.
        make_splitter: makes the splitter of one row, which knows how the prompt ended.
    """

    def __init__(
        self,
        tokenizer: Any,
        rows: Sequence[int],
        end_ids: frozenset[int],
        on_text: OnText | None,
        one_line: bool = False,
        max_tokens: Sequence[int | None] | None = None,
        hidden_ids: frozenset[int] = frozenset(),
        make_splitter: Callable[[], ThoughtSplitter] = ThoughtSplitter,
    ) -> None:
        self.rows = [
            _Row(Detokenizer(tokenizer), make_splitter(), max_tokens=limit)
            for _, limit in zip(rows, max_tokens or [None] * len(rows), strict=True)
        ]
        self._numbers = rows
        self._end_ids = end_ids
        self._on_text = on_text
        self._one_line = one_line
        self._hidden_ids = hidden_ids

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
                self._end(number, row, "stop")
            else:
                self._take_token(number, row, token)
                if row.tokens == row.max_tokens:
                    self._end(number, row, "length")
        return torch.tensor([bool(row.finish) for row in self.rows], device=input_ids.device)

    def close(self) -> None:
        """Call this after the last token: rows that have not ended ran into the limit."""
        for number, row in zip(self._numbers, self.rows, strict=True):
            self._end(number, row, "length")

    def _take_token(self, number: int, row: _Row, token: int) -> None:
        row.tokens += 1
        thinking = row.splitter.unclosed
        piece = "" if token in self._hidden_ids else row.detokenizer.push(token)
        self._report(number, row, row.splitter.feed(piece))
        thinking |= row.splitter.unclosed
        if row.splitter.reasoning and not (thinking or row.reasoning):
            row.reasoning = row.tokens  # all of it was thought, as an end mark now says
        row.reasoning += thinking
        if thinking and not row.finish and self._tell(number, "") is False:
            row.finish = "cancelled"

    def _end(self, number: int, row: _Row, finish: Literal["stop", "length"]) -> None:
        """Ends a row, unless it ended before."""
        if not row.finish:
            row.finish = finish
            rest = row.splitter.feed(row.detokenizer.flush())
            self._report(number, row, rest + row.splitter.finish())

    def _report(self, number: int, row: _Row, piece: str) -> None:
        if row.splitter.late_end and self._on_text is None:
            row.text = ""  # it was thought; what follows is the answer
            row.splitter.late_end = False
        if self._one_line and (end := _first_line_end(row.text + piece)) is not None:
            row.finish, piece = "stop", piece[: end - len(row.text)]
        if not piece:
            return
        row.text += piece
        if self._tell(number, piece) is False and not row.finish:
            row.finish = "cancelled"

    def _tell(self, number: int, piece: str) -> bool | None:
        return None if self._on_text is None else self._on_text(number, piece)

    def completions(self, tokens_in: Sequence[int]) -> list[Completion]:
        """Completions of all rows, after `close`. `tokens_in`: prompt tokens of each row."""
        return [
            _completion(row, prompt_tokens)
            for row, prompt_tokens in zip(self.rows, tokens_in, strict=True)
        ]


def _completion(row: _Row, tokens_in: int) -> Completion:
    finish: Finish = row.finish or "length"
    reasoning, error, note = row.splitter.reasoning, "", ""
    if row.splitter.late_end:
        finish, error = "failed", _LATE_THOUGHTS
    elif reasoning and not row.text.strip():
        note = _NO_ROOM if finish == "length" else _NO_ANSWER
    return Completion(
        row.text,
        tokens_in,
        row.tokens,
        finish,
        error=error,
        reasoning=reasoning,
        reasoning_tokens=row.reasoning if reasoning else 0,
        note=note if finish != "cancelled" else "",
    )


def _first_line_end(text: str) -> int | None:
    """Position of the first newline after a word."""
    found = text.find("\n", len(text) - len(text.lstrip()))
    return None if found < 0 else found
