"""Sends requests to several servers of one model: load balancing, retries, rate limit, API keys.

Knows attempts, waiting times and servers that are down. Runs coroutines on an event loop in a
background thread, so that synchronous code and notebooks can wait for them. Does not know prompts
or the format of a request.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from functools import cache
from itertools import count
from typing import Any, TypeVar
from urllib.parse import urlsplit

import openai

from rag_vqa.readers.remote.responses import RequestFailure, RequestInfo, interpret_error

Result = TypeVar("Result")
SendRequest = Callable[
    [Any, RequestInfo], Awaitable[Result]
]  # (client of the openai package, who) → answer
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 8.0  # seconds before the second try, and before any
_CONNECTION_TRIES = (
    2  # tries of a request where no server ever answered: the address is probably wrong
)
_CONNECT_TIMEOUT = 10.0  # seconds until a server that says nothing counts as not there
_log = logging.getLogger("rag_vqa")
MAX_REFUSALS = 3  # connections refused in a row, then a server is left out
REST_SECONDS = 30.0  # seconds that it is left out before it is tried again


class RetryingClient:
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
        self._pace = RequestPacer(requests_per_minute)
        self._keys = {address: api_key or _find_api_key(address) for address in servers}
        http = openai.DefaultAsyncHttpxClient(follow_redirects=False)
        patience = openai.Timeout(timeout, connect=min(_CONNECT_TIMEOUT, timeout))
        self._endpoints = EndpointPool(
            [Endpoint(a, _make_client(a, key, http, patience)) for a, key in self._keys.items()]
        )
        weakref.finalize(self, _close_client, http).atexit = False

    async def answer(self, pictures: int, ask: SendRequest[Result]) -> Result:
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
            except RequestFailure as error:
                alone = self._endpoints.pick(endpoint) is endpoint
                if not self._again(error, tried, moved or alone):
                    raise self._final(error, tried) from None
                failed, moved = endpoint, moved or error.then == "elsewhere"
                if alone or not (error.unreachable or error.then in ("elsewhere", "server")):
                    await asyncio.sleep(
                        _backoff_seconds(tried - 1) if error.wait is None else error.wait
                    )
        raise AssertionError("the last try returns or raises")

    def _again(self, error: RequestFailure, tried: int, stuck: bool) -> bool:
        """Whether another try may help. `stuck`: there is no other server, or it was asked too."""
        if error.then == "elsewhere":
            return not stuck
        if error.then == "server":
            most = self._retries + len(self._endpoints.servers)
            return tried <= most and not self._endpoints.none_available
        if error.unreachable and self._endpoints.never_answered and tried >= _CONNECTION_TRIES:
            return False
        return error.then == "retry" and tried <= self._retries

    async def _once(self, endpoint: Endpoint, pictures: int, ask: SendRequest[Result]) -> Result:
        key = self._keys[endpoint.address] or ""
        asked = RequestInfo(endpoint.host, self._model, pictures, self._timeout, key)
        endpoint.open += 1
        endpoint.asked += 1
        try:
            async with asyncio.timeout(self._timeout):
                answer = await ask(endpoint.client, asked)
        except (openai.APIError, TimeoutError) as error:
            told = interpret_error(error, asked)
            if isinstance(error, openai.NotFoundError):
                told = RequestFailure(f"{told}{await _served_models(endpoint)}", told.then)
            self._note(endpoint, told, isinstance(error, openai.APIStatusError))
            # Without the cause: its request holds the key, and tools print what they find.
            raise told from None
        except RequestFailure as told:  # what came is no answer
            self._note(endpoint, told, True)
            raise
        finally:
            endpoint.open -= 1
        self._endpoints.answered(endpoint)
        return answer

    def _note(self, endpoint: Endpoint, told: RequestFailure, spoke: bool) -> None:
        """What a failure says of the server itself."""
        if told.unreachable:
            self._endpoints.refused(endpoint, str(told))
        elif told.then == "server":
            self._endpoints.leave_out(endpoint, str(told))
        elif spoke:
            self._endpoints.answered(endpoint)

    def _final(self, error: RequestFailure, tries: int) -> RequestFailure:
        """With no server left nobody else's request can be answered either."""
        times = f" (after {tries} tries)" if tries > 1 else ""
        gone = error.unreachable and (
            self._endpoints.none_available or self._endpoints.never_answered
        )
        nobody = gone or error.then == "server"
        return RequestFailure(f"{error}{times}", "batch" if nobody else error.then)


async def _served_models(endpoint: Endpoint) -> str:
    """The models that a server says it has, for the message that it has not another."""
    try:
        models = await endpoint.client.models.list()
    except openai.APIError:
        return ""
    listed = getattr(models, "data", None)
    names = [str(getattr(m, "id", "")) for m in listed[:5]] if isinstance(listed, list) else []
    return f" (it serves {', '.join(names)})" if names else ""


def _backoff_seconds(tried: int) -> float:
    """Seconds before the next try; not the same for all rows, or they would come at once."""
    return min(_FIRST_WAIT * 2.0**tried, _LONGEST_WAIT) * random.uniform(0.75, 1.0)


def _find_api_key(address: str) -> str | None:
    """OpenAI's own key goes to OpenAI alone: an address may be anybody's."""
    theirs = urlsplit(address).hostname == "api.openai.com"
    named = os.environ.get("RAG_VQA_API_KEY")
    return named or (os.environ.get("OPENAI_API_KEY") if theirs else None) or None


def _make_client(address: str, key: str | None, http: Any, patience: Any) -> openai.AsyncOpenAI:
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


def _close_client(http: Any) -> None:
    start_coroutine(http.aclose())


@dataclass(slots=True, eq=False)
class Endpoint:
    """A server.

    Attributes:
        client: of the openai package.
        open: requests under way.
        asked: requests so far.
        strikes: connections refused in a row.
        until: it is left out until then, on the clock of `EndpointPool`.
    """

    address: str
    client: Any
    open: int = 0
    asked: int = 0
    strikes: int = 0
    until: float = 0.0

    @property
    def host(self) -> str:
        """Name and port, for messages."""
        return urlsplit(self.address).netloc


class EndpointPool:
    """Picks the server with the fewest requests under way; the dead are left out for a while.

    Args:
        servers: at least one.
        clock: seconds that only grow.
    """

    def __init__(
        self, servers: Sequence[Endpoint], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.servers = tuple(servers)
        self._clock = clock
        self._spoken = False  # some server has answered

    def pick(self, failed: Endpoint | None = None) -> Endpoint:
        """The server to ask next; not that which just failed if there is another, and if all are
        left out, the one whose rest ends first."""
        now = self._clock()
        alive = [server for server in self.servers if server.until <= now]
        others = [server for server in alive if server is not failed] or alive
        if not others:
            return min(self.servers, key=lambda server: server.until)
        return min(others, key=lambda server: (server.open, server.asked))

    def answered(self, server: Endpoint) -> None:
        """It is there, whatever it said."""
        if server.until and len(self.servers) > 1:
            _log.warning("The reader's server at %s answers again", server.host)
        server.strikes, server.until, self._spoken = 0, 0.0, True

    def refused(self, server: Endpoint, reason: str) -> None:
        """It was not there."""
        server.strikes += 1
        if server.strikes >= MAX_REFUSALS:
            self.leave_out(server, reason)

    def leave_out(self, server: Endpoint, reason: str) -> None:
        """It is asked nothing for a while; said once, and of one among several."""
        if not server.until and len(self.servers) > 1:
            _log.warning("Left out until it answers: %s", reason)
        server.until = self._clock() + REST_SECONDS

    @property
    def none_available(self) -> bool:
        """Whether no server is thought to be there."""
        now = self._clock()
        return all(server.until > now for server in self.servers)

    @property
    def never_answered(self) -> bool:
        """Whether none ever answered, and each refused a connection."""
        return not self._spoken and all(server.strikes for server in self.servers)


class RequestPacer:
    """Requests at even distances, at most so many a minute; None: as they come."""

    def __init__(self, per_minute: float | None = None) -> None:
        self._distance = 60.0 / per_minute if per_minute else 0.0
        self._next = 0.0

    def wait(self, now: float) -> float:
        """Takes the next place, and says in how many seconds that is.

        >>> pace = RequestPacer(per_minute=30)
        >>> [pace.wait(now) for now in (100.0, 100.5, 103.0, 110.0)]
        [0.0, 1.5, 1.0, 0.0]
        """
        place = max(now, self._next)
        self._next = place + self._distance
        return place - now


def run_coroutine(work: Coroutine[Any, Any, Result]) -> Result:
    """What the coroutine returns or raises; it runs in the background loop."""
    future = asyncio.run_coroutine_threadsafe(work, _background_loop(os.getpid()))
    try:
        return future.result()
    except CancelledError as error:
        raise RuntimeError("the background loop cancelled its work") from error
    except BaseException:  # ^C above all: it interrupts this thread, not the loop's
        future.cancel()
        raise


def start_coroutine(work: Coroutine[Any, Any, object]) -> None:
    """Begin the coroutine, and wait for nothing."""
    asyncio.run_coroutine_threadsafe(work, _background_loop(os.getpid()))


@cache
def _background_loop(process: int) -> asyncio.AbstractEventLoop:
    """One for each process: a thread does not survive a fork."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="rag-vqa-servers", daemon=True).start()
    return loop
