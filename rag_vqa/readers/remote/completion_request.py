"""One chat-completions request: from its body to a Completion, whole or streamed.

Knows the fields of a request, how it is sent, and who listens to a stream. Does not know how
prompts become messages (message_encoder.py), does not retry, and does not choose a server
(retrying_client.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import httpx2
import openai

from rag_vqa.readers.remote.answer import AnswerInProgress, LateThoughts
from rag_vqa.readers.remote.choice_shares import LOGPROBS_SUPPORT, TOP_LOGPROBS, parse_first_tokens
from rag_vqa.readers.remote.event_stream import ResponseObject, iterate_objects
from rag_vqa.readers.remote.request_failures import (
    RequestFailure,
    RequestInfo,
    broken_answer,
    interpret_exception,
)
from rag_vqa.readers.remote.responses import first_choice, parse_part
from rag_vqa.readers.remote.server_traits import RequestBody
from rag_vqa.types import Completion, OnText, Thinking

_STREAMED = {"stream": True, "stream_options": {"include_usage": True}}
FIRST_TOKENS = {"max_tokens": 1, "logprobs": True, "top_logprobs": TOP_LOGPROBS}
_LINGER = 5.0  # seconds: how long token counts are waited for behind the answer's end


def make_request_body(
    model: str,
    messages: list[dict[str, Any]],
    max_new_tokens: int,
    thinking: Thinking = "off",
    streamed: bool = False,
) -> RequestBody:
    """The body of a request, with greedy decoding as in the local reader.

    It says `max_tokens`, the name that most servers know. It sets no `stop`, because an answer that
    begins with a newline would be empty. Templates call thinking `enable_thinking` (Qwen, GLM,
    Gemma) or `thinking` (DeepSeek, Granite); OpenAI and Ollama take a `reasoning_effort`.

    Args:
        thinking: "off", "on", or how much.
    """
    on = thinking != "off"
    body = {
        "model": model,
        "messages": messages,
        "max_tokens": max_new_tokens,
        "temperature": 0,
        "chat_template_kwargs": {"enable_thinking": on, "thinking": on},
    }
    if thinking != "on":
        body["reasoning_effort"] = thinking if on else "none"
    return body | _STREAMED if streamed else body


class StreamedRow:
    """Streams the text of one row to `on_text`, over retries.

    A stream that breaks off is started again. Text that was streamed before is not repeated and
    cannot be taken back.

    Attributes:
        text: all text streamed so far.
    """

    def __init__(self, row: int, on_text: OnText) -> None:
        self.text = ""
        self._row = row
        self._on_text = on_text

    def update(self, text: str) -> bool:
        """Streams the new part of `text`, the whole text of this try; False: row cancelled."""
        if not text.startswith(self.text[: len(text)]):
            raise self._changed_answer()
        new = text[len(self.text) :]
        self.text += new
        return not new or self._on_text(self._row, new) is not False

    def finish(self, text: str) -> None:
        """Checks that the whole answer is the text that was streamed."""
        if text != self.text:
            raise self._changed_answer()

    @staticmethod
    def _changed_answer() -> RequestFailure:
        return RequestFailure(
            "the reader's server cut the stream, and the next try gave a different answer"
        )


@asynccontextmanager
async def _open_response(
    client: Any, body: RequestBody, info: RequestInfo
) -> AsyncIterator[AsyncGenerator[ResponseObject | None]]:
    """The objects of the response to a request, which is closed in any case.

    The openai package sends it; its own reading of responses is too strict for many servers.

    Raises:
        RequestFailure: no response, or an error in place of one.
    """
    rest = {name: value for name, value in body.items() if name not in ("model", "messages")}
    request = client.chat.completions.with_streaming_response.create(
        model=body["model"], messages=body["messages"], extra_body=rest
    )
    try:
        async with (
            request as response,
            aclosing(iterate_objects(response.iter_bytes(), info)) as objects,
        ):
            yield objects
    except (openai.APIError, httpx2.HTTPError) as error:
        # Without the cause: its request holds the key, which traceback tools would print.
        raise interpret_exception(error, info) from None


async def fetch_completion(
    client: Any,
    body: RequestBody,
    info: RequestInfo,
    one_line: bool,
    row: StreamedRow | None = None,
) -> Completion:
    """The answer, streamed to `row` if there is one. Raises RequestFailure without an answer.

    With `one_line` the stream is closed after its first line; most servers then report no token
    counts (0).
    """
    answer = AnswerInProgress(one_line, streamed=row is not None, info=info)
    stated_end = any_object = False
    patience = asyncio.timeout(None)  # for what comes behind the end
    try:
        async with _open_response(client, body, info) as objects, patience:
            async for found in objects:
                any_object = True
                if found is None:
                    stated_end = True
                    break
                answer.add(parse_part(found, info))
                if row and not row.update(answer.text):
                    return answer.cancel()
                if answer.complete:
                    break
                if answer.finish and patience.when() is None:
                    patience.reschedule(asyncio.get_running_loop().time() + _LINGER)
        if not (answer.complete or answer.finish or stated_end):
            failure = broken_answer("it has no end", info)
            failure.silent = True
            raise failure
    except TimeoutError:
        if not patience.expired():
            raise
    except RequestFailure as failure:
        if not answer.finish or failure.error or failure.action != "retry":
            failure.silent &= not any_object
            raise  # else only the counts of tokens are lost
    return _end_answer(answer, row)


def _end_answer(answer: AnswerInProgress, row: StreamedRow | None) -> Completion:
    try:
        completion = answer.end()
    except LateThoughts:
        if row:
            row.text = ""  # thoughts do not stand for an answer, not even for half of one
        raise
    if row and not row.update(answer.text):
        return answer.cancel()
    if row:
        row.finish(answer.text)
    return completion


async def fetch_first_tokens(
    client: Any, body: RequestBody, info: RequestInfo
) -> list[tuple[str, float]]:
    """(token, log probability) of the likeliest first tokens.

    Raises:
        RequestFailure: the server reports none.
    """
    async with _open_response(client, body, info) as objects:
        async for found in objects:
            if found and (tokens := parse_first_tokens(first_choice(found, info))):
                return tokens
    raise RequestFailure(
        f"{info.server} reports no log probabilities, which choices need: {LOGPROBS_SUPPORT}"
    )
