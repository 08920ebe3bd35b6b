"""One chat-completions request: from a prompt to a Completion, whole or streamed.

Knows OpenAI's message format, how images travel (data URLs), and how to estimate tokens without a
tokenizer. Does not retry and does not choose a server (retrying_client.py).
"""

from __future__ import annotations

import base64
import math
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Literal

from rag_vqa import images
from rag_vqa.images import choose_format
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
# What the openai package raises over JSON that ends too early or is none of its own.
_MALFORMED_RESPONSE = (ValueError, TypeError, AttributeError, RecursionError)
DEFAULT_MAX_PIXELS = 1024 * 1024  # of one picture where nothing is said: the largest of the presets
# One token is about 4 characters of English, 1 to 2 characters (3 bytes each) of Chinese.
_BYTES_PER_TOKEN = 3
_TOKENS_PER_MESSAGE = 8  # what a template writes around a message
# Qwen2.5-VL: a token for 28 × 28 pixels, Qwen3-VL for 32 × 32; LLaVA-1.5: 576 for any picture.
_PIXELS_PER_TOKEN = 28 * 28
_MIN_IMAGE_TOKENS = 576


def make_request_body(
    model: str, messages: list[dict[str, Any]], max_new_tokens: int
) -> RequestBody:
    """Greedy, as the local reader is. `max_tokens`: the name that every server knows.

    No `stop`: an answer that begins with a newline would be an empty one.
    """
    return {
        "model": model,
        "messages": messages,
        "max_tokens": max_new_tokens,
        "temperature": 0,
    }


class StreamedRow:
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
    def _changed() -> RequestFailure:
        return RequestFailure(
            "the reader's server cut the stream, and wrote another answer when asked again"
        )


async def send_request(client: Any, request: RequestBody, asked: RequestInfo) -> Any:
    """What the server sends, as the openai package reads it. Raises Failure for what it cannot."""
    try:
        return await client.chat.completions.create(**request)
    except _MALFORMED_RESPONSE as error:
        raise malformed_response(str(error), asked) from None


async def fetch_completion(
    client: Any, request: RequestBody, asked: RequestInfo, one_line: bool
) -> Completion:
    """The answer in one piece. Raises Failure where there is none."""
    answer = await send_request(client, request, asked)
    [choice] = response_choices(answer, asked) or [None]
    text, complete = extract_answer(_read_text(getattr(choice, "message", None), asked), one_line)
    finish = getattr(choice, "finish_reason", None) or "stop"
    usage, model = getattr(answer, "usage", None), getattr(answer, "model", None)
    return _make_completion(text, "stop" if complete else finish, usage, model, asked)


async def stream_completion(
    client: Any, request: RequestBody, asked: RequestInfo, one_line: bool, heard: StreamedRow
) -> Completion:
    """The answer as it is written, told to `heard`. Raises Failure where there is none.

    With `one_line` the stream is closed after its first line; tokens are then mostly not told (0).
    """
    options = {"stream": True, "stream_options": {"include_usage": True}}
    raw, finish, usage, model, complete = "", "", None, "", False
    chunks = _iterate_chunks(await send_request(client, request | options, asked), asked)
    async with aclosing(chunks):
        async for chunk in chunks:
            model = getattr(chunk, "model", None) or model
            usage = getattr(chunk, "usage", None) or usage
            for choice in response_choices(chunk, asked):
                raw += _read_text(getattr(choice, "delta", None), asked)
                finish = getattr(choice, "finish_reason", None) or finish
            text, complete = extract_answer(raw, one_line, ended=False)
            if not heard.hear(text):
                return Completion(text, 0, 0, "cancelled", model=_read_model_name(model))
            if complete:
                break
    if not complete and not finish:
        raise malformed_response("no end came", asked)
    text, _ = extract_answer(raw, one_line)
    completion = _make_completion(text, "stop" if complete else finish, usage, model, asked)
    if not heard.hear(text):
        return Completion(text, 0, 0, "cancelled", model=completion.model)
    heard.end(text)
    return completion


def _read_text(message: Any, asked: RequestInfo) -> str:
    try:
        return message_text(getattr(message, "content", None))
    except ValueError as error:
        raise RequestFailure(f"{asked.server} answers, but not as OpenAI's do: {error}") from None


async def _iterate_chunks(stream: Any, asked: RequestInfo) -> AsyncGenerator[Any]:
    """The stream's chunks, closed whatever happens to whoever reads them."""
    async with stream:
        events = aiter(stream)
        while True:
            try:
                chunk = await anext(events)
            except StopAsyncIteration:
                return
            except _MALFORMED_RESPONSE as error:
                raise malformed_response(str(error), asked) from None
            yield chunk


def response_choices(answer: Any, asked: RequestInfo) -> list[Any]:
    """At most one choice. Raises Failure for what is no answer of such a server at all."""
    if not hasattr(answer, "choices"):  # a page: text, not JSON
        mend = "is the address right (it ends in /v1)?"
        raise RequestFailure(f"{asked.server} answers, but not as OpenAI's do: {mend}", "server")
    if not isinstance(answer.choices, list):
        raise malformed_response("it holds no choices", asked)
    return answer.choices[:1]


def _make_completion(
    text: str, finish: str, usage: Any, model: Any, asked: RequestInfo
) -> Completion:
    if finish == "content_filter":
        raise RequestFailure(f"{asked.server} stopped the answer by its content filter")
    tokens_out = token_count(usage, "completion_tokens")
    if not text.strip():
        raise _empty_answer(finish, tokens_out, asked)
    ended: Finish = "length" if finish == "length" else "stop"
    tokens_in = token_count(usage, "prompt_tokens")
    return Completion(text, tokens_in, tokens_out, ended, model=_read_model_name(model))


def _read_model_name(model: Any) -> str:
    return message_text(model) if isinstance(model, str) else ""


def _empty_answer(finish: str, tokens: int, asked: RequestInfo) -> RequestFailure:
    then: Literal["row", "retry"] = "row" if finish == "length" else "retry"
    mend = " The model spent them on thinking: raise --max-new-tokens" if then == "row" else ""
    return RequestFailure(f"{asked.server} gave an empty answer of {tokens} tokens.{mend}", then)


class MessageEncoder:
    """Prompts to messages.

    Args:
        max_pixels: of one picture; larger ones are scaled down.
        processor: of the served model, see `load_processor`; None: it is not here.
    """

    def __init__(self, max_pixels: int = DEFAULT_MAX_PIXELS, processor: Any = None) -> None:
        self._pictures = ImageOpener(max_pixels)
        self._encoder = PromptEncoder(processor, max_pixels) if processor is not None else None
        self._neutralise = self._encoder.neutralise if self._encoder else neutralise_by_shape

    def messages(self, prompt: Prompt) -> list[dict[str, Any]]:
        """The body's `messages`. Pictures are decoded, scaled and packed here: milliseconds each.

        Raises:
            BadImage, Missing: a picture that cannot be opened.
        """
        shown = neutralise_parts(prompt.parts, self._neutralise)
        return [
            {"role": role, "content": self._content(contents)}
            for role, contents in chat_messages(shown)
        ]

    def _content(self, contents: list[str | ImagePart]) -> str | list[dict[str, Any]]:
        if len(contents) == 1 and isinstance(contents[0], str):
            return contents[0]  # some servers take a system message in this form alone
        return [
            {"type": "text", "text": each}
            if isinstance(each, str)
            else {"type": "image_url", "image_url": {"url": self._data_address(each)}}
            for each in contents
        ]

    def _data_address(self, part: ImagePart) -> str:
        picture = self._pictures.open(part.image)
        kind = choose_format(picture)
        packed = base64.b64encode(images.encode(picture, kind)).decode("ascii")
        return f"data:image/{kind.lower()};base64,{packed}"

    def render(self, prompt: Prompt) -> str:
        """The messages for people to read, `<image>` for each picture; see `Reader.render`."""
        if self._encoder is not None:
            return self._encoder.render(prompt.parts)
        shown = neutralise_parts(prompt.parts, self._neutralise)
        return "\n".join(
            f"{role}: " + "".join(e if isinstance(e, str) else "<image>\n" for e in contents)
            for role, contents in chat_messages(shown)
        )

    def count(self, prompt: Prompt) -> int:
        """Tokens of a prompt: exact with the processor, else estimated, rather too many.

        The estimate: a token for every 3 bytes of text and every 28 × 28 pixels, at least 576 a
        picture. Models that read a picture in tiles (LLaVA-NeXT, InternVL) take more, and so does
        text that is all digits.
        """
        if self._encoder is not None:
            return self._encoder.count(prompt)
        total = 2 * _TOKENS_PER_MESSAGE
        for part in prompt.parts:
            if isinstance(part, TextPart):
                size = len(part.text.encode("utf-8", "surrogatepass"))
                total += math.ceil(size / _BYTES_PER_TOKEN)
            else:
                width, height = self._pictures.size(part.image)
                tokens = math.ceil(width * height / _PIXELS_PER_TOKEN)
                total += max(tokens, _MIN_IMAGE_TOKENS) + _TOKENS_PER_MESSAGE
        return total


async def fetch_first_tokens(
    client: Any, request: RequestBody, asked: RequestInfo
) -> list[tuple[str, float]]:
    """(token, log probability) of the likeliest first tokens. Raises Failure if none are told."""
    more = {"max_tokens": 1, "logprobs": True, "top_logprobs": TOP_LOGPROBS}
    answer = await send_request(client, request | more, asked)
    for choice in response_choices(answer, asked):
        places = getattr(getattr(choice, "logprobs", None), "content", None)
        for place in places if isinstance(places, list) else ():
            if told := parse_top_logprobs(getattr(place, "top_logprobs", None)):
                return told
    raise RequestFailure(
        f"{asked.server} tells no log probabilities, which choices need: {LOGPROBS_SUPPORT}"
    )
