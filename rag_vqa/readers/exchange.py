"""One request and its answer, whole or streamed: what is sent, and what counts as an answer.

It knows the chat-completions format. It does not try again, and does not choose servers.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Literal

from rag_vqa.readers.failures import Asked, Failure, broken
from rag_vqa.readers.reader import OnText
from rag_vqa.readers.written import answered, count_of, text_of
from rag_vqa.types import Completion, Finish

Body = dict[str, Any]
# What the openai package raises over JSON that ends too early or is none of its own.
_ODD = (ValueError, TypeError, AttributeError, RecursionError)


def body(model: str, messages: list[dict[str, Any]], max_new_tokens: int) -> Body:
    """Greedy, as the local reader is. `max_tokens`: the name that every server knows.

    No `stop`: an answer that begins with a newline would be an empty one.
    """
    return {
        "model": model,
        "messages": messages,
        "max_tokens": max_new_tokens,
        "temperature": 0,
    }


class Heard:
    """What `on_text` was told of a row. A stream that is cut begins anew: what was told is not
    told again, and cannot be taken back."""

    def __init__(self, row: int, on_text: OnText) -> None:
        self.text = ""
        self._row = row
        self._on_text = on_text

    def hear(self, text: str) -> bool:
        """Tells what is new in `text`, all of this try so far; False: the row is cancelled."""
        if not text.startswith(self.text[: len(text)]):
            raise self._changed()
        new = text[len(self.text) :]
        self.text += new
        return not new or self._on_text(self._row, new) is not False

    def end(self, text: str) -> None:
        """The whole answer is `text`: no less than what was told."""
        if text != self.text:
            raise self._changed()

    @staticmethod
    def _changed() -> Failure:
        return Failure(
            "the reader's server cut the stream, and wrote another answer when asked again"
        )


async def put(client: Any, request: Body, asked: Asked) -> Any:
    """What the server sends, as the openai package reads it. Raises Failure for what it cannot."""
    try:
        return await client.chat.completions.create(**request)
    except _ODD as error:
        raise broken(str(error), asked) from None


async def whole(client: Any, request: Body, asked: Asked, one_line: bool) -> Completion:
    """The answer in one piece. Raises Failure where there is none."""
    answer = await put(client, request, asked)
    [choice] = choices(answer, asked) or [None]
    text, complete = answered(_text(getattr(choice, "message", None), asked), one_line)
    finish = getattr(choice, "finish_reason", None) or "stop"
    usage, model = getattr(answer, "usage", None), getattr(answer, "model", None)
    return _completion(text, "stop" if complete else finish, usage, model, asked)


async def streamed(
    client: Any, request: Body, asked: Asked, one_line: bool, heard: Heard
) -> Completion:
    """The answer as it is written, told to `heard`. Raises Failure where there is none.

    With `one_line` the stream is closed after its first line; tokens are then mostly not told (0).
    """
    options = {"stream": True, "stream_options": {"include_usage": True}}
    raw, finish, usage, model, complete = "", "", None, "", False
    chunks = _chunks(await put(client, request | options, asked), asked)
    async with aclosing(chunks):
        async for chunk in chunks:
            model = getattr(chunk, "model", None) or model
            usage = getattr(chunk, "usage", None) or usage
            for choice in choices(chunk, asked):
                raw += _text(getattr(choice, "delta", None), asked)
                finish = getattr(choice, "finish_reason", None) or finish
            text, complete = answered(raw, one_line, ended=False)
            if not heard.hear(text):
                return Completion(text, 0, 0, "cancelled", model=_name(model))
            if complete:
                break
    if not complete and not finish:
        raise broken("no end came", asked)
    text, _ = answered(raw, one_line)
    completion = _completion(text, "stop" if complete else finish, usage, model, asked)
    if not heard.hear(text):
        return Completion(text, 0, 0, "cancelled", model=completion.model)
    heard.end(text)
    return completion


def _text(message: Any, asked: Asked) -> str:
    try:
        return text_of(getattr(message, "content", None))
    except ValueError as error:
        raise Failure(f"{asked.server} answers, but not as OpenAI's do: {error}") from None


async def _chunks(stream: Any, asked: Asked) -> AsyncGenerator[Any]:
    """The stream's chunks, closed whatever happens to whoever reads them."""
    async with stream:
        events = aiter(stream)
        while True:
            try:
                chunk = await anext(events)
            except StopAsyncIteration:
                return
            except _ODD as error:
                raise broken(str(error), asked) from None
            yield chunk


def choices(answer: Any, asked: Asked) -> list[Any]:
    """At most one choice. Raises Failure for what is no answer of such a server at all."""
    if not hasattr(answer, "choices"):  # a page: text, not JSON
        mend = "is the address right (it ends in /v1)?"
        raise Failure(f"{asked.server} answers, but not as OpenAI's do: {mend}", "server")
    if not isinstance(answer.choices, list):
        raise broken("it holds no choices", asked)
    return answer.choices[:1]


def _completion(text: str, finish: str, usage: Any, model: Any, asked: Asked) -> Completion:
    if finish == "content_filter":
        raise Failure(f"{asked.server} stopped the answer by its content filter")
    tokens_out = count_of(usage, "completion_tokens")
    if not text.strip():
        raise _empty(finish, tokens_out, asked)
    ended: Finish = "length" if finish == "length" else "stop"
    tokens_in = count_of(usage, "prompt_tokens")
    return Completion(text, tokens_in, tokens_out, ended, model=_name(model))


def _name(model: Any) -> str:
    return text_of(model) if isinstance(model, str) else ""


def _empty(finish: str, tokens: int, asked: Asked) -> Failure:
    then: Literal["row", "retry"] = "row" if finish == "length" else "retry"
    mend = " The model spent them on thinking: raise --max-new-tokens" if then == "row" else ""
    return Failure(f"{asked.server} gave an empty answer of {tokens} tokens.{mend}", then)
