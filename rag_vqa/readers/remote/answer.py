"""An answer as it arrives: its text without thoughts and end marks, or why there is none.

Knows what is answer and what is not in the parts of a response. Does not know how they arrive
(event_stream.py) or who listens (completion_request.py).
"""

from __future__ import annotations

from typing import Any

from rag_vqa.readers.remote.request_failures import RequestFailure, RequestInfo
from rag_vqa.readers.remote.responses import AnswerPart, token_count
from rag_vqa.readers.thoughts import ThoughtSplitter, answer_end
from rag_vqa.types import Completion, Finish


class AnswerInProgress:
    """Joins the parts of a response to a completion.

    Args:
        one_line: the answer ends before the first newline after a word, as the local reader's.
        streamed: somebody listens; otherwise nothing is decided before the end.

    Attributes:
        text: the answer so far; only ever grows.
        complete: no further part can change the text.
        finish: why the answer ended, in the server's word; "" so far.
    """

    def __init__(self, one_line: bool, streamed: bool, info: RequestInfo) -> None:
        self.text, self.complete, self.finish = "", False, ""
        self._one_line, self._streamed, self._info = one_line, streamed, info
        self._opens_thoughts = info.traits.opens_thoughts
        self._splitter = ThoughtSplitter(held=self._opens_thoughts or not streamed)
        self._answer = ""  # with what stands behind its first line
        self._reasoning = self._refusal = self._tool = self._model = ""
        self._usage: Any = None

    def add(self, part: AnswerPart) -> None:
        """Adds the next part."""
        self._model = part.model or self._model
        self._usage = part.usage or self._usage
        self.finish = part.finish or self.finish
        self._refusal += part.refusal
        self._tool = self._tool or part.tool
        self._reasoning += part.reasoning
        if part.reasoning:  # this server keeps thoughts apart
            self._opens_thoughts, self._splitter.held = False, not self._streamed
        self._add_answer(self._splitter.feed(part.text))

    def _add_answer(self, piece: str) -> None:
        self._answer += piece
        self.text = self._answer
        if self._one_line:
            start = len(self._answer) - len(self._answer.lstrip())
            end = self._answer.find("\n", start)
            if end >= 0:
                line = self._answer[:end]
                self.text, self.complete = line[: answer_end(line)], True

    def cancel(self) -> Completion:
        """The answer of a row that was cancelled; it counts no tokens."""
        return Completion(self.text, 0, 0, "cancelled", model=self._model)

    def end(self) -> Completion:
        """The whole answer.

        Raises:
            RequestFailure: there is none, or it turned out to be thoughts.
        """
        if not self.complete:
            self._add_answer(self._splitter.finish())
        undecided = self._opens_thoughts and not self._splitter.reasoning
        if self._splitter.lone_end:
            self._info.traits.opens_thoughts = True
        tokens = token_count(self._usage, "completion_tokens")
        self._check(undecided, tokens)
        ended: Finish = "length" if self.finish == "length" and not self.complete else "stop"
        thoughts = [self._reasoning, self._splitter.reasoning]
        return Completion(
            self.text,
            token_count(self._usage, "prompt_tokens"),
            tokens,
            ended,
            model=self._model,
            reasoning="\n".join(text for text in thoughts if text),
            reasoning_tokens=token_count(
                self._usage, "completion_tokens_details", "reasoning_tokens"
            ),
        )

    def _check(self, undecided: bool, tokens: int) -> None:
        server, out_of_tokens = self._info.server, self.finish == "length"
        empty = not self.text.strip()
        if self._refusal:
            raise RequestFailure(f"{server}: its model refuses to answer: {self._refusal}")
        if self._tool or (empty and self.finish in ("tool_calls", "function_call")):
            called = f" ({self._tool})" if self._tool else ""
            raise RequestFailure(
                f"{server} calls a tool{called} instead of answering, though none was offered"
            )
        if self.finish == "content_filter":
            raise RequestFailure(f"{server} stopped the answer by its content filter")
        if self.finish == "error":
            raise RequestFailure(f"{server} ended the answer with an error", "retry")
        if self._splitter.late_end:
            raise LateThoughts(
                f"{server} began its answer with thoughts that only their end, </think>, showed: "
                "what was streamed is no answer. Ask again: further streams wait for that end"
            )
        if out_of_tokens and (empty or undecided):
            raise RequestFailure(
                f"{server} gave an empty answer of {tokens} tokens. The model spent them on "
                "thinking: raise --max-new-tokens, or use --thinking off if it was on"
            )
        if empty:
            raise RequestFailure(f"{server} gave an empty answer of {tokens} tokens", "retry")


class LateThoughts(RequestFailure):
    """What was streamed as the answer turned out to be thoughts."""
