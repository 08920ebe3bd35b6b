"""Asking until there is an answer: which server, how often, when, and with which key.

It knows tries, waits and clients. It does not know prompts, nor what an answer is: `ask` does.
"""

from __future__ import annotations

import asyncio
import os
import random
import weakref
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import Any, TypeVar
from urllib.parse import urlsplit

import openai

from rag_vqa.readers import background
from rag_vqa.readers.endpoints import Endpoint, Endpoints, Pace
from rag_vqa.readers.failures import Asked, Failure, failure

Result = TypeVar("Result")
Ask = Callable[[Any, Asked], Awaitable[Result]]  # (client of the openai package, who) → answer
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 8.0  # seconds before the second try, and before any
_ARRIVAL = 2  # tries of a request where no server ever answered: the address is probably wrong
_CONNECT = 10.0  # seconds until a server that says nothing counts as not there


class Asking:
    """Puts requests to the servers of one model.

    Tries are counted here, not by the client: it cannot change the server, and takes an empty
    answer for one.

    Args:
        model: as the servers call it.
        servers: addresses.
        api_key: see `RemoteReader`, as the others.
    """

    def __init__(
        self,
        model: str,
        servers: Sequence[str],
        api_key: str | None,
        requests_per_minute: int | None,
        timeout: float,
        retries: int,
    ) -> None:
        self._model, self._timeout, self._retries = model, timeout, retries
        self._pace = Pace(requests_per_minute)
        self._keys = {address: api_key or _key(address) for address in servers}
        http = openai.DefaultAsyncHttpxClient(follow_redirects=False)
        patience = openai.Timeout(timeout, connect=min(_CONNECT, timeout))
        self._endpoints = Endpoints(
            [Endpoint(a, _client(a, key, http, patience)) for a, key in self._keys.items()]
        )
        weakref.finalize(self, _close, http).atexit = False

    async def answer(self, pictures: int, ask: Ask[Result]) -> Result:
        """What `ask` returns, tried again where that may help.

        Args:
            pictures: in the request, for messages.
        Raises:
            Failure: the last one.
        """
        failed: Endpoint | None = None
        moved = False  # a prompt that one server does not take is put to one other
        for tried in count(1):
            await asyncio.sleep(self._pace.wait(asyncio.get_running_loop().time()))
            # Picked and counted with no wait between, or all rows would pick the same.
            endpoint = self._endpoints.pick(failed)
            try:
                return await self._once(endpoint, pictures, ask)
            except Failure as error:
                alone = self._endpoints.pick(endpoint) is endpoint
                if not self._again(error, tried, moved or alone):
                    raise self._final(error, tried) from None
                failed, moved = endpoint, moved or error.then == "elsewhere"
                if alone or not (error.unreachable or error.then in ("elsewhere", "server")):
                    await asyncio.sleep(_wait(tried - 1) if error.wait is None else error.wait)
        raise AssertionError("the last try returns or raises")

    def _again(self, error: Failure, tried: int, stuck: bool) -> bool:
        """Whether another try may help. `stuck`: there is no other server, or it was asked too."""
        if error.then == "elsewhere":
            return not stuck
        if error.then == "server":
            most = self._retries + len(self._endpoints.servers)
            return tried <= most and not self._endpoints.all_out
        if error.unreachable and self._endpoints.never_there and tried >= _ARRIVAL:
            return False
        return error.then == "retry" and tried <= self._retries

    async def _once(self, endpoint: Endpoint, pictures: int, ask: Ask[Result]) -> Result:
        key = self._keys[endpoint.address] or ""
        asked = Asked(endpoint.host, self._model, pictures, self._timeout, key)
        endpoint.open += 1
        endpoint.asked += 1
        try:
            async with asyncio.timeout(self._timeout):
                answer = await ask(endpoint.client, asked)
        except (openai.APIError, TimeoutError) as error:
            told = failure(error, asked)
            if isinstance(error, openai.NotFoundError):
                told = Failure(f"{told}{await _served(endpoint)}", told.then)
            self._note(endpoint, told, isinstance(error, openai.APIStatusError))
            # Without the cause: its request holds the key, and tools print what they find.
            raise told from None
        except Failure as told:  # what came is no answer
            self._note(endpoint, told, True)
            raise
        finally:
            endpoint.open -= 1
        self._endpoints.answered(endpoint)
        return answer

    def _note(self, endpoint: Endpoint, told: Failure, spoke: bool) -> None:
        """What a failure says of the server itself."""
        if told.unreachable:
            self._endpoints.refused(endpoint, str(told))
        elif told.then == "server":
            self._endpoints.leave_out(endpoint, str(told))
        elif spoke:
            self._endpoints.answered(endpoint)

    def _final(self, error: Failure, tries: int) -> Failure:
        """With no server left nobody else's request can be answered either."""
        times = f" (after {tries} tries)" if tries > 1 else ""
        gone = error.unreachable and (self._endpoints.all_out or self._endpoints.never_there)
        nobody = gone or error.then == "server"
        return Failure(f"{error}{times}", "batch" if nobody else error.then)


async def _served(endpoint: Endpoint) -> str:
    """The models that a server says it has, for the message that it has not another."""
    try:
        models = await endpoint.client.models.list()
    except openai.APIError:
        return ""
    listed = getattr(models, "data", None)
    names = [str(getattr(m, "id", "")) for m in listed[:5]] if isinstance(listed, list) else []
    return f" (it serves {', '.join(names)})" if names else ""


def _wait(tried: int) -> float:
    """Seconds before the next try; not the same for all rows, or they would come at once."""
    return min(_FIRST_WAIT * 2.0**tried, _LONGEST_WAIT) * random.uniform(0.75, 1.0)


def _key(address: str) -> str | None:
    """OpenAI's own key goes to OpenAI alone: an address may be anybody's."""
    theirs = urlsplit(address).hostname == "api.openai.com"
    named = os.environ.get("RAG_VQA_API_KEY")
    return named or (os.environ.get("OPENAI_API_KEY") if theirs else None) or None


def _client(address: str, key: str | None, http: Any, patience: Any) -> openai.AsyncOpenAI:
    # The client would add what else the environment says of an account at OpenAI.
    headers: Any = {n: openai.Omit() for n in ("OpenAI-Organization", "OpenAI-Project")}
    return openai.AsyncOpenAI(
        base_url=address,
        api_key=key or "none",  # the client insists on one, servers without a key on nothing
        max_retries=0,
        timeout=patience,
        http_client=http,
        default_headers=headers,
    )


def _close(http: Any) -> None:
    background.start(http.aclose())
