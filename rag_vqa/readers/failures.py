"""Why a server gave no answer, in words that name the next command, and what to do about it.

It knows HTTP, what servers say, and the openai client's exceptions. It sends nothing.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from time import time
from typing import Literal

import openai

from rag_vqa.readers.written import text_of

# vLLM: "At most 8 image(s) may be provided in one prompt."
_AT_MOST = re.compile(r"at most (\d+) images?", re.IGNORECASE)
_TOO_LONG = re.compile(r"context (?:length|size|window)|too long|too many tokens", re.IGNORECASE)
_LONGEST = 300  # characters of what a server says: it may be a page of HTML
_MOST_PATIENT = 120.0  # seconds that a server may ask to wait

Then = Literal["retry", "elsewhere", "row", "server", "batch"]


class Failure(Exception):
    """A request that gave no answer.

    Attributes:
        then: "retry" may help; "elsewhere": this server does not take the prompt, another may;
            "row": the prompt fails for good; "server": so will every other there; "batch": so
            will every other, for no server is left.
        wait: seconds that the server asks to wait, or None.
        unreachable: no server was there to answer.
    """

    def __init__(
        self,
        message: str,
        then: Then = "row",
        wait: float | None = None,
        unreachable: bool = False,
    ) -> None:
        super().__init__(message)
        self.then = then
        self.wait = wait
        self.unreachable = unreachable


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked of whom, for the message; `key` only so that it is never in one."""

    host: str
    model: str
    images: int
    timeout: float
    key: str

    @property
    def server(self) -> str:
        return f"the reader's server at {self.host}"


def failure(error: openai.APIError | TimeoutError, asked: Asked) -> Failure:
    """What an exception of a request means."""
    if isinstance(error, openai.APIStatusError):
        return _of_status(error, asked)
    reason = _scrubbed(str(error.__cause__ or error), asked.key)
    if "Connect" in type(error.__cause__).__name__:  # refused, unknown, or no route: nobody there
        mend = "is it running, and is the address right (it ends in /v1)?"
        return Failure(f"{asked.server} does not answer ({reason}): {mend}", "retry", None, True)
    if isinstance(error, (TimeoutError, openai.APITimeoutError)):
        late = f"{asked.server} did not answer within {asked.timeout:g} s: set reader.timeout"
        return Failure(late, "retry")
    if isinstance(error, openai.APIConnectionError):
        return Failure(f"{asked.server} cut the connection ({reason})", "retry")
    return broken(f"it says {said(error, asked.key)}", asked)


def broken(reason: str, asked: Asked) -> Failure:
    """An answer that ends too early, or is none."""
    return Failure(f"{asked.server} broke off its answer ({reason})", "retry")


def _of_status(error: openai.APIStatusError, asked: Asked) -> Failure:
    status = error.status_code
    told = f"{asked.server} refuses (HTTP {status}): {said(error, asked.key)}"
    if status in (401, 403):
        mend = "set RAG_VQA_API_KEY to the key that it was started with"
        return Failure(f"{asked.server} does not take the key (HTTP {status}): {mend}", "server")
    if 300 <= status < 400:
        mend = "the key is sent nowhere else; give the address that it names"
        return Failure(f"{asked.server} sends elsewhere (HTTP {status}): {mend}", "server")
    if status == 404:
        return Failure(f"{told}. Name a model that it serves: --reader", "server")
    if status == 429 and error.code == "insufficient_quota":
        return Failure(f"{told}", "server")
    if status in (408, 409, 425, 429) or status >= 500:
        return _passing(error, told)
    return Failure(_mended(told, status, asked), "elsewhere")


def _passing(error: openai.APIStatusError, told: str) -> Failure:
    wait = retry_after(error.response.headers)
    if wait is not None and wait > _MOST_PATIENT:
        return Failure(f"{told}. It asks to come back in {wait:.0f} s")
    if error.status_code == 429:
        told += ". Lower reader.concurrency, or set reader.requests_per_minute"
    return Failure(told, "retry", wait)


def _mended(told: str, status: int, asked: Asked) -> str:
    """A request that the server finds wrong, with the flag that helps."""
    at_most = _AT_MOST.search(told.replace("image(s)", "images"))
    if at_most and (limit := int(at_most[1])):
        held = asked.images
        return (
            f"The reader's server takes {limit} image{'s' * (limit != 1)} a request, the prompt "
            f"holds {held}. Use --max-images {limit}, or start vLLM with "
            f"--limit-mm-per-prompt '{{\"image\":{held}}}'."
        )
    if status == 413:
        return f"{told}. Lower --max-images or --max-pixels"
    if _TOO_LONG.search(told):
        return f"{told}. Lower -k or --max-pixels, or set reader.max_context to what it takes"
    if asked.images and re.search("image|vision|multimodal|mmproj", told, re.IGNORECASE):
        return f"{told}. The prompt holds {asked.images}; does {asked.model} take images?"
    return told


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a response asks to wait (RFC 9110, 10.2.3: seconds, or a date).

    >>> retry_after({"retry-after": "2"})
    2.0
    """
    stated = headers.get("retry-after")
    if stated is None:
        return None
    try:
        seconds = float(stated)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(stated).timestamp() - time()
        except ValueError:
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def said(error: openai.APIError, key: str) -> str:
    """What the server said, on one short line and without the key: some repeat it."""
    body = error.body
    while isinstance(body, Mapping):  # {"error": {"message": …}}, {"detail": …}
        named = (body.get(name) for name in ("message", "error", "detail"))
        body = next((value for value in named if value), json.dumps(body))
    if body is None and isinstance(error, openai.APIStatusError):
        body = error.response.text
    return _scrubbed(str(body or error.message), key)


def _scrubbed(text: str, key: str) -> str:
    line = text_of(" ".join(text.split()))
    line = line.replace(key, "***") if key else line
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"
