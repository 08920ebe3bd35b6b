"""RemoteReader: a model behind OpenAI-compatible servers (vLLM, SGLang, Ollama, llama.cpp, …).

Knows how a batch of prompts becomes parallel requests, and when to stop sending. Does not know what
a request looks like (completion_request.py), what a response means (responses.py), or when to retry
and which server to use (retrying_client.py).
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from rag_vqa.errors import BadInput, Missing, ReaderError, UsageError
from rag_vqa.readers.base import check_positive, count_images, prompt_limits
from rag_vqa.readers.remote import retrying_client
from rag_vqa.readers.remote.completion_request import (
    DEFAULT_MAX_PIXELS,
    MessageEncoder,
    RequestBody,
    StreamedRow,
    fetch_completion,
    fetch_first_tokens,
    make_request_body,
    stream_completion,
)
from rag_vqa.readers.remote.responses import (
    RequestFailure,
    RequestInfo,
    check_choice_names,
    choice_shares,
)
from rag_vqa.readers.remote.retrying_client import RetryingClient
from rag_vqa.settings_schema import parse_server_addresses
from rag_vqa.types import Completion, OnText, Prompt, Scalar

Result = TypeVar("Result")
_Put = Callable[[Any, RequestBody, RequestInfo], Awaitable[Result]]


class RemoteReader:
    """Reads by asking servers, greedily, many rows at once.

    A row that fails for good is a Completion with `finish` "failed". A server that does not take
    the key, or does not serve the model, is left out. With none left no further row is asked:
    those that are not answered are failed, and if none is, that raises Missing. Of a cancelled
    row no tokens are told (0). A leading `<think>…</think>` is no part of an answer; its tokens are
    counted.

    Args:
        model: as the servers call it.
        servers: addresses, each as "http://host:8000/v1"; all serve the same model.
        api_key: None: RAG_VQA_API_KEY of the environment; api.openai.com alone is given
            OPENAI_API_KEY. It is in no setting, message or log, and follows no redirect.
        max_new_tokens, max_images, max_context: as of `LocalReader`.
        max_pixels: of one picture; larger ones are scaled down before they are sent.
        tokenizer: folder or hub id of the served model, whose tokenizer and processor then make
            counts and markers exact; no weights are loaded.
        concurrency: requests at once to each server.
        requests_per_minute: to all of them together.
        timeout: seconds for one answer, waiting in the server's queue included.
        retries: further tries of a request that failed in passing.
        stop_at_newline: an answer ends with its first line. The server is not told: it may write
            on until it is done, or, where it streams, until that line is.
        offline: `tokenizer` comes from the cache.

    Raises:
        UsageError: an argument that cannot be meant.
        Missing: the tokenizer is not here.
    """

    def __init__(
        self,
        model: str,
        servers: Sequence[str],
        *,
        api_key: str | None = None,
        max_new_tokens: int = 64,
        max_pixels: int | None = None,
        max_images: int | None = None,
        max_context: int = 8192,
        tokenizer: str | None = None,
        concurrency: int = 16,
        requests_per_minute: int | None = None,
        timeout: float = 300.0,
        retries: int = 5,
        stop_at_newline: bool = False,
        offline: bool = False,
    ) -> None:
        check_positive(max_new_tokens=max_new_tokens, max_pixels=max_pixels, timeout=timeout)
        check_positive(max_images=max_images, max_context=max_context, concurrency=concurrency)
        check_positive(requests_per_minute=requests_per_minute)
        self.servers = parse_server_addresses(servers)
        if not self.servers or not model:
            raise UsageError("name a model and a server, such as http://localhost:8000/v1")
        self.limits = prompt_limits(max_images, max_context, max_new_tokens)
        # The number of servers and their addresses change no answer.
        self.name = f"{_public_model_name(model)}@server"
        self.settings: dict[str, Scalar] = {
            "max_new_tokens": max_new_tokens,
            "max_pixels": max_pixels or DEFAULT_MAX_PIXELS,
            "tokenizer": tokenizer and _public_model_name(tokenizer),
            "stop_at_newline": stop_at_newline,
        }
        processor = _load_processor(tokenizer, offline) if tokenizer else None
        self._wire = MessageEncoder(max_pixels or DEFAULT_MAX_PIXELS, processor)
        self._model, self._max_new_tokens = model, max_new_tokens
        self._one_line = stop_at_newline
        self._at_once = concurrency * len(self.servers)
        self._asking = RetryingClient(
            model, self.servers, api_key, requests_per_minute, timeout, retries
        )

    def count(self, prompt: Prompt) -> int:
        """Tokens that the prompt takes: estimated, rather too many; exact with `tokenizer`."""
        return self._wire.count(prompt)

    def render(self, prompt: Prompt) -> str:
        """The messages as they are sent, `<image>` for each picture."""
        return self._wire.render(prompt)

    def generate(
        self,
        prompts: Sequence[Prompt],
        on_text: OnText | None = None,
        max_tokens: Sequence[int | None] | None = None,
    ) -> list[Completion]:
        """One completion for each prompt, in their order; see `Reader`.

        `on_text` is called from another thread, for one row at a time.
        """
        stopped: list[RequestFailure] = []  # why no further row is asked
        most = max_tokens or [None] * len(prompts)

        async def row(number: int, prompt: Prompt) -> Completion:
            heard = None if on_text is None else StreamedRow(number, on_text)

            async def put(client: Any, request: RequestBody, who: RequestInfo) -> Completion:
                if heard is None:
                    return await fetch_completion(client, request, who, self._one_line)
                return await stream_completion(client, request, who, self._one_line, heard)

            try:
                if stopped:
                    raise stopped[0]
                return await self._answer(prompt, put, most[number])
            except (BadInput, Missing, RequestFailure) as error:
                if isinstance(error, RequestFailure) and error.then == "batch":
                    stopped.append(error)
                text = heard.text if heard else ""
                return Completion(text, 0, 0, "failed", error=str(error))

        completions = self._each(prompts, row)
        if stopped and all(each.finish == "failed" for each in completions):
            raise Missing(str(stopped[0]))
        return completions

    def choice_probability(
        self, prompts: Sequence[Prompt], choices: Sequence[str]
    ) -> list[list[float]]:
        """(prompts, choices): how likely each choice follows; see `Reader`.

        From the server's 20 likeliest first tokens, see `shares`. A prompt that cannot be weighed
        raises ReaderError: ask the others alone.
        """
        check_choice_names(choices)

        async def row(number: int, prompt: Prompt) -> list[float]:
            try:
                return choice_shares(await self._answer(prompt, fetch_first_tokens), choices)
            except Missing as error:  # its picture is not there, which is no matter of the others
                raise ReaderError(str(error)) from error

        return self._each(prompts, row)

    def _each(
        self, prompts: Sequence[Prompt], row: Callable[[int, Prompt], Awaitable[Result]]
    ) -> list[Result]:
        """`row` of every prompt, as many at once as the servers are to have."""
        for prompt in prompts:
            count_images(prompt, self.limits)

        async def all_rows() -> list[Result]:
            gate = asyncio.Semaphore(self._at_once)

            async def gated(number: int, prompt: Prompt) -> Result:
                async with gate:
                    return await row(number, prompt)

            tasks = [asyncio.create_task(gated(n, prompt)) for n, prompt in enumerate(prompts)]
            try:
                return list(await asyncio.gather(*tasks))
            finally:  # one that stops the batch stops the others
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

        try:
            return retrying_client.run_coroutine(all_rows())
        except RequestFailure as error:
            kind = Missing if error.then == "batch" else ReaderError
            raise kind(str(error)) from None

    async def _answer(self, prompt: Prompt, put: _Put[Result], most: int | None = None) -> Result:
        messages = await asyncio.to_thread(self._wire.messages, prompt)
        request = make_request_body(
            self._model, messages, min(most or sys.maxsize, self._max_new_tokens)
        )
        pictures = count_images(prompt, self.limits)
        return await self._asking.answer(pictures, lambda client, who: put(client, request, who))


def _public_model_name(model: str) -> str:
    """A hub id as it is, of a path the last folder: the rest is of some machine."""
    return model.rstrip("/").rpartition("/")[2] if model.startswith(("/", ".", "~")) else model


def _load_processor(model: str, offline: bool) -> Any:
    from transformers import AutoConfig

    from rag_vqa.readers.model_files import load_processor, translate_loading_errors

    where = {"local_files_only": offline}
    with translate_loading_errors(model, offline):
        config = AutoConfig.from_pretrained(model, trust_remote_code=False, **where)
        return load_processor(model, config, **where)
