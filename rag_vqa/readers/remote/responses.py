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
_MAX_MESSAGE_LENGTH = 300  # characters of what a server says: it may be a page of HTML
_MAX_RETRY_AFTER = 120.0  # seconds that a server may ask to wait
FailureAction = Literal["retry", "elsewhere", "row", "server", "batch"]
_SURROGATES = re.compile("[\ud800-\udfff]")
_THINK_START, _THINK_END = "<think>", "</think>"
TOP_LOGPROBS = 20  # the most that OpenAI's and vLLM's servers report unless told otherwise
LOGPROBS_SUPPORT = (
    "vLLM, SGLang, llama.cpp and Ollama document them, transformers serve ignores the wish"
)
_TOKEN_SPACES = (
    " \t\r\n\u2581\u0120"  # as tokenizers write a leading one: SentencePiece's ▁, GPT-2's Ġ
)


class RequestFailure(Exception):
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
        then: FailureAction = "row",
        wait: float | None = None,
        unreachable: bool = False,
    ) -> None:
        super().__init__(message)
        self.then = then
        self.wait = wait
        self.unreachable = unreachable


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """What was asked of whom, for the message; `key` only so that it is never in one."""

    host: str
    model: str
    images: int
    timeout: float
    key: str

    @property
    def server(self) -> str:
        return f"the reader's server at {self.host}"


def interpret_error(error: openai.APIError | TimeoutError, asked: RequestInfo) -> RequestFailure:
    """What an exception of a request means."""
    if isinstance(error, openai.APIStatusError):
        return _interpret_status(error, asked)
    reason = _redact_key(str(error.__cause__ or error), asked.key)
    if "Connect" in type(error.__cause__).__name__:  # refused, unknown, or no route: nobody there
        mend = "is it running, and is the address right (it ends in /v1)?"
        return RequestFailure(
            f"{asked.server} does not answer ({reason}): {mend}", "retry", None, True
        )
    if isinstance(error, (TimeoutError, openai.APITimeoutError)):
        late = f"{asked.server} did not answer within {asked.timeout:g} s: set reader.timeout"
        return RequestFailure(late, "retry")
    if isinstance(error, openai.APIConnectionError):
        return RequestFailure(f"{asked.server} cut the connection ({reason})", "retry")
    return malformed_response(f"it says {server_message(error, asked.key)}", asked)


def malformed_response(reason: str, asked: RequestInfo) -> RequestFailure:
    """An answer that ends too early, or is none."""
    return RequestFailure(f"{asked.server} broke off its answer ({reason})", "retry")


def _interpret_status(error: openai.APIStatusError, asked: RequestInfo) -> RequestFailure:
    status = error.status_code
    told = f"{asked.server} refuses (HTTP {status}): {server_message(error, asked.key)}"
    if status in (401, 403):
        mend = "set RAG_VQA_API_KEY to the key that it was started with"
        return RequestFailure(
            f"{asked.server} does not take the key (HTTP {status}): {mend}", "server"
        )
    if 300 <= status < 400:
        mend = "the key is sent nowhere else; give the address that it names"
        return RequestFailure(f"{asked.server} sends elsewhere (HTTP {status}): {mend}", "server")
    if status == 404:
        return RequestFailure(f"{told}. Name a model that it serves: --reader", "server")
    if status == 429 and error.code == "insufficient_quota":
        return RequestFailure(f"{told}", "server")
    if status in (408, 409, 425, 429) or status >= 500:
        return _temporary_failure(error, told)
    return RequestFailure(_with_remedy(told, status, asked), "elsewhere")


def _temporary_failure(error: openai.APIStatusError, told: str) -> RequestFailure:
    wait = retry_after(error.response.headers)
    if wait is not None and wait > _MAX_RETRY_AFTER:
        return RequestFailure(f"{told}. It asks to come back in {wait:.0f} s")
    if error.status_code == 429:
        told += ". Lower reader.concurrency, or set reader.requests_per_minute"
    return RequestFailure(told, "retry", wait)


def _with_remedy(told: str, status: int, asked: RequestInfo) -> str:
    """A request that the server finds wrong, with the flag that helps."""
    at_most = _IMAGE_LIMIT.search(told.replace("image(s)", "images"))
    if at_most and (limit := int(at_most[1])):
        held = asked.images
        return (
            f"The reader's server takes {limit} image{'s' * (limit != 1)} a request, the prompt "
            f"holds {held}. Use --max-images {limit}, or start vLLM with "
            f"--limit-mm-per-prompt '{{\"image\":{held}}}'."
        )
    if status == 413:
        return f"{told}. Lower --max-images or --max-pixels"
    if _CONTEXT_TOO_LONG.search(told):
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


def server_message(error: openai.APIError, key: str) -> str:
    """What the server said, on one short line and without the key: some repeat it."""
    body = error.body
    while isinstance(body, Mapping):  # {"error": {"message": …}}, {"detail": …}
        named = (body.get(name) for name in ("message", "error", "detail"))
        body = next((value for value in named if value), json.dumps(body))
    if body is None and isinstance(error, openai.APIStatusError):
        body = error.response.text
    return _redact_key(str(body or error.message), key)


def _redact_key(text: str, key: str) -> str:
    line = message_text(" ".join(text.split()))
    line = line.replace(key, "***") if key else line
    return line if len(line) <= _MAX_MESSAGE_LENGTH else f"{line[:_MAX_MESSAGE_LENGTH]}…"


def message_text(content: Any) -> str:
    """The text of a message's `content`: a string, nothing, or a list of parts.

    Halves of characters, which JSON can hold and UTF-8 cannot, become U+FFFD.

    Raises:
        ValueError: it is none of these.
    """
    if isinstance(content, list):
        return "".join(map(_part_text, content))
    if content is None:
        return ""
    if not isinstance(content, str):
        raise ValueError(f"its text is none but {type(content).__name__}")
    return _SURROGATES.sub("\ufffd", content)


def _part_text(part: Any) -> str:
    """Of a part its text; those of other types (thoughts) are no answer."""
    if isinstance(part, dict):
        return message_text(part.get("text")) if part.get("type", "text") == "text" else ""
    return message_text(part)


def token_count(usage: Any, name: str) -> int:
    """A count of tokens; 0 where it is not told, or is none."""
    told = getattr(usage, name, None)
    try:
        return max(0, int(told))  # type: ignore[arg-type]  # whatever a server sends
    except (TypeError, ValueError, OverflowError):
        return 0


def extract_answer(text: str, one_line: bool, ended: bool = True) -> tuple[str, bool]:
    """(the answer in `text`, whether more cannot change it).

    A leading `<think>…</think>` is no part of it: nothing before its end is, where it has one yet.
    `one_line`: the answer ends before the first newline after a word, as the local reader's does.

    Args:
        ended: `text` is all that was written.

    >>> extract_answer("<think>Hm.</think> Vess\\nIt is", one_line=True)
    ('Vess', True)
    """
    start = text.lstrip()
    if start.startswith(_THINK_START):
        closed = start.find(_THINK_END)
        if closed < 0:
            return "", False
        text = start[closed + len(_THINK_END) :].lstrip()
    elif not ended and _THINK_START.startswith(start):
        return "", False  # it may become one
    if one_line:
        end = text.find("\n", len(text) - len(text.lstrip()))
        if end >= 0:
            return text[:end], True
    return text, False


def check_choice_names(names: Sequence[str]) -> None:
    """Raises UsageError for fewer than two, for an empty one, and for one that begins another."""
    folded = [_fold_token(name) for name in names]
    if len(names) < 2 or any(b.startswith(a) for a, b in permutations(folded, 2)):
        raise UsageError(
            f"choices {list(names)!r}: give two or more, none of which begins another, be it in "
            "capitals: a server tells the first token alone"
        )


def parse_top_logprobs(top: Any) -> list[tuple[str, float]]:
    """Those entries that are what they should be."""
    entries = top if isinstance(top, list) else []
    pairs = [(getattr(e, "token", None), getattr(e, "logprob", None)) for e in entries]
    return [
        (token, float(p))
        for token, p in pairs
        if isinstance(token, str) and isinstance(p, int | float) and p <= 0
    ]


def choice_shares(tokens: Sequence[tuple[str, float]], names: Sequence[str]) -> list[float]:
    """How the probability of the choices is shared among them.

    Spellings of a choice (capitals, a space before it) count together. Of tokens that begin it the
    longest is taken, which is how it would be written. A choice that is not among the tokens is
    given the most that it can have: the least of what is told, or what is left of 1.

    Args:
        tokens: (token, natural log of its probability), the likeliest first tokens.
    Raises:
        Failure: no choice is among them.

    >>> reported = [("Yes", -0.1), (" no", -2.5), ("ye", -9.0)]
    >>> [round(p, 3) for p in choice_shares(reported, ["yes", "no"])]
    [0.917, 0.083]
    """
    told = [(_fold_token(token), math.exp(p)) for token, p in tokens]
    found = [_longest_match_probability(told, _fold_token(name)) for name in names]
    if not sum(found):
        likely = ", ".join(repr(token) for token, _ in tokens[:3])
        raise RequestFailure(
            f"none of {list(names)!r} is among the {len(tokens)} likeliest first tokens "
            f"({likely}, …): put the question so that the model answers with them"
        )
    weights = [p for _, p in told]
    bound = min(*weights, max(0.0, 1 - sum(weights)))
    found = [p or bound for p in found]
    return [p / sum(found) for p in found]


def _longest_match_probability(told: Sequence[tuple[str, float]], name: str) -> float:
    """Probability of the longest token that begins `name`, of all its spellings; 0 if none does."""
    begin = [(len(token), p) for token, p in told if token and name.startswith(token)]
    longest = max((length for length, _ in begin), default=0)
    return sum(p for length, p in begin if length == longest)


def _fold_token(token: str) -> str:
    return token.strip(_TOKEN_SPACES).casefold()
