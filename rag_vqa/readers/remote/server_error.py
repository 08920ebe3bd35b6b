"""An error in a server's own words: what it says, which code it gives, which parameters it names.

Knows the shapes in which servers, gateways and proxies report errors. Does not know what an error
means for a request (request_failures.py, server_traits.py).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from time import time
from typing import Any

_PAGE = re.compile(r"\s*<[a-z!?]|.*<html[\s>]", re.IGNORECASE | re.DOTALL)
_WORDS_IN = ("message", "error", "detail", "details", "msg", "title")  # the best first


@dataclass(frozen=True, slots=True)
class ServerError:
    """An error as a server reports it: as an HTTP status, in an answer, or in a stream.

    Attributes:
        status: HTTP status, or the code that an answer with status 200 gives; 0 if it gives none.
        message: the words, whole; "" if there are none, or only a proxy's page.
        parameters: names that the error gives in `param` or in the `loc` of its details.
        code: the code in the body, such as "insufficient_quota".
        in_answer: the HTTP status was 200.
        retry_after: seconds that the server asks to wait, or None.
    """

    status: int
    message: str
    parameters: tuple[str, ...] = ()
    code: str = ""
    in_answer: bool = False
    retry_after: float | None = None


def parse_json(data: bytes) -> Any:
    """The JSON value of a response; its text if it is none; None if it is empty."""
    text = data.decode("utf-8-sig", "replace").strip()
    try:
        return json.loads(text) if text else None
    except (ValueError, RecursionError):
        return text


def parse_error(body: Any, status: int = 200, retry_after: float | None = None) -> ServerError:
    """The error in the body of a response: {"error": {"message": …}}, {"detail": [{"loc": …}]}, …

    Args:
        status: HTTP status. If it is 200, the code in the body takes its place.
    """
    outer = body if isinstance(body, Mapping) else {}
    inner = outer["error"] if isinstance(outer.get("error"), Mapping) else outer
    code = str(inner.get("code") or inner.get("status") or "")
    in_answer = status == 200
    if in_answer:
        status = int(code) if re.fullmatch("[45][0-9]{2}", code) else 0
    message = " ".join(error_words(body).split())
    message = "" if _PAGE.match(message) else message
    named = tuple(_named_parameters(inner, message))
    return ServerError(status, message, named, code, in_answer, retry_after)


def error_words(body: Any) -> str:
    """What the body of an error says; "" if nothing.

    >>> error_words({"detail": [{"loc": ["body", "top_k"], "msg": "Field required"}]})
    'body.top_k: Field required'
    """
    if isinstance(body, list):
        return "; ".join(map(error_words, body[:5]))
    if not isinstance(body, Mapping):
        return "" if body is None else str(body)
    said = next((words for name in _WORDS_IN if (words := error_words(body.get(name)))), "")
    said = said or (json.dumps(body) if body else "")
    if isinstance(body.get("loc"), list):
        said = f"{'.'.join(map(str, body['loc']))}: {said}"
    metadata = body.get("metadata")  # OpenRouter's: the words of the provider behind it
    raw = error_words(metadata.get("raw")) if isinstance(metadata, Mapping) else ""
    return f"{said} {raw}".strip()


def _named_parameters(error: Mapping[str, Any], message: str) -> list[str]:
    """`param` as it is, and what stands in each `loc` behind "body"."""
    param = error.get("param")
    found = [param] if isinstance(param, str) and param else []
    details = error.get("detail") or error.get("details")
    for each in details if isinstance(details, list) else [details]:
        loc = each.get("loc") if isinstance(each, Mapping) else None
        parts = [str(part) for part in loc if part != "body"] if isinstance(loc, list) else []
        found += [".".join(parts)] if parts else []
    # vLLM prints pydantic's details: [{'type': …, 'loc': ('body', 'top_k'), 'msg': …
    return found + re.findall(r"'loc': \('body', '(\w+)'", message)


def parse_retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a response asks to wait (RFC 9110, 10.2.3: seconds, or a date).

    >>> parse_retry_after({"retry-after": "2"})
    2.0
    """
    stated = headers.get("retry-after")
    if stated is None:
        return None
    try:
        seconds = float(stated)
    except ValueError:
        try:
            date = parsedate_to_datetime(stated)
            seconds = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - time()
        except (ValueError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
