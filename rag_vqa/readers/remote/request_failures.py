"""Why a request to a server gave no answer, and what to do next: retry, move on, or give up.

Knows HTTP status codes, the exceptions of the HTTP client, the words in which servers refuse
pictures, and which flag helps. Does not know the format of an answer (responses.py) or of an error
(server_error.py). Sends nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import httpx2
import openai

from rag_vqa.readers.remote.server_error import (
    ServerError,
    parse_error,
    parse_json,
    parse_retry_after,
)
from rag_vqa.readers.remote.server_traits import ServerTraits

FailureAction = Literal["retry", "other server", "fail row", "drop server", "stop"]
_MAX_MESSAGE_LENGTH = 300  # characters
_MAX_RETRY_AFTER = 120.0  # seconds; a row fails if the server asks to wait longer
_SURROGATES = re.compile("[\ud800-\udfff]")
# vLLM: "At most 8 image(s) may be provided in one prompt."
_IMAGE_LIMIT = re.compile(r"at most (\d+) images?", re.IGNORECASE)
_CONTEXT_TOO_LONG = re.compile(
    r"maximum context|context (?:length|size|window)|too long|too many tokens", re.IGNORECASE
)
_NOT = r"(?:\bnot?|n't|\bcannot|\bunable to)\W(?:\w+\W){0,2}"
_SIGHT = r"(?:image|picture|vision|visual|multi-?modal)"
# Not "unsupported image format", which is about one picture.
_CANNOT_SEE = re.compile(
    "|".join((
        # does not support image input, cannot see pictures
        rf"{_NOT}(?:support|accept|take|allow|understand|read|see|have)\w*\W(?:\S+\s){{0,4}}?\S*"
        rf"{_SIGHT}(?! ?(?:format|file|type|size))",
        # image input is not supported, vision is disabled
        rf"{_SIGHT}(?! ?(?:format|file|type|size))\S*\W(?:[^.;\n]{{0,40}}\W)?"
        rf"(?:{_NOT}(?:support|accept|allow|enabl|permit|implement|available (?:for|in|on|with)\b)"
        r"|unsupported|disabled)",
        rf"{_NOT}(?:process|handle|view)\w* (?:\w+ )?(?:images|pictures)\b",
        rf"{_SIGHT}\S* (?:is|are) only (?:supported|accepted|allowed)",  # by certain models
        rf"unsupported {_SIGHT}_?(?:url|input|content)",
        r"unsupported (?:content|message|input)[ _-]?(?:part|block|type)",
        r"un(?:known|expected) [\w ]+[`'\"]?image_url",  # variant `image_url`, expected `text`
        rf"(?:{_NOT}(?:an? )?|\bno |\blacks? |\bwithout )(?:\w+ )?(?:vision|multi-?modal)",
        r"no endpoints found that support image",
        r"\bmmproj\b",
        r"\btext[- ]only\b|\bonly (?:(?:accept|take|support|allow)s? )?[`'\"]?text\b",
        # A server or a chat template that takes texts alone, where the request holds parts.
        r"content\b[^;\n]{0,60}(?:expected|be) (?:a )?(?:valid )?string\b(?!, got null)",
        r"can only concatenate str \(not \"list\"\)",
    )),
    re.IGNORECASE,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """Describes a request for error messages; `key` is there to be removed from them.

    Attributes:
        traits: what is known about the server, which a response may add to.
    """

    host: str
    model: str
    images: int
    timeout: float
    key: str
    traits: ServerTraits

    @property
    def server(self) -> str:
        return f"the reader's server at {self.host}"


class RequestFailure(Exception):
    """A request that gave no answer.

    Attributes:
        action: what to do next. "retry" the request; try an "other server", because this one
            refuses the prompt; "fail row": the prompt fails for good; "drop server": every other
            prompt fails there too; "stop": no server is left for any prompt.
        wait: seconds that the server asks to wait, or None.
        error: the server's own words; None if it did not say any.
        unreachable: no server accepted the connection.
        responded: the server sent a response, if not an answer.
        silent: response or connection ended before the first piece of an answer. Some servers fail
            so in a stream, and tell the reason only where no stream is asked for.
    """

    def __init__(
        self,
        message: str,
        action: FailureAction = "fail row",
        *,
        wait: float | None = None,
        error: ServerError | None = None,
        unreachable: bool = False,
        responded: bool = True,
    ) -> None:
        super().__init__(message)
        self.action = action
        self.wait, self.error = wait, error
        self.unreachable, self.responded = unreachable, responded
        self.silent = False


def interpret_exception(error: Exception, info: RequestInfo) -> RequestFailure:
    """The failure that an exception of the HTTP client means."""
    if isinstance(error, openai.APIStatusError):
        response = error.response
        wait = parse_retry_after(response.headers)
        found = parse_error(parse_json(response.content), response.status_code, wait)
        return interpret_server_error(found, info)
    cause = error.__cause__ or error
    reason = _redact_key(str(cause), info.key) or type(cause).__name__
    if "Connect" in type(error.__cause__).__name__:  # refused, unknown host, no route
        advice = "is it running, and is the address right (it ends in /v1)?"
        message = f"{info.server} does not answer ({reason}): {advice}"
        return RequestFailure(message, "retry", unreachable=True, responded=False)
    if isinstance(error, TimeoutError | openai.APITimeoutError | httpx2.TimeoutException):
        message = f"{info.server} did not answer within {info.timeout:g} s: set reader.timeout"
        return RequestFailure(message, "retry", responded=False)
    failure = RequestFailure(
        f"{info.server} cut the connection ({reason})", "retry", responded=False
    )
    failure.silent = True
    return failure


def broken_answer(reason: str, info: RequestInfo) -> RequestFailure:
    """The failure of a response that ends too early or has no valid answer."""
    return RequestFailure(f"{info.server} broke off its answer ({reason})", "retry")


def interpret_server_error(error: ServerError, info: RequestInfo) -> RequestFailure:
    """The failure that a server's error means: for this request, for the server, or for now."""
    status = error.status
    words = _redact_key(error.message, info.key)
    stated = f"code {status}" if error.in_answer else f"HTTP {status}"
    heading = f"{info.server} refuses" + (f" ({stated})" if status else "")
    message = f"{heading}: {words}" if words else heading

    def failure(message: str, action: FailureAction, wait: float | None = None) -> RequestFailure:
        return RequestFailure(message, action, wait=wait, error=error)

    if info.images and (advice := _picture_advice(error.message, message, info)):
        return failure(advice, "other server")
    if status in (401, 403):
        told = f"{info.server} does not take the key ({stated}{f': {words}' * bool(words)})"
        return failure(f"{told}: set RAG_VQA_API_KEY to the one it was started with", "drop server")
    if 300 <= status < 400:
        advice = "the key is not sent to another address; give the one that it names"
        return failure(f"{info.server} redirects ({stated}): {advice}", "drop server")
    if status == 404:
        return failure(f"{message}. Name a model that it serves: --reader", "drop server")
    if status == 429 and error.code == "insufficient_quota":
        return failure(message, "drop server")
    if status in (0, 408, 409, 425, 429) or status >= 500:
        return _temporary_failure(error, message)
    if status == 413:
        return failure(f"{message}. Lower --max-images or --max-pixels", "other server")
    if _CONTEXT_TOO_LONG.search(words):
        advice = "Lower -k or --max-pixels, or set reader.max_context to what it takes"
        return failure(f"{message}. {advice}", "other server")
    return failure(message, "other server")


def _temporary_failure(error: ServerError, message: str) -> RequestFailure:
    wait = error.retry_after
    if wait is not None and wait > _MAX_RETRY_AFTER:
        return RequestFailure(f"{message}. It asks to retry in {wait:.0f} s", error=error)
    if error.status == 429:
        message += ". Lower reader.concurrency, or set reader.requests_per_minute"
    return RequestFailure(message, "retry", wait=wait, error=error)


def _picture_advice(words: str, message: str, info: RequestInfo) -> str:
    """The message of a request that was refused because of its pictures; "" if it was not."""
    limit = _IMAGE_LIMIT.search(words.replace("image(s)", "images"))
    count = info.images
    vllm = f"--limit-mm-per-prompt '{{\"image\":{count}}}'"
    if limit and (most := int(limit[1])):
        return (
            f"The reader's server takes {most} image{'s' * (most != 1)} a request, the prompt "
            f"holds {count}. Use --max-images {most}, or start vLLM with {vllm}."
        )
    if limit or _CANNOT_SEE.search(words):
        return (
            f"{message}. The server's model {info.model} does not see the prompt's pictures "
            f"({count}): serve one that does (llama.cpp needs --mmproj FILE for it, vLLM {vllm}), "
            "or let it read text alone: --max-images 0"
        )
    return ""


def replace_surrogates(text: str) -> str:
    """The text with U+FFFD for half characters, which JSON can hold and UTF-8 cannot."""
    return _SURROGATES.sub("\ufffd", text)


def _redact_key(text: str, key: str) -> str:
    """The text on one short line, without the key, which some servers repeat."""
    line = replace_surrogates(" ".join(text.split()))
    line = line.replace(key, "***") if key else line
    return line if len(line) <= _MAX_MESSAGE_LENGTH else f"{line[:_MAX_MESSAGE_LENGTH]}…"
