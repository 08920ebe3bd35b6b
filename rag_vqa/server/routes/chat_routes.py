"""Chat routes: `POST /v1/chat/completions`, `/v1/prompt`, `GET /v1/models`, in OpenAI's shape.

Knows messages in and chunks out. Each question stands alone, as in `rag-vqa chat`: the last user
message is the question, about the last picture in any user message; earlier messages are ignored.
Does not know how an answer is made (engine/).
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import unquote

from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from rag_vqa.server.engine.request_queue import AnswerEvent, PendingQuestion, Question
from rag_vqa.server.error_responses import (
    ApiError,
    error_body,
    json_response,
    log_error,
    to_api_error,
)
from rag_vqa.server.schemas import (
    MODEL_NAME,
    ChatRequest,
    ImagePart,
    TextPart,
    UserMessage,
    hit_response,
)
from rag_vqa.server.service import Service, cancel_on_disconnect
from rag_vqa.server.uploads import question_image
from rag_vqa.types import Answer, Query

_RETRIEVAL_OPTIONS = ("k", "where", "instruction")
_FINISH_REASONS = {"stop": "stop", "length": "length", "cancelled": "stop"}


def chat_routes(service: Service) -> APIRouter:
    """Chat completions, the prompt of a question, and the list of models."""
    routes = APIRouter()
    model = {
        "id": MODEL_NAME,
        "object": "model",
        "created": int(time.time()),
        "owned_by": MODEL_NAME,
    }

    @routes.get("/v1/models")
    async def models() -> Response:
        return json_response({"object": "list", "data": [model]})

    @routes.get("/v1/models/{name}")
    async def one_model(name: str) -> Response:
        _check_model(unquote(name), service)
        return json_response(model)

    @routes.post("/v1/chat/completions")
    async def chat(body: ChatRequest, request: Request) -> Response:
        if body.rag_vqa.prompt and not request.state.trusted:
            raise ApiError(401, "Seeing the prompt needs the server's token.", "invalid_api_key")
        question = await cancel_on_disconnect(request, _to_question(body, request, service))
        response = _ChatResponse(service, body, service.engine.ask(question))
        if body.stream:
            return await response.stream(request)
        return await response.wait(request)

    @routes.post("/v1/prompt")
    async def prompt(body: ChatRequest, request: Request) -> Response:
        question = await cancel_on_disconnect(request, _to_question(body, request, service))
        prompt = await cancel_on_disconnect(request, service.engine.prompt(question))
        return json_response({"prompt": prompt.text})

    return routes


async def _to_question(body: ChatRequest, request: Request, service: Service) -> Question:
    """The last user message, with the last picture of any user message."""
    _check_model(body.model, service)
    user_messages = [message for message in body.messages if isinstance(message, UserMessage)]
    text = "\n".join(_text_parts(user_messages[-1])) if user_messages else ""
    if not text.strip():
        raise ApiError(400, "messages: the last user message holds no question.", "no_question")
    urls = next((urls for each in reversed(user_messages) if (urls := _image_urls(each))), [])
    if len(urls) > 1:
        raise ApiError(400, "messages: a question can have only one picture.", "too_many_images")
    options = body.rag_vqa
    k = service.k if options.k is None else options.k
    for name in _RETRIEVAL_OPTIONS:
        if getattr(options, name) and not (options.retrieval and k):
            raise ApiError(400, f"rag_vqa.{name} is for retrieval, which is switched off.")
    image = await question_image(service, request, urls[0] if urls else None, "image_url")
    return Question(
        query=Query(text, image and image.data, options.instruction),
        pixels=image.pixels if image else 0,
        k=options.k if options.retrieval else 0,
        where=options.where,
        max_tokens=body.answer_tokens,
        stop=body.stop_sequences,
        hits=None if options.retrieval else (),
    )


def _check_model(name: str, service: Service) -> None:
    if name not in (MODEL_NAME, service.reader_name):
        raise ApiError(404, f"This server has one model: {MODEL_NAME}.", "model_not_found")


def _text_parts(message: UserMessage) -> list[str]:
    if isinstance(message.content, str):
        return [message.content]
    return [part.text for part in message.content if isinstance(part, TextPart)]


def _image_urls(message: UserMessage) -> list[str]:
    if isinstance(message.content, str):
        return []
    return [part.image_url.url for part in message.content if isinstance(part, ImagePart)]


class _ChatResponse:
    """The response to one chat request, whole or as a stream."""

    def __init__(self, service: Service, body: ChatRequest, pending: PendingQuestion) -> None:
        self._service, self._body, self._pending = service, body, pending
        self._head: dict[str, Any] = {
            "id": f"chatcmpl-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": body.model,
        }

    async def wait(self, request: Request) -> Response:
        """The whole answer. A client that disconnects cancels it."""
        try:
            answer = await cancel_on_disconnect(request, self._last_answer())
        finally:
            self._pending.cancel()
        details = {
            "hits": [hit_response(hit) for hit in answer.hits],
            **await self._answer_details(answer),
        }
        message = {"role": "assistant", "content": answer.text, **_reasoning(answer)}
        choice = {"index": 0, "message": message, "finish_reason": _FINISH_REASONS[answer.finish]}
        head = self._head | {"object": "chat.completion"}
        return json_response(
            head | {"choices": [choice], "usage": _token_usage(answer), "rag_vqa": details}
        )

    async def stream(self, request: Request) -> Response:
        """The answer as it is written. Failures before the evidence is found get a status."""
        try:
            first = await cancel_on_disconnect(request, anext(self._pending))
        except BaseException:
            self._pending.cancel()
            raise
        return _EventStream(self._chunks(first), self._pending)

    async def _last_answer(self) -> Answer:
        return _final_answer([event async for event in self._pending][-1:])

    async def _chunks(self, first: AnswerEvent) -> AsyncIterator[bytes]:
        try:
            event: AnswerEvent | None = first
            while event is not None:
                if isinstance(event, tuple):
                    hits = {"hits": [hit_response(hit) for hit in event]}
                    yield self._chunk({"role": "assistant", "content": ""}, rag_vqa=hits)
                elif isinstance(event, str):
                    yield self._chunk({"content": event})
                else:
                    answer = _final_answer([event])
                    if thoughts := _reasoning(answer):
                        yield self._chunk(thoughts)
                    details = await self._answer_details(answer)
                    yield self._chunk({}, _FINISH_REASONS[answer.finish], rag_vqa=details)
                    if self._body.stream_options and self._body.stream_options.include_usage:
                        yield _sse_event(
                            self._chunk_head() | {"choices": [], "usage": _token_usage(answer)}
                        )
                event = await anext(self._pending, None)
        except Exception as error:  # noqa: BLE001  the status is sent already
            yield _sse_event(error_body(to_api_error(error)))
            return
        yield b"data: [DONE]\n\n"

    def _chunk_head(self) -> dict[str, Any]:
        return self._head | {"object": "chat.completion.chunk"}

    def _chunk(self, delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return _sse_event(self._chunk_head() | {"choices": [choice]} | more)

    async def _answer_details(self, answer: Answer) -> dict[str, Any]:
        """The `rag_vqa` object without the hits. Writes the question log, if there is one."""
        identity = self._head["id"]
        if self._service.log is not None:
            try:
                await asyncio.to_thread(self._service.log.write_question, identity, answer)
            except Exception as error:  # noqa: BLE001  a full disk must not cost the answer
                log_error(error)
        prompt = {"prompt": answer.prompt.text} if self._body.rag_vqa.prompt else {}
        notice = {} if answer.hits else await self._service.notice(self._body.rag_vqa.where)
        return {
            "id": identity,
            "citations": list(answer.citations),
            "invalid_citations": list(answer.invalid_citations),
            # Evidence [n] is the n-th of these ranks; documents that did not fit have no number.
            "kept": [hit.rank for hit in answer.prompt.kept],
            "seconds": dict(answer.seconds),
            "finish": answer.finish,
            "dropped": dict(answer.prompt.dropped),
            "notes": list(answer.notes),
            **prompt,
            **notice,
        }


class _EventStream(StreamingResponse):
    """Server-sent events. Whenever the stream ends, the question ends too."""

    def __init__(self, chunks: AsyncIterator[bytes], pending: PendingQuestion) -> None:
        # Asks proxies not to buffer the answer.
        super().__init__(chunks, 200, {"X-Accel-Buffering": "no"}, "text/event-stream")
        self._pending = pending

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._pending.cancel()


def _final_answer(events: list[AnswerEvent]) -> Answer:
    """The answer among the events. Raises ApiError if there is none, or if it failed."""
    for event in events:
        if isinstance(event, Answer) and event.finish != "failed":
            return event
    raise ApiError(502, "The reader gave no answer to this question.", "reader_failed")


def _reasoning(answer: Answer) -> dict[str, str]:
    """The reader's thoughts as other servers name them; {} without any."""
    return {"reasoning_content": answer.reasoning} if answer.reasoning else {}


def _token_usage(answer: Answer) -> dict[str, Any]:
    tokens = (answer.tokens_in, answer.tokens_out)
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    details = {"reasoning_tokens": answer.reasoning_tokens}
    usage = dict(zip(names, (*tokens, sum(tokens)), strict=True))
    return {**usage, "completion_tokens_details": details}


def _sse_event(content: Any) -> bytes:
    return f"data: {json.dumps(content, ensure_ascii=False, allow_nan=False)}\n\n".encode()
