"""One request and its answer, whole or streamed: what is sent, and what counts as an answer.

It knows the chat-completions format. It does not try again, and does not choose servers.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Literal

from rag_vqa.readers.failures import Asked, Failure, broken
from rag_vqa.readers.reader import OnText
from rag_vqa.types import Completion, Finish

Body = dict[str, Any]


def body(
    model: str, messages: list[dict[str, Any]], max_new_tokens: int, one_line: bool = False
) -> Body:
    """Greedy, as the local reader is. `max_tokens`: the name that every server knows."""
    request: Body = {
        "model": model,
        "messages": messages,
        "max_tokens": max_new_tokens,
        "temperature": 0,
    }
    return {**request, "stop": ["\n"]} if one_line else request


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


async def whole(client: Any, request: Body, asked: Asked) -> Completion:
    """The answer in one piece. Raises Failure where there is none."""
    try:
        answer = await client.chat.completions.create(**request)
    except ValueError as error:  # JSON that ends too early
        raise broken(str(error), asked) from None
    [choice] = choices(answer, asked) or [None]
    text = getattr(getattr(choice, "message", None), "content", None) or ""
    finish = getattr(choice, "finish_reason", None) or "stop"
    return _completion(text, finish, answer.usage, answer.model, asked)


async def streamed(client: Any, request: Body, asked: Asked, heard: Heard) -> Completion:
    """The answer as it is written, told to `heard`. Raises Failure where there is none."""
    options = {"stream": True, "stream_options": {"include_usage": True}}
    text, finish, usage, model = "", "", None, ""
    chunks = _chunks(await client.chat.completions.create(**request, **options), asked)
    async with aclosing(chunks):
        async for chunk in chunks:
            model, usage = chunk.model or model, chunk.usage or usage
            for choice in choices(chunk, asked):
                text += choice.delta.content or ""
                finish = choice.finish_reason or finish
            if not heard.hear(text):
                return Completion(text, 0, 0, "cancelled", model=model)
    if not finish:
        raise broken("no end came", asked)
    completion = _completion(text, finish, usage, model, asked)
    heard.end(text)
    return completion


async def _chunks(stream: Any, asked: Asked) -> AsyncGenerator[Any]:
    """The stream's chunks, closed whatever happens to whoever reads them."""
    async with stream:
        events = aiter(stream)
        while True:
            try:
                chunk = await anext(events)
            except StopAsyncIteration:
                return
            except ValueError as error:  # JSON that ends too early
                raise broken(str(error), asked) from None
            yield chunk


def choices(answer: Any, asked: Asked) -> list[Any]:
    """At most one choice. Raises Failure for what is no answer of such a server at all."""
    if not hasattr(answer, "choices"):  # a page: text, not JSON
        mend = "is the address right (it ends in /v1)?"
        raise Failure(f"{asked.server} answers, but not as OpenAI's do: {mend}", "batch")
    if answer.choices is None:
        raise broken("it holds no choices", asked)
    return list(answer.choices[:1])


def _completion(text: str, finish: str, usage: Any, model: str, asked: Asked) -> Completion:
    if finish == "content_filter":
        raise Failure(f"{asked.server} stopped the answer by its content filter")
    tokens_out = getattr(usage, "completion_tokens", None) or 0
    if not text.strip():
        raise _empty(finish, tokens_out, asked)
    ended: Finish = "length" if finish == "length" else "stop"
    tokens_in = getattr(usage, "prompt_tokens", None) or 0
    return Completion(text, tokens_in, tokens_out, ended, model=model or "")


def _empty(finish: str, tokens: int, asked: Asked) -> Failure:
    then: Literal["row", "retry"] = "row" if finish == "length" else "retry"
    mend = " The model spent them on thinking: raise --max-new-tokens" if then == "row" else ""
    return Failure(f"{asked.server} gave an empty answer of {tokens} tokens.{mend}", then)
