"""RemoteReader: a model behind OpenAI-compatible servers (vLLM, SGLang, Ollama, llama.cpp, …).

Knows how a batch of prompts becomes parallel requests, and when to stop sending. Does not know what
a request looks like (completion_request.py), what a response means (responses.py,
request_failures.py), or when to retry and which server to use (retrying_client.py).
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar, get_args

from rag_vqa.errors import BadInput, Missing, ReaderError, UsageError
from rag_vqa.readers.base import (
    answer_length,
    check_choice,
    check_max_images,
    check_positive,
    count_images,
    prompt_limits,
)
from rag_vqa.readers.remote.choice_shares import check_choice_names, choice_shares
from rag_vqa.readers.remote.completion_request import (
    FIRST_TOKENS,
    StreamedRow,
    fetch_completion,
    fetch_first_tokens,
    make_request_body,
)
from rag_vqa.readers.remote.message_encoder import DEFAULT_MAX_PIXELS, MessageEncoder
from rag_vqa.readers.remote.request_failures import RequestFailure, RequestInfo
from rag_vqa.readers.remote.retrying_client import RetryingClient, SendRequest, run_coroutine
from rag_vqa.readers.remote.server_traits import RequestBody
from rag_vqa.settings_schema import parse_server_addresses
from rag_vqa.types import Completion, OnText, Prompt, Scalar, Thinking

Result = TypeVar("Result")


class RemoteReader:
    """Answers by requests to servers, by greedy decoding, many rows in parallel.

    A row that fails for good is a Completion with `finish` "failed". A server that refuses the key
    or does not serve the model is left out. Once no server is left, no further request is sent and
    the remaining rows are failed; `generate` raises Missing if every row failed. A cancelled row
    reports 0 tokens. What the model thinks is no part of an answer, but its tokens count.

    Args:
        model: its name on the servers.
        servers: addresses such as "http://host:8000/v1". All of them serve the same model.
        api_key: None takes RAG_VQA_API_KEY from the environment; OPENAI_API_KEY is used for
            api.openai.com only. The key is in no setting, message or log, and follows no redirect.
        max_new_tokens, max_images, max_context: see `LocalReader`.
        max_pixels: pixels of one image; larger ones are scaled down before they are sent.
        tokenizer: folder or hub id of the served model. Its tokenizer and processor make token
            counts and the neutralising of control tokens exact; no weights are loaded.
        concurrency: parallel requests to each server.
        requests_per_minute: rate limit over all servers together.
        timeout: seconds for one answer, including the time in the server's queue.
        retries: further tries of a request after a temporary failure.
        stop_at_newline: an answer ends with its first line. The request does not say so: the
            server may continue to the end of its answer, or of that line where it streams.
        thinking: how much the model thinks, see `LocalReader`. A server that does not take the
            request's fields for it does not get them, with a warning.
        offline: use `tokenizer` from the cache only.

    Raises:
        UsageError: an invalid argument.
        Missing: the tokenizer is not on this machine.
    """

    def __init__(
        self,
        model: str,
        servers: Sequence[str],
        *,
        api_key: str | None = None,
        max_new_tokens: int | None = None,
        max_pixels: int | None = None,
        max_images: int | None = None,
        max_context: int = 8192,
        tokenizer: str | None = None,
        concurrency: int = 16,
        requests_per_minute: int | None = None,
        timeout: float = 300.0,
        retries: int = 5,
        stop_at_newline: bool = False,
        thinking: Thinking = "off",
        offline: bool = False,
    ) -> None:
        check_positive(max_new_tokens=max_new_tokens, max_pixels=max_pixels, timeout=timeout)
        check_positive(max_context=max_context, concurrency=concurrency)
        check_max_images(max_images)
        check_positive(requests_per_minute=requests_per_minute)
        self.servers = parse_server_addresses(servers)
        if not self.servers or not model:
            raise UsageError("name a model and a server, such as http://localhost:8000/v1")
        check_choice("thinking", thinking, get_args(Thinking))
        max_new_tokens = answer_length(max_new_tokens, thinking, max_context)
        self.limits = prompt_limits(max_images, max_context, max_new_tokens)
        # Without the servers' number and addresses, which change no answer.
        self.name = f"{_public_model_name(model)}@server"
        self.settings: dict[str, Scalar] = {
            "max_new_tokens": max_new_tokens,
            "max_pixels": max_pixels or DEFAULT_MAX_PIXELS,
            "tokenizer": tokenizer and _public_model_name(tokenizer),
            "stop_at_newline": stop_at_newline,
            "thinking": thinking,
        }
        processor = _load_processor(tokenizer, offline) if tokenizer else None
        self._messages = MessageEncoder(max_pixels or DEFAULT_MAX_PIXELS, processor)
        self._model, self._max_new_tokens = model, max_new_tokens
        self._one_line, self._thinking = stop_at_newline, thinking
        self._parallel_requests = concurrency * len(self.servers)
        self._client = RetryingClient(
            model, self.servers, api_key, requests_per_minute, timeout, retries
        )

    def count(self, prompt: Prompt) -> int:
        """Number of tokens of the prompt: exact with `tokenizer`, else a high estimate."""
        return self._messages.count(prompt)

    def render(self, prompt: Prompt) -> str:
        """The messages as they are sent, with `<image>` for each image."""
        return self._messages.render(prompt)

    def generate(
        self,
        prompts: Sequence[Prompt],
        on_text: OnText | None = None,
        max_tokens: Sequence[int | None] | None = None,
    ) -> list[Completion]:
        """One completion for each prompt, in the order of the prompts; see `Reader`.

        `on_text` is called from another thread, for one row at a time.
        """
        final_failures: list[RequestFailure] = []  # no further request is sent after the first
        limits = max_tokens or [None] * len(prompts)

        async def complete(row: int, prompt: Prompt) -> Completion:
            streamed = None if on_text is None else StreamedRow(row, on_text)

            async def fetch(client: Any, request: RequestBody, info: RequestInfo) -> Completion:
                return await fetch_completion(client, request, info, self._one_line, streamed)

            try:
                if final_failures:
                    raise final_failures[0]
                body = await self._make_body(prompt, limits[row], on_text is not None)
                return await self._send(prompt, body, fetch)
            except (BadInput, Missing, RequestFailure) as error:
                if isinstance(error, RequestFailure) and error.action == "stop":
                    final_failures.append(error)
                text = streamed.text if streamed else ""
                return Completion(text, 0, 0, "failed", error=str(error))

        completions = self._run_rows(prompts, complete)
        if final_failures and all(each.finish == "failed" for each in completions):
            raise Missing(str(final_failures[0]))
        return completions

    def choice_probability(
        self, prompts: Sequence[Prompt], choices: Sequence[str]
    ) -> list[list[float]]:
        """(prompts, choices): probability that each choice follows the prompt; see `Reader`.

        Computed from the server's 20 likeliest first tokens, see `choice_shares`. A prompt without
        a result raises ReaderError for the whole batch; retry the other prompts without it.
        """
        check_choice_names(choices)

        async def score(row: int, prompt: Prompt) -> list[float]:
            try:
                body = await self._make_body(prompt) | FIRST_TOKENS
                return choice_shares(await self._send(prompt, body, fetch_first_tokens), choices)
            except Missing as error:  # this prompt's image is missing; the server is not
                raise ReaderError(str(error)) from error

        return self._run_rows(prompts, score)

    def _run_rows(
        self, prompts: Sequence[Prompt], run_row: Callable[[int, Prompt], Awaitable[Result]]
    ) -> list[Result]:
        """Results of `run_row` for every prompt, run in parallel up to the concurrency."""
        for prompt in prompts:
            count_images(prompt, self.limits)

        async def run_all() -> list[Result]:
            slots = asyncio.Semaphore(self._parallel_requests)

            async def run_in_slot(row: int, prompt: Prompt) -> Result:
                async with slots:
                    return await run_row(row, prompt)

            tasks = [
                asyncio.create_task(run_in_slot(n, prompt)) for n, prompt in enumerate(prompts)
            ]
            try:
                return list(await asyncio.gather(*tasks))
            finally:  # an error in one row stops the others
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

        try:
            return run_coroutine(run_all())
        except RequestFailure as error:
            kind = Missing if error.action == "stop" else ReaderError
            raise kind(str(error)) from None

    async def _make_body(
        self, prompt: Prompt, max_tokens: int | None = None, streamed: bool = False
    ) -> RequestBody:
        messages = await asyncio.to_thread(self._messages.encode, prompt)
        most = min(max_tokens or sys.maxsize, self._max_new_tokens)
        return make_request_body(self._model, messages, most, self._thinking, streamed)

    async def _send(self, prompt: Prompt, body: RequestBody, fetch: SendRequest[Result]) -> Result:
        """The result of `fetch`; the client retries until it succeeds or gives up."""
        return await self._client.send(body, count_images(prompt, self.limits), fetch)


def _public_model_name(model: str) -> str:
    """A hub id unchanged; of a path only the last folder, because the rest describes a machine."""
    return model.rstrip("/").rpartition("/")[2] if model.startswith(("/", ".", "~")) else model


def _load_processor(model: str, offline: bool) -> Any:
    from transformers import AutoConfig

    from rag_vqa.hub.model_files import ensure_available
    from rag_vqa.readers.processor_loading import load_processor
    from rag_vqa.readers.refusals import translate_loading_errors

    where = ensure_available(model, offline=offline, marker="tokenizer_config.json")
    with translate_loading_errors(model, offline):
        config = AutoConfig.from_pretrained(model, trust_remote_code=False, **where)
        return load_processor(model, config, **where)
