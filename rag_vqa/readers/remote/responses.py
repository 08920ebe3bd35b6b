"""Reads a server's response: the answer's text, token counts, choice probabilities, or a failure.

Knows HTTP status codes, the exceptions of the openai package, and what servers write in place of an
answer. A failure says what to do next: retry, try another server, or give up. Sends nothing.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from itertools import permutations
from time import time
from typing import Any, Literal

import openai

from rag_vqa.errors import UsageError

# vLLM: "At most 8 image(s) may be provided in one prompt."
_IMAGE_LIMIT = re.compile(r"at most (\d+) images?", re.IGNORECASE)
_CONTEXT_TOO_LONG = re.compile(
    r"context (?:length|size|window)|too long|too many tokens", re.IGNORECASE
)
_MAX_MESSAGE_LENGTH = 300  # characters; a server's message may be a page of HTML
_MAX_RETRY_AFTER = 120.0  # seconds; a row fails if the server asks to wait longer
FailureAction = Literal["retry", "other server", "fail row", "drop server", "stop"]
_SURROGATES = re.compile("[\ud800-\udfff]")
_THINK_START, _THINK_END = "<think>", "</think>"
TOP_LOGPROBS = 20  # the most that OpenAI's and vLLM's servers report by default
LOGPROBS_SUPPORT = (
    "vLLM, SGLang, llama.cpp and Ollama document them, transformers serve ignores the request"
)
# Leading spaces as tokenizers write them: SentencePiece's ▁, GPT-2's Ġ.
_TOKEN_SPACES = " \t\r\n\u2581\u0120"


class RequestFailure(Exception):
    """A request that gave no answer.

    Attributes:
        action: what to do next. "retry" the request; try an "other server", because this one
            refuses the prompt; "fail row": the prompt fails for good; "drop server": every other
            prompt fails there too; "stop": no server is left for any prompt.
        wait: seconds that the server asks to wait, or None.
        unreachable: no server accepted the connection.
    """

    def __init__(
        self,
        message: str,
        action: FailureAction = "fail row",
        wait: float | None = None,
        unreachable: bool = False,
    ) -> None:
        super().__init__(message)
        self.action = action
        self.wait = wait
        self.unreachable = unreachable


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """Describes a request for error messages; `key` is there to be removed from them."""

    host: str
    model: str
    images: int
    timeout: float
    key: str

    @property
    def server(self) -> str:
        return f"the reader's server at {self.host}"


def interpret_error(error: openai.APIError | TimeoutError, info: RequestInfo) -> RequestFailure:
    """The failure that an exception of a request means."""
    if isinstance(error, openai.APIStatusError):
        return _interpret_status(error, info)
    reason = _redact_key(str(error.__cause__ or error), info.key)
    if "Connect" in type(error.__cause__).__name__:  # refused, unknown host, no route
        advice = "is it running, and is the address right (it ends in /v1)?"
        return RequestFailure(
            f"{info.server} does not answer ({reason}): {advice}", "retry", None, True
        )
    if isinstance(error, (TimeoutError, openai.APITimeoutError)):
        message = f"{info.server} did not answer within {info.timeout:g} s: set reader.timeout"
        return RequestFailure(message, "retry")
    if isinstance(error, openai.APIConnectionError):
        return RequestFailure(f"{info.server} cut the connection ({reason})", "retry")
    return malformed_response(server_message(error, info.key), info)


def malformed_response(reason: str, info: RequestInfo) -> RequestFailure:
    """The failure of a response that ends too early or has no valid answer."""
    return RequestFailure(f"{info.server} broke off its answer ({reason})", "retry")


def _interpret_status(error: openai.APIStatusError, info: RequestInfo) -> RequestFailure:
    status = error.status_code
    message = f"{info.server} refuses (HTTP {status}): {server_message(error, info.key)}"
    if status in (401, 403):
        advice = "set RAG_VQA_API_KEY to the key that it was started with"
        return RequestFailure(
            f"{info.server} does not take the key (HTTP {status}): {advice}", "drop server"
        )
    if 300 <= status < 400:
        advice = "the key is not sent to another address; give the one that it names"
        return RequestFailure(f"{info.server} redirects (HTTP {status}): {advice}", "drop server")
    if status == 404:
        return RequestFailure(f"{message}. Name a model that it serves: --reader", "drop server")
    if status == 429 and error.code == "insufficient_quota":
        return RequestFailure(message, "drop server")
    if status in (408, 409, 425, 429) or status >= 500:
        return _temporary_failure(error, message)
    return RequestFailure(_with_advice(message, status, info), "other server")


def _temporary_failure(error: openai.APIStatusError, message: str) -> RequestFailure:
    wait = retry_after(error.response.headers)
    if wait is not None and wait > _MAX_RETRY_AFTER:
        return RequestFailure(f"{message}. It asks to retry in {wait:.0f} s")
    if error.status_code == 429:
        message += ". Lower reader.concurrency, or set reader.requests_per_minute"
    return RequestFailure(message, "retry", wait)


def _with_advice(message: str, status: int, info: RequestInfo) -> str:
    """The message of a refused request, with the flag that helps."""
    at_most = _IMAGE_LIMIT.search(message.replace("image(s)", "images"))
    if at_most and (limit := int(at_most[1])):
        count = info.images
        return (
            f"The reader's server takes {limit} image{'s' * (limit != 1)} a request, the prompt "
            f"holds {count}. Use --max-images {limit}, or start vLLM with "
            f"--limit-mm-per-prompt '{{\"image\":{count}}}'."
        )
    if status == 413:
        return f"{message}. Lower --max-images or --max-pixels"
    if _CONTEXT_TOO_LONG.search(message):
        return f"{message}. Lower -k or --max-pixels, or set reader.max_context to what it takes"
    if info.images and re.search("image|vision|multimodal|mmproj", message, re.IGNORECASE):
        return f"{message}. The prompt holds {info.images}; does {info.model} take images?"
    return message


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


def server_message(error: openai.APIError, key: str) -> str:
    """The server's message on one short line, without the key, which some servers repeat."""
    body = error.body
    while isinstance(body, Mapping):  # {"error": {"message": …}}, {"detail": …}
        values = (body.get(name) for name in ("message", "error", "detail"))
        body = next((value for value in values if value), json.dumps(body))
    if body is None and isinstance(error, openai.APIStatusError):
        body = error.response.text
    return _redact_key(str(body or error.message), key)


def _redact_key(text: str, key: str) -> str:
    line = message_text(" ".join(text.split()))
    line = line.replace(key, "***") if key else line
    return line if len(line) <= _MAX_MESSAGE_LENGTH else f"{line[:_MAX_MESSAGE_LENGTH]}…"


def message_text(content: Any) -> str:
    """The text of a message's `content`, which is a string, None or a list of parts.

    Half characters (lone surrogates), which JSON can hold and UTF-8 cannot, become U+FFFD.

    Raises:
        ValueError: `content` is something else.
    """
    if isinstance(content, list):
        return "".join(map(_part_text, content))
    if content is None:
        return ""
    if not isinstance(content, str):
        raise ValueError(f"the content is no text but {type(content).__name__}")
    return _SURROGATES.sub("\ufffd", content)


def _part_text(part: Any) -> str:
    """The text of a part; parts of other types (such as thoughts) are no answer."""
    if isinstance(part, dict):
        return message_text(part.get("text")) if part.get("type", "text") == "text" else ""
    return message_text(part)


def token_count(usage: Any, name: str) -> int:
    """A count of tokens; 0 if the server reports none or an invalid one."""
    count = getattr(usage, name, None)
    try:
        return max(0, int(count))  # type: ignore[arg-type]  # a server may send anything
    except (TypeError, ValueError, OverflowError):
        return 0


def extract_answer(text: str, one_line: bool, ended: bool = True) -> tuple[str, bool]:
    """(the answer in `text`, True if further text cannot change it).

    A leading `<think>…</think>` is no part of the answer. As long as it is open, the answer is "".

    Args:
        one_line: the answer ends before the first newline after a word, as the local reader's.
        ended: `text` is the whole text.

    >>> extract_answer("<think>Hm.</think> Vess\\nIt is", one_line=True)
    ('Vess', True)
    """
    start = text.lstrip()
    if start.startswith(_THINK_START):
        end = start.find(_THINK_END)
        if end < 0:
            return "", False
        text = start[end + len(_THINK_END) :].lstrip()
    elif not ended and _THINK_START.startswith(start):
        return "", False  # may become <think>
    if one_line:
        end = text.find("\n", len(text) - len(text.lstrip()))
        if end >= 0:
            return text[:end], True
    return text, False


def check_choice_names(names: Sequence[str]) -> None:
    """Raises UsageError for fewer than two choices, or if one is empty or the start of another."""
    folded = [_fold_token(name) for name in names]
    if len(names) < 2 or any(b.startswith(a) for a, b in permutations(folded, 2)):
        raise UsageError(
            f"choices {list(names)!r}: give two or more, none of which is the start of another "
            "(ignoring case): a server reports the first token only"
        )


def parse_top_logprobs(top: Any) -> list[tuple[str, float]]:
    """(token, log probability) of the valid entries of a response."""
    entries = top if isinstance(top, list) else []
    pairs = [(getattr(e, "token", None), getattr(e, "logprob", None)) for e in entries]
    return [
        (token, float(p))
        for token, p in pairs
        if isinstance(token, str) and isinstance(p, int | float) and p <= 0
    ]


def choice_shares(tokens: Sequence[tuple[str, float]], names: Sequence[str]) -> list[float]:
    """The probabilities of the choices, which sum to 1.

    The spellings of a choice (capitals, a leading space) count together. A choice longer than a
    token counts by its first token: the longest reported token that is a start of it. A choice that
    is not reported gets the most that it can have: the smallest reported probability, or what is
    left of 1.

    Args:
        tokens: (token, natural log of its probability), the likeliest first tokens.

    Raises:
        RequestFailure: none of the choices is reported.

    >>> reported = [("Yes", -0.1), (" no", -2.5), ("ye", -9.0)]
    >>> [round(p, 3) for p in choice_shares(reported, ["yes", "no"])]
    [0.917, 0.083]
    """
    reported = [(_fold_token(token), math.exp(p)) for token, p in tokens]
    found = [_longest_match_probability(reported, _fold_token(name)) for name in names]
    if not sum(found):
        likely = ", ".join(repr(token) for token, _ in tokens[:3])
        raise RequestFailure(
            f"none of {list(names)!r} is among the {len(tokens)} likeliest first tokens "
            f"({likely}, …): word the question so that the model answers with one of them"
        )
    weights = [p for _, p in reported]
    bound = min(*weights, max(0.0, 1 - sum(weights)))
    found = [p or bound for p in found]
    return [p / sum(found) for p in found]


def _longest_match_probability(reported: Sequence[tuple[str, float]], name: str) -> float:
    """Probability of the longest token that starts `name`, over all its spellings; 0 without."""
    matches = [(len(token), p) for token, p in reported if token and name.startswith(token)]
    longest = max((length for length, _ in matches), default=0)
    return sum(p for length, p in matches if length == longest)


def _fold_token(token: str) -> str:
    return token.strip(_TOKEN_SPACES).casefold()
