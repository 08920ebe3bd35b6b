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
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx2
import openai

from rag_vqa.readers.remote.request_failures import RequestFailure, RequestInfo, interpret_exception
from rag_vqa.readers.remote.server_traits import (
    RequestBody,
    ServerTraits,
    adapt,
    refused_parameters,
)

Result = TypeVar("Result")
# From the client of the openai package, a request and its description to the result.
SendRequest = Callable[[Any, RequestBody, RequestInfo], Awaitable[Result]]
FIRST_WAIT, LONGEST_WAIT = 0.5, 8.0  # seconds before the second try, and at most
_CONNECTION_TRIES = 2  # if no server ever answered: the address is probably wrong
_CONNECT_TIMEOUT = 10.0  # seconds to connect
_log = logging.getLogger("rag_vqa")
MAX_REFUSALS = 3  # refused connections in a row before a server is left out
REST_SECONDS = 30.0  # time before a server that was left out is tried again


class RetryingClient:
    """Sends requests to the servers of one model and retries them.

    The openai client's own retries are switched off: it cannot change the server, and it accepts
    empty answers.

    Args:
        model: its name on the servers.
        servers: their addresses.
        api_key: this and the other arguments as in `RemoteReader`.
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
        self._pacer = RequestPacer(requests_per_minute)
        self._keys = {address: api_key or _find_api_key(address) for address in servers}
        http = openai.DefaultAsyncHttpxClient(follow_redirects=False)
        timeouts = openai.Timeout(timeout, connect=min(_CONNECT_TIMEOUT, timeout))
        self._endpoints = EndpointPool(
            [Endpoint(a, _make_client(a, key, http, timeouts)) for a, key in self._keys.items()]
        )
        weakref.finalize(self, _close_client, http).atexit = False

    async def send(self, body: RequestBody, images: int, fetch: SendRequest[Result]) -> Result:
        """The result of `fetch`, retried where that may help.

        Args:
            body: the request; a server gets it without parameters that it refuses.
            images: number of images in the request, for error messages.

        Raises:
            RequestFailure: that of the last try.
        """
        failed: Endpoint | None = None
        moved = False  # a prompt that one server refuses is sent to one other server
        for tries in count(1):
            await asyncio.sleep(self._pacer.wait(asyncio.get_running_loop().time()))
            # Picked and counted without a wait between, or all rows would pick the same server.
            endpoint = self._endpoints.pick(failed)
            try:
                return await self._try_once(endpoint, body, images, fetch)
            except RequestFailure as error:
                alone = self._endpoints.pick(endpoint) is endpoint
                if not self._may_retry(error, tries, moved or alone):
                    raise self._final_failure(error, tries) from None
                failed, moved = endpoint, moved or error.action == "other server"
                if alone or not (
                    error.unreachable or error.action in ("other server", "drop server")
                ):
                    await asyncio.sleep(
                        backoff_seconds(tries - 1) if error.wait is None else error.wait
                    )
        raise AssertionError("the last try returns or raises")

    def _may_retry(self, error: RequestFailure, tries: int, no_other: bool) -> bool:
        """True if another try may help. `no_other`: no other server is left for this prompt."""
        if error.action == "other server":
            return not no_other
        if error.action == "drop server":
            limit = self._retries + len(self._endpoints.servers)
            return tries <= limit and not self._endpoints.none_available
        if error.unreachable and self._endpoints.never_answered and tries >= _CONNECTION_TRIES:
            return False
        return error.action == "retry" and tries <= self._retries

    async def _try_once(
        self, endpoint: Endpoint, body: RequestBody, images: int, fetch: SendRequest[Result]
    ) -> Result:
        key = self._keys[endpoint.address] or ""
        info = RequestInfo(endpoint.host, self._model, images, self._timeout, key, endpoint.traits)
        endpoint.open_requests += 1
        endpoint.requests += 1
        try:
            async with asyncio.timeout(self._timeout):
                result = await _send_adapted(endpoint, body, info, fetch)
        except (RequestFailure, TimeoutError) as error:
            failure = (
                error if isinstance(error, RequestFailure) else interpret_exception(error, info)
            )
            self._record_failure(endpoint, failure)
            if failure.error and failure.error.status == 404 and failure.action == "drop server":
                listed = await _served_models(endpoint)
                failure = RequestFailure(f"{failure}{listed}", failure.action, error=failure.error)
            raise failure from None
        finally:
            endpoint.open_requests -= 1
        self._endpoints.record_response(endpoint)
        return result

    def _record_failure(self, endpoint: Endpoint, failure: RequestFailure) -> None:
        """Records what a failure means for the server."""
        if failure.unreachable:
            self._endpoints.record_refusal(endpoint, str(failure))
        elif failure.action == "drop server":
            self._endpoints.leave_out(endpoint, str(failure))
        elif failure.responded:
            self._endpoints.record_response(endpoint)

    def _final_failure(self, error: RequestFailure, tries: int) -> RequestFailure:
        """The failure that is raised: action "stop" if no server is left for any request."""
        times = f" (after {tries} tries)" if tries > 1 else ""
        gone = error.unreachable and (
            self._endpoints.none_available or self._endpoints.never_answered
        )
        none_left = gone or error.action == "drop server"
        return RequestFailure(f"{error}{times}", "stop" if none_left else error.action)


async def _send_adapted(
    endpoint: Endpoint, body: RequestBody, info: RequestInfo, fetch: SendRequest[Result]
) -> Result:
    """The result of `fetch`, put again at once without the parameters that the server refuses."""
    refused = endpoint.traits.refused
    while True:
        adapted = adapt(body, refused)
        try:
            result = await fetch(endpoint.client, adapted, info)
        except RequestFailure as failure:
            error = failure.error
            if error and (names := refused_parameters(error, adapted)):
                refused += names
                continue
            if failure.silent and "stream" in adapted:
                body = adapt(body, ("stream",))
                continue
            if error is None or error.status not in (400, 422):  # it took what was left
                endpoint.traits.remember(refused, endpoint.host)
            raise
        endpoint.traits.remember(refused, endpoint.host)
        return result


async def _served_models(endpoint: Endpoint) -> str:
    """The models that the server lists, for the message that it does not have this one."""
    try:
        models = await endpoint.client.models.list()
    except (openai.APIError, httpx2.HTTPError, ValueError):
        return ""
    listed = getattr(models, "data", None)
    names = [str(getattr(m, "id", "")) for m in listed[:5]] if isinstance(listed, list) else []
    return f" (it serves {', '.join(names)})" if names else ""


def backoff_seconds(retries: int) -> float:
    """Seconds before the next try, with jitter, so that rows do not retry at the same moment."""
    return min(FIRST_WAIT * 2.0**retries, LONGEST_WAIT) * random.uniform(0.75, 1.0)


def _find_api_key(address: str) -> str | None:
    """The key from the environment. OPENAI_API_KEY goes to OpenAI only, never to another host."""
    is_openai = urlsplit(address).hostname == "api.openai.com"
    own_key = os.environ.get("RAG_VQA_API_KEY")
    return own_key or (os.environ.get("OPENAI_API_KEY") if is_openai else None) or None


def _make_client(address: str, key: str | None, http: Any, timeouts: Any) -> openai.AsyncOpenAI:
    # The client would add the organisation and project of an OpenAI account from the environment.
    headers: Any = {n: openai.Omit() for n in ("OpenAI-Organization", "OpenAI-Project")}
    return openai.AsyncOpenAI(
        base_url=address,
        api_key=key or "none",  # the client requires a key; servers without one ignore it
        max_retries=0,
        timeout=timeouts,
        http_client=http,
        default_headers=headers,
    )


def _close_client(http: Any) -> None:
    start_coroutine(http.aclose())


@dataclass(slots=True, eq=False)
class Endpoint:
    """A server.

    Attributes:
        client: a client of the openai package.
        open_requests: number of running requests.
        requests: number of requests so far.
        refusals: refused connections in a row.
        rests_until: end of the time that it is left out, on the clock of `EndpointPool`.
        traits: what its responses have shown.
    """

    address: str
    client: Any
    open_requests: int = 0
    requests: int = 0
    refusals: int = 0
    rests_until: float = 0.0
    traits: ServerTraits = field(default_factory=ServerTraits)

    @property
    def host(self) -> str:
        """Name and port, for messages."""
        return urlsplit(self.address).netloc


class EndpointPool:
    """Picks the server with the fewest running requests, and leaves out dead servers for a while.

    Args:
        servers: at least one.
        clock: monotonic time in seconds.
    """

    def __init__(
        self, servers: Sequence[Endpoint], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.servers = tuple(servers)
        self._clock = clock
        self._any_response = False

    def pick(self, failed: Endpoint | None = None) -> Endpoint:
        """The server for the next request; not the one that just failed, if there is another.

        If all servers are left out, the one whose rest ends first.
        """
        now = self._clock()
        available = [server for server in self.servers if server.rests_until <= now]
        others = [server for server in available if server is not failed] or available
        if not others:
            return min(self.servers, key=lambda server: server.rests_until)
        return min(others, key=lambda server: (server.open_requests, server.requests))

    def record_response(self, server: Endpoint) -> None:
        """The server is there, whatever it responded."""
        if server.rests_until and len(self.servers) > 1:
            _log.warning("The reader's server at %s answers again", server.host)
        server.refusals, server.rests_until, self._any_response = 0, 0.0, True

    def record_refusal(self, server: Endpoint, reason: str) -> None:
        """The server did not accept a connection."""
        server.refusals += 1
        if server.refusals >= MAX_REFUSALS:
            self.leave_out(server, reason)

    def leave_out(self, server: Endpoint, reason: str) -> None:
        """Sends nothing to the server for a while. Logged once, if there are other servers."""
        if not server.rests_until and len(self.servers) > 1:
            _log.warning("Left out until it answers: %s", reason)
        server.rests_until = self._clock() + REST_SECONDS

    @property
    def none_available(self) -> bool:
        """True if all servers are left out."""
        now = self._clock()
        return all(server.rests_until > now for server in self.servers)

    @property
    def never_answered(self) -> bool:
        """True if no server ever responded and each refused a connection."""
        return not self._any_response and all(server.refusals for server in self.servers)


class RequestPacer:
    """Spaces requests evenly, up to `per_minute`; None means no limit."""

    def __init__(self, per_minute: float | None = None) -> None:
        self._interval = 60.0 / per_minute if per_minute else 0.0
        self._next = 0.0

    def wait(self, now: float) -> float:
        """Reserves the next time slot and returns the seconds until then.

        >>> pacer = RequestPacer(per_minute=30)
        >>> [pacer.wait(now) for now in (100.0, 100.5, 103.0, 110.0)]
        [0.0, 1.5, 1.0, 0.0]
        """
        slot = max(now, self._next)
        self._next = slot + self._interval
        return slot - now


def run_coroutine(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Runs the coroutine in the background loop; returns or raises what it does."""
    future = asyncio.run_coroutine_threadsafe(coroutine, _background_loop(os.getpid()))
    try:
        return future.result()
    except CancelledError as error:
        raise RuntimeError("the background loop cancelled its work") from error
    except BaseException:  # above all ^C, which interrupts this thread, not the loop's
        future.cancel()
        raise


def start_coroutine(coroutine: Coroutine[Any, Any, object]) -> None:
    """Starts the coroutine in the background loop and returns at once."""
    asyncio.run_coroutine_threadsafe(coroutine, _background_loop(os.getpid()))


@cache
def _background_loop(process: int) -> asyncio.AbstractEventLoop:
    """One loop for each process, because a thread does not survive a fork."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="rag-vqa-servers", daemon=True).start()
    return loop
