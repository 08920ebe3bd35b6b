"""One chat-completions request: from a prompt to a Completion, whole or streamed.

Knows OpenAI's message format, how images travel (data URLs), and how to estimate tokens without a
tokenizer. Does not retry and does not choose a server (retrying_client.py).
"""

from __future__ import annotations

import base64
import math
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from rag_vqa import images
from rag_vqa.readers.neutralise import chat_messages, neutralise_by_shape, neutralise_parts
from rag_vqa.readers.prompt_encoder import ImageOpener, PromptEncoder
from rag_vqa.readers.remote.responses import (
    LOGPROBS_SUPPORT,
    TOP_LOGPROBS,
    RequestFailure,
    RequestInfo,
    extract_answer,
    malformed_response,
    message_text,
    parse_top_logprobs,
    token_count,
)
from rag_vqa.types import Completion, Finish, ImagePart, OnText, Prompt, TextPart

RequestBody = dict[str, Any]
# Raised by the openai package for JSON that ends too early or has another structure.
_MALFORMED_RESPONSE = (ValueError, TypeError, AttributeError, RecursionError)
DEFAULT_MAX_PIXELS = 1024 * 1024  # pixels of one image, the largest of the presets
# A token is about 4 characters of English, or 1 to 2 characters (3 bytes each) of Chinese.
_BYTES_PER_TOKEN = 3
_TOKENS_PER_MESSAGE = 8  # written by the chat template around a message
# Qwen2.5-VL: a token for 28 × 28 pixels, Qwen3-VL: for 32 × 32; LLaVA-1.5: 576 for any image.
_PIXELS_PER_TOKEN = 28 * 28
_MIN_IMAGE_TOKENS = 576


def make_request_body(
    model: str, messages: list[dict[str, Any]], max_new_tokens: int
) -> RequestBody:
    """The body of a request, with greedy decoding as in the local reader.

    It says `max_tokens`, the name that every server knows. It sets no `stop`, because an answer
    that begins with a newline would be empty.
    """
    return {
        "model": model,
        "messages": messages,
        "max_tokens": max_new_tokens,
        "temperature": 0,
    }


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


async def send_request(client: Any, request: RequestBody, info: RequestInfo) -> Any:
    """The response as the openai package parses it. Raises RequestFailure if it cannot."""
    try:
        return await client.chat.completions.create(**request)
    except _MALFORMED_RESPONSE as error:
        raise malformed_response(str(error), info) from None


async def fetch_completion(
    client: Any, request: RequestBody, info: RequestInfo, one_line: bool
) -> Completion:
    """The answer in one piece. Raises RequestFailure without one."""
    answer = await send_request(client, request, info)
    [choice] = response_choices(answer, info) or [None]
    text, complete = extract_answer(_read_text(getattr(choice, "message", None), info), one_line)
    finish = getattr(choice, "finish_reason", None) or "stop"
    usage, model = getattr(answer, "usage", None), getattr(answer, "model", None)
    return _make_completion(text, "stop" if complete else finish, usage, model, info)


async def stream_completion(
    client: Any, request: RequestBody, info: RequestInfo, one_line: bool, row: StreamedRow
) -> Completion:
    """The answer, streamed to `row`. Raises RequestFailure without one.

    With `one_line` the stream is closed after its first line; most servers then report no token
    counts (0).
    """
    options = {"stream": True, "stream_options": {"include_usage": True}}
    raw, finish, usage, model, complete = "", "", None, "", False
    chunks = _iterate_chunks(await send_request(client, request | options, info), info)
    async with aclosing(chunks):
        async for chunk in chunks:
            model = getattr(chunk, "model", None) or model
            usage = getattr(chunk, "usage", None) or usage
            for choice in response_choices(chunk, info):
                raw += _read_text(getattr(choice, "delta", None), info)
                finish = getattr(choice, "finish_reason", None) or finish
            text, complete = extract_answer(raw, one_line, ended=False)
            if not row.update(text):
                return Completion(text, 0, 0, "cancelled", model=_read_model_name(model))
            if complete:
                break
    if not complete and not finish:
        raise malformed_response("it has no end", info)
    text, _ = extract_answer(raw, one_line)
    completion = _make_completion(text, "stop" if complete else finish, usage, model, info)
    if not row.update(text):
        return Completion(text, 0, 0, "cancelled", model=completion.model)
    row.finish(text)
    return completion


def _read_text(message: Any, info: RequestInfo) -> str:
    try:
        return message_text(getattr(message, "content", None))
    except ValueError as error:
        raise RequestFailure(
            f"{info.server} gave a response that is not OpenAI's format: {error}"
        ) from None


async def _iterate_chunks(stream: Any, info: RequestInfo) -> AsyncGenerator[Any]:
    """The chunks of the stream, which is closed in any case."""
    async with stream:
        events = aiter(stream)
        while True:
            try:
                chunk = await anext(events)
            except StopAsyncIteration:
                return
            except _MALFORMED_RESPONSE as error:
                raise malformed_response(str(error), info) from None
            yield chunk


def response_choices(answer: Any, info: RequestInfo) -> list[Any]:
    """At most one choice. Raises RequestFailure for a response in another format."""
    if not hasattr(answer, "choices"):  # a web page: text, not JSON
        advice = "is the address right (it ends in /v1)?"
        raise RequestFailure(
            f"{info.server} gave a response that is not OpenAI's format: {advice}", "drop server"
        )
    if not isinstance(answer.choices, list):
        raise malformed_response("it has no choices", info)
    return answer.choices[:1]


def _make_completion(
    text: str, finish: str, usage: Any, model: Any, info: RequestInfo
) -> Completion:
    if finish == "content_filter":
        raise RequestFailure(f"{info.server} stopped the answer by its content filter")
    tokens_out = token_count(usage, "completion_tokens")
    if not text.strip():
        raise _empty_answer(finish, tokens_out, info)
    ended: Finish = "length" if finish == "length" else "stop"
    tokens_in = token_count(usage, "prompt_tokens")
    return Completion(text, tokens_in, tokens_out, ended, model=_read_model_name(model))


def _read_model_name(model: Any) -> str:
    return message_text(model) if isinstance(model, str) else ""


def _empty_answer(finish: str, tokens: int, info: RequestInfo) -> RequestFailure:
    if finish == "length":
        advice = " The model spent them on thinking: raise --max-new-tokens"
        return RequestFailure(f"{info.server} gave an empty answer of {tokens} tokens.{advice}")
    return RequestFailure(f"{info.server} gave an empty answer of {tokens} tokens.", "retry")


class MessageEncoder:
    """Encodes prompts as chat messages, and counts their tokens.

    Args:
        max_pixels: pixels of one image; larger ones are scaled down.
        processor: the served model's, from `load_processor`; None if it is not on this machine.
    """

    def __init__(self, max_pixels: int = DEFAULT_MAX_PIXELS, processor: Any = None) -> None:
        self._opener = ImageOpener(max_pixels)
        self._encoder = PromptEncoder(processor, max_pixels) if processor is not None else None
        self._neutralise = self._encoder.neutralise if self._encoder else neutralise_by_shape

    def encode(self, prompt: Prompt) -> list[dict[str, Any]]:
        """The `messages` of a request. Decodes, scales and packs images: milliseconds each.

        Raises:
            BadImage, Missing: an image that cannot be opened.
        """
        parts = neutralise_parts(prompt.parts, self._neutralise)
        return [
            {"role": role, "content": self._content(contents)}
            for role, contents in chat_messages(parts)
        ]

    def _content(self, contents: list[str | ImagePart]) -> str | list[dict[str, Any]]:
        if len(contents) == 1 and isinstance(contents[0], str):
            return contents[0]  # some servers take a system message only in this form
        return [
            {"type": "text", "text": each}
            if isinstance(each, str)
            else {"type": "image_url", "image_url": {"url": self._data_url(each)}}
            for each in contents
        ]

    def _data_url(self, part: ImagePart) -> str:
        image = self._opener.open(part.image)
        file_format = images.choose_format(image)
        encoded = base64.b64encode(images.encode(image, file_format)).decode("ascii")
        return f"data:image/{file_format.lower()};base64,{encoded}"

    def render(self, prompt: Prompt) -> str:
        """The messages for people to read, with `<image>` for each image; see `Reader.render`."""
        if self._encoder is not None:
            return self._encoder.render(prompt.parts)
        parts = neutralise_parts(prompt.parts, self._neutralise)
        return "\n".join(
            f"{role}: " + "".join(e if isinstance(e, str) else "<image>\n" for e in contents)
            for role, contents in chat_messages(parts)
        )

    def count(self, prompt: Prompt) -> int:
        """Number of tokens of a prompt: exact with the processor, else a high estimate.

        The estimate counts a token for every 3 bytes of text and every 28 × 28 pixels, at least 576
        for an image. Models that read an image in tiles (LLaVA-NeXT, InternVL) take more, and so
        does text that is all digits.
        """
        if self._encoder is not None:
            return self._encoder.count(prompt)
        total = 2 * _TOKENS_PER_MESSAGE
        for part in prompt.parts:
            if isinstance(part, TextPart):
                size = len(part.text.encode("utf-8", "surrogatepass"))
                total += math.ceil(size / _BYTES_PER_TOKEN)
            else:
                width, height = self._opener.size(part.image)
                tokens = math.ceil(width * height / _PIXELS_PER_TOKEN)
                total += max(tokens, _MIN_IMAGE_TOKENS) + _TOKENS_PER_MESSAGE
        return total


async def fetch_first_tokens(
    client: Any, request: RequestBody, info: RequestInfo
) -> list[tuple[str, float]]:
    """(token, log probability) of the likeliest first tokens.

    Raises:
        RequestFailure: the server reports none.
    """
    options = {"max_tokens": 1, "logprobs": True, "top_logprobs": TOP_LOGPROBS}
    answer = await send_request(client, request | options, info)
    for choice in response_choices(answer, info):
        positions = getattr(getattr(choice, "logprobs", None), "content", None)
        for position in positions if isinstance(positions, list) else ():
            if reported := parse_top_logprobs(getattr(position, "top_logprobs", None)):
                return reported
    raise RequestFailure(
        f"{info.server} reports no log probabilities, which choices need: {LOGPROBS_SUPPORT}"
    )
